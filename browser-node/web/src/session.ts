// What this tab, and no other, remembers over a reload: that its person had joined, and which jobs it ran.

const JOINED = "joined";
const RUNNING = "running";

export interface RanBefore {
  key: string;
  name: string;
}

/**
 * Whether this page is the same tab's as before, loaded anew. A copy of a tab, or a window that a page opens, begins with
 * a copy of what the tab remembers, and nobody has pressed anything in it.
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

/** Whether the person had pressed Join, and not Leave, before the reload. Said once. */
export function hadJoined(): boolean {
  return take(JOINED) !== null;
}

export function rememberJoined(joined: boolean): void {
  if (joined) sessionStorage.setItem(JOINED, "yes");
  else sessionStorage.removeItem(JOINED);
}

/** The jobs that this tab ran when it was reloaded, the youngest first. Said once. */
export function ranBefore(): RanBefore[] {
  try {
    return (JSON.parse(take(RUNNING) ?? "[]") as RanBefore[]).filter(({ key, name }) => key !== "" && name !== "");
  } catch {
    // Whatever stands there is not ours.
    return [];
  }
}

export function rememberRunning(jobs: readonly RanBefore[]): void {
  if (jobs.length === 0) sessionStorage.removeItem(RUNNING);
  else sessionStorage.setItem(RUNNING, JSON.stringify(jobs.map(({ key, name }) => ({ key, name }))));
}
