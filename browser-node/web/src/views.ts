// The page's views: one is shown at a time, as the address says.

import { element } from "./dom.js";

export const VIEWS = ["join", "mesh", "submit"] as const;
export type View = (typeof VIEWS)[number];

const TITLES: Record<View, string> = { join: "WebMesh", mesh: "Mesh · WebMesh", submit: "Submit · WebMesh" };

/** The view that the address names; the first for any other. `#join` also joins at once, so that no link leads to it. */
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
    show();
    scrollTo(0, 0);
  });
  show();
}
