// Kiosk mode: joining without a click, if the node allows it.

/** Whether the page's address asks for it. Any link can, so this alone is not enough. */
export function isAsked(): boolean {
  return location.hash === "#join";
}

/** Whether the node that serves this page lets it join without a click, as one started with `--kiosk` does. */
export async function isAllowed(): Promise<boolean> {
  try {
    const answer = await fetch(new URL("/.well-known/webmesh.json", location.href));
    const said = (await answer.json()) as { kiosk?: unknown } | null;
    return answer.ok && said?.kiosk === true;
  } catch {
    return false;
  }
}
