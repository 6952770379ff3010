// The page's views: the address selects the one that is shown.

import { element } from "./dom.js";

export const VIEWS = ["join", "mesh", "submit"] as const;
export type View = (typeof VIEWS)[number];

const TITLES: Record<View, string> = { join: "WebMesh", mesh: "Mesh · WebMesh", submit: "Submit · WebMesh" };

/** The view that the address names; the first for any other. `#join` is for kiosks (kiosk.ts), so no link uses it. */
function named(): View {
  return VIEWS.find((view) => location.hash === `#${view}`) ?? "join";
}

/** Shows the views, and calls `opened` for the one that is opened. */
export function showViews(opened: (view: View) => void): void {
  const show = () => {
    const shown = named();
    for (const view of VIEWS) element(`view-${view}`).hidden = view !== shown;
    for (const link of document.querySelectorAll<HTMLAnchorElement>("[data-view]")) {
      if (link.dataset["view"] === shown) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    document.title = TITLES[shown];
    opened(shown);
  };
  addEventListener("hashchange", () => {
    const before = document.activeElement;
    show();
    scrollTo(0, 0);
    // The focus is lost if it was in the view that is now hidden, or if the address names an element: browsers then
    // clear it. Move it to the title of the shown view.
    const isLost = before === null || before === document.body || !before.checkVisibility();
    if (isLost) element(`${named()}-title`).focus({ preventScroll: true });
  });
  show();
}
