// The head of the page, which stays in sight: what is scrolled to must not lie under it.

const head = document.querySelector<HTMLElement>("body > header");

/** How many pixels of the window's top the head covers; none where it scrolls away with the rest. */
export function covered(): number {
  if (head === null || getComputedStyle(head).position !== "sticky") return 0;
  return head.getBoundingClientRect().height;
}

/** Keeps the style sheet told, whatever a narrow window or large letters make of the head. */
export function watchHead(): void {
  if (head === null) return;
  const tell = () => document.documentElement.style.setProperty("--head", `${covered()}px`);
  new ResizeObserver(tell).observe(head);
  addEventListener("resize", tell);
}
