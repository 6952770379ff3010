// The slider for the number of cores that this tab gives; it takes effect at once, also during work.

import { element } from "./dom.js";

const KEY = "threads";

export class Threads {
  readonly #slider = element<HTMLInputElement>("threads");
  readonly #shown = element("threads-shown");

  /** `changed` is called at each move. */
  constructor(changed: () => void) {
    const cores = navigator.hardwareConcurrency;
    this.#slider.max = String(cores);
    this.#slider.value = localStorage.getItem(KEY) ?? String(Math.max(1, cores - 1));
    this.#show();
    this.#slider.addEventListener("input", () => {
      localStorage.setItem(KEY, this.#slider.value);
      this.#show();
      changed();
    });
  }

  get value(): number {
    return Number(this.#slider.value);
  }

  #show(): void {
    this.#shown.textContent = this.value === 0 ? "none: this tab submits jobs only" : this.#slider.value;
  }
}
