// The files of the next job: chosen, dropped, or an example's own; kept over a reload if they are small enough.

import { button, showMessage, element, make } from "../dom.js";
import { type Chosen, chosen, fits, InputSets, KEPT_SET_BYTES, KEPT_SET_FILES } from "./input-sets.js";
import { dropped, type Found, picked, type Walked } from "./walk.js";
import { bytes, count } from "./words.js";

/** Maximum number of files listed: the list only helps to recognise the choice. */
const LISTED = 6;

const BOUND = `the page keeps up to ${count(KEPT_SET_FILES, "file")}, ${bytes(KEPT_SET_BYTES)} together, over a reload`;

export class Inputs {
  #found: Found[] = [];
  /** A choice made before a reload that can no longer be read. */
  #missing: Chosen | undefined;
  /** The key under which the files are stored, once they are. */
  #set: string | undefined;
  /** The choice being stored. */
  #keeping: { found: readonly Found[]; done: Promise<Chosen> } | undefined;
  readonly #sets = new InputSets();
  readonly #changed: () => void;

  /** `changed` is called when the user changes the choice, and once it is stored. */
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
        // Choosing the same files again must be a change too.
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

  /** The files, each named by its path in the chosen folder: after a reload or a drop, a File has only its own name. */
  get files(): File[] {
    return this.#found.map(({ path, file }) => {
      if (path === (file.webkitRelativePath || file.name)) return file;
      return new File([file], path, { type: file.type, lastModified: file.lastModified });
    });
  }

  /** The choice, whether or not its files are available. */
  get chosen(): Chosen {
    if (this.#missing !== undefined) return this.#missing;
    const all = chosen(this.#found);
    return this.#set === undefined ? all : { ...all, set: this.#set };
  }

  /** Why a job cannot run on this choice, as text; undefined if it can. */
  get trouble(): string | undefined {
    if (this.#missing === undefined) return undefined;
    const what = `The job's files (${summary(this.#missing)}) must be chosen again`;
    return `${what}: ${BOUND}, if the browser has room. Or remove them, to run on numbers.`;
  }

  /** Stores the current choice, if it is not too large; resolves with it when that is done, or has failed. */
  keep(): Promise<Chosen> {
    const [found, now] = [this.#found, this.chosen];
    if (now.set !== undefined || this.#missing !== undefined || !fits(now)) return Promise.resolve(now);
    if (this.#keeping?.found === found) return this.#keeping.done;
    const done = this.#sets.put(found).then(
      (set) => {
        // The choice may have changed meanwhile.
        if (this.#found === found) this.#set = set;
        return { ...now, set };
      },
      // A browser without space, or a private window: after a reload the user is told that they are gone.
      () => now,
    );
    this.#keeping = { found, done };
    return done;
  }

  /** Returns a function that shows notes on the current choice, as long as it is unchanged. */
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
    showMessage(element("inputs-trouble"), "");
    this.#show();
  }

  /** Restores a choice, or reports that it is gone. */
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
    // A drop outside the target would make the browser open the file and leave the page.
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

  /** Adds files without duplicates; they replace a missing choice. */
  #add({ found, troubles }: Walked): void {
    const name = ({ path, file }: Found) => `${path}\n${file.size}\n${file.lastModified}`;
    const known = new Set(this.#found.map(name));
    const added = found.filter((one) => !known.has(name(one)));
    if (added.length > 0) this.#missing = undefined;
    this.#found = [...this.#found, ...added];
    this.#show();
    const nothing = found.length === 0 && troubles.length === 0 ? ["It contains no files other than hidden ones."] : [];
    showMessage(element("inputs-trouble"), [...troubles, ...nothing].join(" "));
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
    const some = fits(choice) ? summary(choice) : `${summary(choice)}, to be chosen again after a reload: ${BOUND}.`;
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

function summary({ files, bytes: size }: Chosen): string {
  return `${count(files, "file")}, ${bytes(size)}`;
}
