// The editor: CodeMirror with the features for C++. It is loaded when the view is opened.

import { defaultKeymap, history, historyKeymap, indentWithTab, isolateHistory, undo } from "@codemirror/commands";
import { cpp } from "@codemirror/lang-cpp";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics } from "@codemirror/lint";
import { EditorState, Prec } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

import { covered } from "../head.js";
import type { Mark } from "./diagnostics.js";

/** The colours are the page's variables, which support dark and light mode. */
const look = EditorView.theme({
  "&": { color: "var(--ink)", backgroundColor: "var(--paper)", fontSize: "0.875rem", height: "100%" },
  "&.cm-focused": { outline: "3px solid var(--accent)", outlineOffset: "1px" },
  ".cm-scroller": { fontFamily: "ui-monospace, 'SF Mono', Menlo, Consolas, monospace", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "var(--selected)",
  },
  ".cm-gutters": { color: "var(--quiet)", backgroundColor: "var(--paper)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "var(--active)" },
  ".cm-matchingBracket": { backgroundColor: "var(--selected)" },
  ".cm-tooltip": { color: "var(--ink)", backgroundColor: "var(--paper)", border: "1px solid var(--line)" },
});

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.controlKeyword], color: "var(--code-keyword)", fontWeight: "600" },
  { tag: [tags.typeName, tags.standard(tags.typeName), tags.namespace], color: "var(--code-type)" },
  { tag: [tags.string, tags.character, tags.special(tags.string)], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)" },
  { tag: [tags.comment, tags.meta, tags.processingInstruction], color: "var(--quiet)" },
  { tag: [tags.function(tags.variableName), tags.definition(tags.variableName)], color: "var(--code-name)" },
]);

export interface EditorOptions {
  text: string;
  changed(): void;
  run(): void;
}

export class Editor {
  readonly #view: EditorView;

  /** In a shadow root, CodeMirror's styles work although the page's policy allows no style elements. */
  constructor(into: HTMLElement, options: EditorOptions) {
    const root = into.shadowRoot ?? into.attachShadow({ mode: "open" });
    const run = () => {
      options.run();
      return true;
    };
    this.#view = new EditorView({
      root,
      parent: root,
      state: EditorState.create({
        doc: options.text,
        extensions: [
          lineNumbers(),
          lintGutter(),
          history(),
          drawSelection(),
          indentOnInput(),
          indentUnit.of("  "),
          bracketMatching(),
          highlightActiveLine(),
          highlightActiveLineGutter(),
          cpp(),
          syntaxHighlighting(colours),
          look,
          // Text that is scrolled into view must not be under the page's header.
          EditorView.scrollMargins.of(() => ({ top: covered() })),
          EditorView.contentAttributes.of({ "aria-label": "The job's source, in C++", tabindex: "0" }),
          Prec.high(keymap.of([{ key: "Mod-Enter", run }])),
          keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) options.changed();
          }),
        ],
      }),
    });
  }

  get text(): string {
    return this.#view.state.doc.toString();
  }

  /** Replaces the whole text; `undo` restores the old one. */
  set text(text: string) {
    const { doc } = this.#view.state;
    const changes = { from: 0, to: doc.length, insert: text };
    // A separate step in the undo history, even shortly after another change.
    this.#view.dispatch({ changes, selection: { anchor: 0 }, annotations: isolateHistory.of("full") });
    this.#view.scrollDOM.scrollTop = 0;
  }

  undo(): void {
    undo(this.#view);
  }

  /** Shows the compiler's diagnostics at their positions. */
  mark(marks: readonly Mark[]): void {
    const most = this.#view.state.doc.length;
    const diagnostics = marks.map(({ from, to, severity, text }) => ({
      from: Math.min(from, most),
      to: Math.min(to, most),
      severity: severity === "note" ? ("info" as const) : severity,
      message: text,
    }));
    this.#view.dispatch(setDiagnostics(this.#view.state, diagnostics));
  }

  /** Scrolls to a position, and moves the cursor there. */
  show(at: number): void {
    const anchor = Math.min(at, this.#view.state.doc.length);
    const effects = EditorView.scrollIntoView(anchor, { y: "center" });
    this.#view.dispatch({ selection: { anchor }, effects });
    this.#view.focus();
  }

  focus(): void {
    this.#view.focus();
  }
}
