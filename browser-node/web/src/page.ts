// The page: joins at the press of the button, and shows the mesh.

import { join, JoinError, type Mesh, type Status } from "./mesh.js";

/** How often the figures are drawn anew. */
const REFRESH_MILLIS = 500;

const settings = {
  get threads(): number {
    return Number(localStorage.getItem("threads")) || Math.max(1, navigator.hardwareConcurrency - 1);
  },
  set threads(threads: number) {
    localStorage.setItem("threads", String(threads));
  },
};

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as T;
}

const threads = element<HTMLInputElement>("threads");
const joinButton = element<HTMLButtonElement>("join-button");
const leaveButton = element<HTMLButtonElement>("leave-button");

let mesh: Mesh | undefined;

function showThreads(): void {
  element("threads-shown").textContent = threads.value;
}

async function enter(): Promise<void> {
  joinButton.disabled = true;
  element("trouble").hidden = true;
  element("state").textContent = "Joining …";
  try {
    mesh = await join({ threads: Number(threads.value) });
  } catch (error) {
    const known = error instanceof JoinError;
    element("trouble").textContent = known ? error.message : `The tab cannot join: ${String(error)}`;
    element("trouble").hidden = false;
    element("state").textContent = "";
    joinButton.disabled = false;
    return;
  }
  joinButton.hidden = true;
  leaveButton.hidden = false;
  element("mesh").hidden = false;
  void watch(mesh);
}

async function leave(): Promise<void> {
  const left = mesh;
  mesh = undefined;
  joinButton.hidden = false;
  joinButton.disabled = false;
  leaveButton.hidden = true;
  element("mesh").hidden = true;
  element("state").textContent = "Leaving …";
  await left?.leave();
  element("state").textContent = "You have left the mesh.";
}

async function watch(watched: Mesh): Promise<void> {
  while (mesh === watched) {
    show(await watched.status());
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLIS));
  }
}

function show(status: Status): void {
  element("state").textContent =
    status.connected > 0 ? `You are peer ${status.peer}.` : "Looking for peers …";
  element("connected").textContent = String(status.connected);
  element("tasks").textContent = String(status.given.tasks);
  element("time").textContent = `${(status.given.millis / 1000).toFixed(1)} s`;
  const rows = status.peers
    .filter((peer) => peer.connected)
    .map((peer) => {
      const roles = Object.entries(peer.roles).filter(([, has]) => has);
      const cells = [peer.peer.slice(-8), peer.kind, roles.map(([role]) => role).join(", "), String(peer.threads)];
      const row = document.createElement("tr");
      row.append(
        ...cells.map((text) => {
          const cell = document.createElement("td");
          cell.textContent = text;
          return cell;
        }),
      );
      return row;
    });
  element("peers").replaceChildren(...rows);
}

threads.max = String(navigator.hardwareConcurrency);
threads.value = String(settings.threads);
showThreads();
threads.addEventListener("input", () => {
  settings.threads = Number(threads.value);
  showThreads();
});
element("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void enter();
});
leaveButton.addEventListener("click", () => void leave());
// A tab that is closed says goodbye as far as there is time.
addEventListener("pagehide", () => void mesh?.leave());
if (location.hash === "#join") void enter();
