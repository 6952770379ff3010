// Decides when a tab works: the user's conditions for pausing.

/** Why a tab is paused, as text; undefined if it may work. */
export type Waiting = string | undefined;

interface Battery extends EventTarget {
  charging: boolean;
}

interface Connection extends EventTarget {
  saveData?: boolean;
  type?: string;
}

/** Browser interfaces that not every browser has. */
type NavigatorWithConditions = Navigator & { getBattery?: () => Promise<Battery>; connection?: Connection };

/** The conditions under which the user may choose to pause. */
export const CONDITIONS = ["hidden", "battery", "metered"] as const;
export type Condition = (typeof CONDITIONS)[number];

/** Watches the conditions; calls back when the answer may have changed. */
export class Conditions {
  #battery: Battery | undefined;
  #connection = (navigator as NavigatorWithConditions).connection;

  constructor(changed: () => void) {
    document.addEventListener("visibilitychange", changed);
    this.#connection?.addEventListener("change", changed);
    const asked = (navigator as NavigatorWithConditions).getBattery?.();
    asked?.then(
      (battery) => {
        this.#battery = battery;
        battery.addEventListener("chargingchange", changed);
        changed();
      },
      // A browser that refuses counts as one without the interface.
      () => {},
    );
  }

  /** Why a condition is not available here, as text; undefined if it is. */
  unavailable(condition: Condition): string | undefined {
    if (condition === "hidden") return undefined;
    const [known, what] =
      condition === "battery"
        ? ["getBattery" in navigator, "whether the machine runs on battery"]
        : [this.#connection !== undefined, "whether the connection is metered"];
    if (known) return undefined;
    if (isSecureContext) return `not available: this browser does not tell pages ${what}`;
    return `not available: this page came over plain HTTP, and browsers tell ${what} over HTTPS only, if at all`;
  }

  /** The first chosen condition that holds, as text. */
  waiting(chosen: (condition: Condition) => boolean): Waiting {
    if (chosen("hidden") && document.hidden) return "this tab is hidden";
    if (chosen("battery") && this.#battery?.charging === false) return "this machine runs on its battery";
    const metered = this.#connection?.saveData === true || this.#connection?.type === "cellular";
    if (chosen("metered") && metered) return "the connection is metered";
    return undefined;
  }
}
