// The files of the next job: chosen, dropped, or an example's own.

import { button, complain, element, make } from "../dom.js";
import { dropped, type Found, picked, type Walked } from "./walk.js";
import { bytes, count } from "./words.js";

/** The list is to recognise what was chosen, not to read it. */
const LISTED = 6;

export class Inputs {
  #found: Found[] = [];
  readonly #changed: () => void;

  /** `changed` is called when a person changes what is chosen. */
  constructor(changed: () => void) {
    this.#changed = changed;
    for (const [opener, chooser] of [
      ["pick-files", "files"],
      ["pick-folder", "folder"],
    ] as const) {
      const input = element<HTMLInputElement>(chooser);
      element(opener).addEventListener("click", () => input.click());
      input.addEventListener("change", () => {
        this.#add(picked(input.files ?? []));
        // Choosing the same once more is a change too.
        input.value = "";
      });
    }
    element("no-inputs").addEventListener("click", () => {
      this.set([]);
      this.#changed();
      element("pick-files").focus();
    });
    this.#listen(element("drop"));
  }

  get files(): File[] {
    return this.#found.map(({ file }) => file);
  }

  get bytes(): number {
    return this.#found.reduce((sum, { file }) => sum + file.size, 0);
  }

  set(found: Found[]): void {
    this.#found = found;
    complain(element("inputs-trouble"), "");
    this.#show();
  }

  #listen(target: HTMLElement): void {
    // A drop beside the target would make the browser open the file and leave the page.
    for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
    const over = (is: boolean) => () => target.classList.toggle("over", is);
    target.addEventListener("dragover", over(true));
    target.addEventListener("dragleave", over(false));
    target.addEventListener("drop", (event) => {
      over(false)();
      const items = [...(event.dataTransfer?.items ?? [])];
      const entries = items.map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
      element("inputs-shown").textContent = "Looking into the folders …";
      void dropped(entries).then((walked) => this.#add(walked));
    });
  }

  /** What is there already is not taken twice. */
  #add({ found, troubles }: Walked): void {
    const name = ({ path, file }: Found) => `${path}\n${file.size}\n${file.lastModified}`;
    const known = new Set(this.#found.map(name));
    this.#found.push(...found.filter((one) => !known.has(name(one))));
    this.#show();
    const nothing = found.length === 0 && troubles.length === 0 ? ["There is no file in it that is not hidden."] : [];
    complain(element("inputs-trouble"), [...troubles, ...nothing].join(" "));
    this.#changed();
  }

  #show(): void {
    const all = this.#found;
    const shown = all.length === 0 ? "No files: the job's documents are numbers, counted from 0." : "";
    element("inputs-shown").textContent = shown || `${count(all.length, "file")}, ${bytes(this.bytes)}`;
    const rows = all.slice(0, LISTED).map((one) => {
      const remove = button("✕", { class: "link", "aria-label": `Remove ${one.path}`, title: "Remove" }, () => {
        this.#found = this.#found.filter((other) => other !== one);
        this.#show();
        this.#changed();
        element("pick-files").focus();
      });
      return make(
        "li",
        {},
        make("span", { class: "path", title: one.path }, one.path),
        make("span", {}, bytes(one.file.size)),
        remove,
      );
    });
    if (all.length > LISTED) rows.push(make("li", {}, `and ${all.length - LISTED} more`));
    element("inputs").replaceChildren(...rows);
    element("no-inputs").hidden = all.length === 0;
  }
}
