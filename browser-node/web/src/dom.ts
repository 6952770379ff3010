// Finds and creates the page's elements.

export function element<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as unknown as T;
}

type Attributes = Record<string, string | number | boolean | undefined>;

function filled<T extends Element>(made: T, attributes: Attributes, inside: (Node | string)[]): T {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...inside);
  return made;
}

/** Creates an element. An attribute that is false or undefined is left out. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...inside: (Node | string)[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(tag), attributes, inside);
}

/** Creates an SVG element. */
export function shape<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...inside: (Node | string)[]
): SVGElementTagNameMap[K] {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, inside);
}

/** Creates a button with an action. */
export function button(text: string, attributes: Attributes, pressed: () => void): HTMLButtonElement {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", pressed);
  return made;
}

/** Shows a message in an element, which is hidden if there is none. */
export function showMessage(into: HTMLElement, text: string): void {
  if (into.textContent !== text) into.textContent = text;
  into.hidden = text === "";
}

/** Before an element is hidden: moves the focus from it to the navigation link of the shown view. */
export function leaveWithFocus(going: Element): void {
  if (!going.contains(document.activeElement)) return;
  document.querySelector<HTMLElement>("nav [aria-current]")?.focus();
}
