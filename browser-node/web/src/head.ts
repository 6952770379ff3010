// The page's header, which stays visible: scrolling must not bring content under it.

const head = document.querySelector<HTMLElement>("body > header");

/** How many pixels at the top of the window the header covers; 0 if it scrolls with the page. */
export function covered(): number {
  if (head === null || getComputedStyle(head).position !== "sticky") return 0;
  return head.getBoundingClientRect().height;
}

/** Keeps the style sheet informed of the header's height, which depends on the window and on the font size. */
export function watchHead(): void {
  if (head === null) return;
  const tell = () => document.documentElement.style.setProperty("--head", `${covered()}px`);
  new ResizeObserver(tell).observe(head);
  addEventListener("resize", tell);
}
