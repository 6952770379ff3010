// The files of the next job: chosen, dropped, or an example's own; kept over a reload where they are not too large.

import { button, complain, element, make } from "../dom.js";
import { type Chosen, chosen, fits, InputSets, KEPT_SET_BYTES, KEPT_SET_FILES } from "./input-sets.js";
import { dropped, type Found, picked, type Walked } from "./walk.js";
import { bytes, count } from "./words.js";

/** The list is to recognise what was chosen, not to read it. */
const LISTED = 6;

const BOUND = `the page keeps up to ${count(KEPT_SET_FILES, "file")}, ${bytes(KEPT_SET_BYTES)} together, over a reload`;

export class Inputs {
  #found: Found[] = [];
  /** What was chosen before a reload and cannot be read any more. */
  #missing: Chosen | undefined;
  /** Under which name the files are kept, once they are. */
  #set: string | undefined;
  /** What is being kept. */
  #keeping: { found: readonly Found[]; done: Promise<Chosen> } | undefined;
  readonly #sets = new InputSets();
  readonly #changed: () => void;

  /** `changed` is called when a person changes what is chosen, and once that is kept. */
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

  /** The files, each called by its place in the folder that was chosen: a reload, and a drop, leave only its own name. */
  get files(): File[] {
    return this.#found.map(({ path, file }) => {
      if (path === (file.webkitRelativePath || file.name)) return file;
      return new File([file], path, { type: file.type, lastModified: file.lastModified });
    });
  }

  /** What is chosen, whether or not it is here. */
  get chosen(): Chosen {
    if (this.#missing !== undefined) return this.#missing;
    const all = chosen(this.#found);
    return this.#set === undefined ? all : { ...all, set: this.#set };
  }

  /** Why a job cannot run on what is chosen, in words; nothing if it can. */
  get trouble(): string | undefined {
    if (this.#missing === undefined) return undefined;
    const what = `The job's files (${told(this.#missing)}) must be chosen again`;
    return `${what}: ${BOUND}, if the browser has room. Or remove them, to run on numbers.`;
  }

  /** Keeps what is chosen now, if it is not too large; gives it when that is done, or cannot be. */
  keep(): Promise<Chosen> {
    const [found, now] = [this.#found, this.chosen];
    if (now.set !== undefined || this.#missing !== undefined || !fits(now)) return Promise.resolve(now);
    if (this.#keeping?.found === found) return this.#keeping.done;
    const done = this.#sets.put(found).then(
      (set) => {
        // Something else may be chosen by now.
        if (this.#found === found) this.#set = set;
        return { ...now, set };
      },
      // A browser without room, or a private window: a reload tells that they are gone.
      () => now,
    );
    this.#keeping = { found, done };
    return done;
  }

  /** Gives what shows notes on the files that are chosen now, as long as they are chosen. */
  notesShown(): (notes: readonly string[]) => void {
    const found = this.#found;
    return (notes) => {
      const shown = element("inputs-notes");
      if (this.#found !== found || shown.childElementCount === notes.length) return;
      shown.replaceChildren(...notes.map((note) => make("p", {}, `${note}.`)));
    };
  }

  set(found: Found[]): void {
    this.#found = found;
    this.#missing = this.#set = undefined;
    complain(element("inputs-trouble"), "");
    this.#show();
  }

  /** Brings back what was chosen, or says that it is gone. */
  async restore(before: Chosen): Promise<void> {
    if (before.files === 0) return this.set([]);
    const found = before.set === undefined ? undefined : await this.#sets.get(before.set).catch(() => undefined);
    this.set(found ?? []);
    if (found === undefined) {
      this.#missing = { files: before.files, bytes: before.bytes };
      this.#show();
    } else {
      this.#set = before.set;
    }
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

  /** What is there already is not taken twice; what is missing is replaced. */
  #add({ found, troubles }: Walked): void {
    const name = ({ path, file }: Found) => `${path}\n${file.size}\n${file.lastModified}`;
    const known = new Set(this.#found.map(name));
    const added = found.filter((one) => !known.has(name(one)));
    if (added.length > 0) this.#missing = undefined;
    this.#found = [...this.#found, ...added];
    this.#show();
    const nothing = found.length === 0 && troubles.length === 0 ? ["There is no file in it that is not hidden."] : [];
    complain(element("inputs-trouble"), [...troubles, ...nothing].join(" "));
    this.#edited();
  }

  #edited(): void {
    this.#set = undefined;
    this.#changed();
    void this.keep().then(() => this.#changed());
  }

  #show(): void {
    element("inputs-notes").replaceChildren();
    const all = this.#found;
    const none = this.trouble ?? "No files: the job's documents are numbers, counted from 0.";
    const choice = chosen(all);
    const some = fits(choice) ? told(choice) : `${told(choice)}, to be chosen again after a reload: ${BOUND}.`;
    element("inputs-shown").textContent = all.length === 0 ? none : some;
    const rows = all.slice(0, LISTED).map((one) => {
      const remove = button("✕", { class: "link", "aria-label": `Remove ${one.path}`, title: "Remove" }, () => {
        this.#found = this.#found.filter((other) => other !== one);
        this.#show();
        this.#edited();
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
    element("no-inputs").hidden = all.length === 0 && this.#missing === undefined;
  }
}

function told({ files, bytes: size }: Chosen): string {
  return `${count(files, "file")}, ${bytes(size)}`;
}
