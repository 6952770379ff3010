// The Submit view: an editor, files, settings, and the list of jobs.

import { button, showMessage, element, make } from "../dom.js";
import type { Diagnostic } from "../job.js";
import { marks } from "./diagnostics.js";
import * as drafts from "./draft.js";
import type { Editor } from "./editor.js";
import { type Example, inputsOf, loadExamples } from "./examples.js";
import { showFindings } from "./findings.js";
import { SettingsForm } from "./form.js";
import type { Chosen } from "./input-sets.js";
import { Inputs } from "./inputs.js";
import { Jobs, type Submits } from "./jobs.js";
import type { Kept } from "./kept.js";
import { draw } from "./list.js";
import { Panel, summary } from "./panel.js";
import { options } from "./settings.js";
import { count } from "./words.js";

export type { Submits } from "./jobs.js";

/** The protocol's size limit of a job's source (protocol/src/limits.rs). */
const SOURCE_BYTES = 1 << 20;
/** Delay after the last edit until a draft is stored. */
const KEEP_MILLIS = 300;

/** What this view needs from the page. */
export interface Host {
  /** Whether this tab is in the mesh. */
  joined(): boolean;
  /** Number of cores that it gives, or would give. */
  threads(): number;
  /** The mesh; joins first if necessary. */
  mesh(): Promise<Submits>;
  /** Called when a job starts or ends. */
  changed(): void;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** What Run does in a tab that has not joined, which may be more than the user expects. */
function joins(threads: number): string {
  const cores = count(threads, "core");
  const gives = threads === 0 ? "it gives no cores" : `it also gives ${cores} to the jobs of others`;
  return `This tab is not in the mesh yet: Run joins first, and ${gives}, as set in the Join view.`;
}

/** Whether a job's files were an example's own. */
function isOf(example: Example | undefined, { files, bytes }: Chosen): boolean {
  const own = example === undefined ? [] : inputsOf(example);
  return example !== undefined && own.length === files && own.reduce((sum, { file }) => sum + file.size, 0) === bytes;
}

export class SubmitView {
  readonly #host: Host;
  readonly #jobs: Jobs;
  readonly #panel: Panel;
  readonly #inputs: Inputs;
  readonly #settings: SettingsForm;
  readonly #examples: Example[];
  readonly #editor: Editor;
  readonly #name = element<HTMLInputElement>("job-name");
  /** The example whose own inputs are chosen. */
  #example: string | undefined;
  /** The last job run, and the function that shows notes on its files. */
  #ran: { key: string; showNotes: (notes: readonly string[]) => void } | undefined;
  #busy = false;
  #keeping: ReturnType<typeof setTimeout> | undefined;
  #drawing = false;
  /** What the list of jobs currently shows. */
  #listed: string | undefined;

  /** Loads what the view needs, and shows it. */
  static async open(host: Host): Promise<SubmitView> {
    const [{ Editor }, examples] = await Promise.all([import("./editor.js"), loadExamples()]);
    // Loading, creating and showing the editor each take long: yield in between, so that the page stays responsive.
    await pause();
    const draft = drafts.kept();
    const view = new SubmitView(host, examples, Editor, draft);
    await Promise.all([view.#jobs.load(), view.#restore(draft)]);
    view.#changed();
    await pause();
    element("submit-body").hidden = false;
    return view;
  }

  private constructor(host: Host, examples: Example[], Code: typeof Editor, draft: drafts.Draft | undefined) {
    this.#host = host;
    this.#examples = examples;
    this.#jobs = new Jobs((key) => this.#changed(key));
    this.#panel = new Panel(element("job"), this.#jobs, {
      edit: (job) => void this.#edit(job),
      again: (job) => void this.again(job.key),
    });
    this.#settings = new SettingsForm(() => this.#keepSoon());
    this.#inputs = new Inputs(() => {
      this.#example = undefined;
      this.#keepSoon();
    });
    this.#editor = new Code(element("editor"), {
      text: draft?.source ?? "",
      changed: () => this.#keepSoon(),
      run: () => void this.#run(),
    });
    this.#listen();
  }

  /** Restores the stored draft, or shows the first example. */
  async #restore(draft: drafts.Draft | undefined): Promise<void> {
    if (draft === undefined) return this.#show(this.#examples[0]);
    this.#name.value = draft.name;
    this.#settings.value = draft.settings;
    this.#example = draft.example;
    await this.#choose(draft.inputs, draft.example);
  }

  /** Chooses an example's own files, or stored ones. */
  async #choose(inputs: Chosen, name: string | undefined): Promise<void> {
    const example = this.#examples.find((example) => example.name === name);
    if (example === undefined) await this.#inputs.restore(inputs);
    else this.#inputs.set(inputsOf(example));
  }

  /** Whether a job of this tab is running. */
  get running(): boolean {
    return this.#jobs.running;
  }

  #listen(): void {
    this.#name.addEventListener("input", () => this.#keepSoon());
    element("submit-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#run();
    });
    element("undo-example").addEventListener("click", () => {
      this.#editor.undo();
      this.#editor.focus();
      element("undo-example").hidden = true;
    });
    element("examples").replaceChildren(...this.#examples.map((example) => this.#card(example)));
    addEventListener("pagehide", () => this.#keep());
    addEventListener("beforeunload", (event) => {
      if (this.running) event.preventDefault();
    });
    // Other tabs start and end jobs too.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) void this.#jobs.load().then(() => this.#changed());
    });
  }

  #card(example: Example): HTMLElement {
    const open = button(example.title, { class: "link" }, () => {
      this.#show(example);
      element("run").focus();
    });
    const run = button("Run", { class: "plain small", "aria-label": `Run ${example.title}` }, () => {
      this.#show(example);
      void this.#run();
    });
    return make("li", {}, open, make("p", {}, example.about), run);
  }

  /** Puts an example into the editor, with its own inputs. */
  #show(example: Example | undefined): void {
    if (example === undefined) return;
    const before = this.#editor.text;
    const known = before === "" || this.#examples.some(({ source }) => source === before);
    if (before !== example.source) this.#editor.text = example.source;
    element("undo-example").hidden = known;
    this.#name.value = example.name;
    this.#settings.value = example.settings;
    this.#inputs.set(inputsOf(example));
    this.#example = example.name;
    this.#find([]);
    this.#keep();
  }

  /** Runs a job of the list again: with its source, its settings and its files, if these are stored. */
  async again(key: string): Promise<void> {
    const job = this.#jobs.kept(key);
    if (job === undefined) return;
    await this.#edit(job);
    await this.#run();
  }

  /** Puts a job of the list into the editor, with its files if these are stored. */
  async #edit(job: Kept): Promise<void> {
    if (this.#editor.text !== job.source) this.#editor.text = job.source;
    this.#name.value = job.name;
    this.#settings.value = job.settings;
    const example = this.#examples.find(({ source }) => source === job.source);
    this.#example = job.inputs.set === undefined && isOf(example, job.inputs) ? example?.name : undefined;
    await this.#choose(job.inputs, this.#example);
    this.#find(this.#jobs.live(job.key)?.diagnostics ?? []);
    this.#keep();
    element("code").scrollIntoView({ block: "nearest" });
    this.#editor.show(0);
  }

  #keepSoon(): void {
    clearTimeout(this.#keeping);
    this.#keeping = setTimeout(() => this.#keep(), KEEP_MILLIS);
  }

  #keep(): void {
    clearTimeout(this.#keeping);
    const { text: source } = this.#editor;
    const trouble = drafts.keep({
      name: this.#name.value,
      source,
      settings: this.#settings.value,
      example: this.#example,
      inputs: this.#inputs.chosen,
    });
    if (trouble !== undefined) showMessage(element("run-trouble"), trouble);
  }

  /** What is wrong with the submission, as text; undefined if it is valid. */
  #problemOf(source: string): string | undefined {
    if (source.trim() === "") return "There is no code to run: write some, or choose an example.";
    const bytes = new TextEncoder().encode(source).length;
    if (bytes > SOURCE_BYTES) return `The source has ${bytes} bytes; the limit is ${SOURCE_BYTES}.`;
    return this.#inputs.trouble;
  }

  async #run(): Promise<void> {
    if (this.#busy) return;
    const { text: source } = this.#editor;
    const settings = this.#settings.value;
    const chosen = options(settings);
    const trouble = this.#problemOf(source) ?? (Array.isArray(chosen) ? `${chosen.join(". ")}.` : "");
    showMessage(element("run-trouble"), trouble);
    if (Array.isArray(chosen)) this.#settings.show();
    if (trouble !== "" || Array.isArray(chosen)) return;
    this.#keep();
    this.#find([]);
    const inputs = this.#inputs.files;
    const name = this.#name.value.trim() || "job.cpp";
    const all = { ...chosen, source, name, ...(inputs.length > 0 ? { inputs } : {}) };
    const keeping = this.#inputs.keep();
    this.#busy = true;
    const joining = this.#host.mesh();
    const job = this.#jobs.start({ name, source, settings, options: all, inputs: this.#inputs.chosen }, joining);
    this.#ran = { key: job.key, showNotes: this.#inputs.notesShown() };
    void keeping.then((inputs) => this.#jobs.keepInputs(job.key, inputs));
    this.#panel.open(job.key);
    this.#changed();
    await joining.catch(() => {});
    this.#busy = false;
    this.#host.changed();
    this.#changed();
  }

  /** Shows the compiler's diagnostics of the code in the editor. */
  #find(diagnostics: readonly Diagnostic[]): void {
    const found = marks(this.#editor.text, diagnostics);
    this.#editor.mark(found);
    showFindings(element("diagnostics"), found, (mark) => this.#editor.show(mark.from));
  }

  /** A job changed, or the list of them. Several changes are rendered at once. */
  #changed(key?: string): void {
    const job = key === undefined ? undefined : this.#jobs.kept(key);
    if (job !== undefined && job.state !== "running") this.#ended(job);
    if (this.#drawing) return;
    this.#drawing = true;
    // Timers run where animation frames do not: in a hidden tab.
    setTimeout(() => {
      this.#drawing = false;
      this.#draw();
    });
  }

  #ended(job: Kept): void {
    element("news").textContent = `${job.name}: ${summary(job, job.state)}`;
    const found = this.#jobs.live(job.key)?.diagnostics ?? [];
    if (this.#panel.key === job.key && this.#editor.text === job.source) this.#find(found);
    if (job.state === "failed" && found.length > 0) element("diagnostics").scrollIntoView({ block: "nearest" });
    this.#host.changed();
  }

  #draw(): void {
    this.#panel.update();
    if (this.#ran !== undefined) this.#ran.showNotes(this.#jobs.live(this.#ran.key)?.notes ?? []);
    // Progress is shown by the panel; unchanged rows are left alone, for assistive technology.
    const rows = this.#jobs.all.map((job) => `${job.key} ${this.#jobs.state(job)}`);
    const listed = [this.#panel.key, ...rows].join();
    if (listed !== this.#listed) this.#drawList();
    this.#listed = listed;
    const none = "None yet. What you run is listed here, and stays in this browser over a reload.";
    element("jobs-note").textContent = this.#jobs.trouble || (rows.length === 0 ? none : "");
    element<HTMLButtonElement>("run").disabled = this.#busy;
    element("run-note").textContent = this.#host.joined() ? "" : joins(this.#host.threads());
  }

  #drawList(): void {
    draw(element("jobs"), this.#jobs, this.#panel.key, {
      open: (job) => {
        this.#panel.open(job.key);
        this.#changed();
      },
      edit: (job) => void this.#edit(job),
      remove: (job) => {
        element("jobs-title").focus();
        void this.#jobs.remove(job.key);
      },
    });
  }
}
