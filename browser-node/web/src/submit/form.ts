// The form of settings: fields that report invalid values.

import { element, make } from "../dom.js";
import { FIELDS, NO_SETTINGS, SETTINGS, type Setting, type Settings, wrong } from "./settings.js";

export class SettingsForm {
  readonly #fields = new Map<Setting, HTMLInputElement>();
  readonly #whole = element<HTMLInputElement>("whole-files");

  constructor(changed: () => void) {
    for (const setting of SETTINGS) {
      const { label, usual } = FIELDS[setting];
      const id = `setting-${setting}`;
      const input = make("input", { id, inputmode: "numeric", placeholder: usual, "aria-describedby": `${id}-wrong` });
      input.autocomplete = "off";
      const trouble = make("p", { id: `${id}-wrong`, class: "trouble", hidden: true });
      input.addEventListener("input", () => {
        this.#check(setting);
        changed();
      });
      this.#fields.set(setting, input);
      element("fields").append(make("div", {}, make("label", { for: id }, label), input, trouble));
    }
    this.#whole.addEventListener("change", changed);
    element("reset-settings").addEventListener("click", () => {
      this.value = NO_SETTINGS;
      changed();
    });
  }

  get value(): Settings {
    const fields: Settings["fields"] = {};
    for (const [setting, input] of this.#fields) if (input.value.trim() !== "") fields[setting] = input.value;
    return { wholeFiles: this.#whole.checked, fields };
  }

  set value({ wholeFiles, fields }: Settings) {
    this.#whole.checked = wholeFiles;
    for (const [setting, input] of this.#fields) {
      input.value = fields[setting] ?? "";
      this.#check(setting);
    }
  }

  /** Opens the settings at the first invalid field. */
  show(): void {
    element<HTMLDetailsElement>("settings").open = true;
    const first = SETTINGS.find((setting) => wrong(setting, this.#fields.get(setting)?.value ?? "") !== undefined);
    if (first !== undefined) this.#fields.get(first)?.focus();
  }

  #check(setting: Setting): void {
    const input = this.#fields.get(setting);
    if (input === undefined) return;
    const trouble = wrong(setting, input.value);
    const shown = element(`${input.id}-wrong`);
    shown.textContent = trouble ?? "";
    shown.hidden = trouble === undefined;
    input.setAttribute("aria-invalid", String(trouble !== undefined));
  }
}
