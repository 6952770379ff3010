// Kiosk mode: joining without a press, if the node allows it.

/** Whether the page's address asks for it. A link can, so that the address alone decides nothing. */
export function isAsked(): boolean {
  return location.hash === "#join";
}

/** Whether the node that this page comes from lets it join without a press, as one started with `--kiosk` does. */
export async function isAllowed(): Promise<boolean> {
  try {
    const answer = await fetch(new URL("/.well-known/webmesh.json", location.href));
    const said = (await answer.json()) as { kiosk?: unknown } | null;
    return answer.ok && said?.kiosk === true;
  } catch {
    return false;
  }
}
