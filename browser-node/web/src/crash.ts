// The notice of a crash, shown in every view: a message and a button.

import { element, leaveWithFocus } from "./dom.js";

export class CrashNotice {
  readonly #box = element("crash");
  readonly #text = element("crash-text");
  readonly #button = element<HTMLButtonElement>("crash-button");
  #reloads = false;

  /** `again` is called when the button is pressed. */
  constructor(again: () => void) {
    this.#button.addEventListener("click", () => (this.#reloads ? location.reload() : again()));
  }

  get isShown(): boolean {
    return !this.#box.hidden;
  }

  /** Offers to join again, with a new instance of the program; or, if that has failed, to reload the page. */
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
