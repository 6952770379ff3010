// What this tab alone remembers over a reload: that the user had joined, and which jobs it ran.

const JOINED = "joined";
const RUNNING = "running";

export interface RanBefore {
  key: string;
  name: string;
}

/**
 * Whether this page is a reload of the same tab. A duplicated tab, or a window opened by a page, starts with a copy of
 * the tab's session storage, though the user has pressed nothing in it.
 */
function wasReloaded(): boolean {
  const [entry] = performance.getEntriesByType("navigation") as PerformanceNavigationTiming[];
  return entry?.type === "reload";
}

function take(name: string): string | null {
  const value = sessionStorage.getItem(name);
  sessionStorage.removeItem(name);
  return wasReloaded() ? value : null;
}

/** Whether the user had pressed Join, and not Leave, before the reload. Consumed by the first call. */
export function hadJoined(): boolean {
  return take(JOINED) !== null;
}

export function rememberJoined(joined: boolean): void {
  if (joined) sessionStorage.setItem(JOINED, "yes");
  else sessionStorage.removeItem(JOINED);
}

/** The jobs that this tab was running when it was reloaded, newest first. Consumed by the first call. */
export function ranBefore(): RanBefore[] {
  try {
    return (JSON.parse(take(RUNNING) ?? "[]") as RanBefore[]).filter(({ key, name }) => key !== "" && name !== "");
  } catch {
    // Not our data.
    return [];
  }
}

export function rememberRunning(jobs: readonly RanBefore[]): void {
  if (jobs.length === 0) sessionStorage.removeItem(RUNNING);
  else sessionStorage.setItem(RUNNING, JSON.stringify(jobs.map(({ key, name }) => ({ key, name }))));
}
