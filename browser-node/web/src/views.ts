// The page's views: one is shown at a time, as the address says.

import { element } from "./dom.js";

export const VIEWS = ["join", "mesh", "submit"] as const;
export type View = (typeof VIEWS)[number];

const TITLES: Record<View, string> = { join: "WebMesh", mesh: "Mesh · WebMesh", submit: "Submit · WebMesh" };

/** The view that the address names; the first for any other. `#join` is a kiosk's (kiosk.ts), so that no link leads to it. */
function named(): View {
  return VIEWS.find((view) => location.hash === `#${view}`) ?? "join";
}

/** Shows the views, and says which one is opened. */
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
    // The focus is lost if it was in the view that is hidden now, or if the address names an element: browsers then clear
    // it. It goes to the title of the view that is shown.
    const isLost = before === null || before === document.body || !before.checkVisibility();
    if (isLost) element(`${named()}-title`).focus({ preventScroll: true });
  });
  show();
}
