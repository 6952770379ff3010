// The notice of a crash, in every view: what happened, and one button.

import { element, leaveWithFocus } from "./dom.js";

export class CrashNotice {
  readonly #box = element("crash");
  readonly #text = element("crash-text");
  readonly #button = element<HTMLButtonElement>("crash-button");
  #reloads = false;

  /** `again` is what the button does. */
  constructor(again: () => void) {
    this.#button.addEventListener("click", () => (this.#reloads ? location.reload() : again()));
  }

  get isShown(): boolean {
    return !this.#box.hidden;
  }

  /** Offers to join again, with a program started afresh; or, where that has failed, to load the page anew. */
  show(text: string, reloads = false): void {
    this.#reloads = reloads;
    this.#box.hidden = false;
    this.#text.textContent = text;
    this.#button.textContent = reloads ? "Reload the page" : "Join again";
  }

  hide(): void {
    leaveWithFocus(this.#box);
    this.#box.hidden = true;
    this.#text.textContent = "";
  }
}
