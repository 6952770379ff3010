// The page: joins at the press of the button, and shows the mesh.

import { type Condition, CONDITIONS, Conditions } from "./conditions.js";
import { ownIdentity } from "./identity.js";
import { join, JoinError, type Mesh, type Status } from "./mesh.js";
import { draw, kindOf } from "./picture.js";
import { History } from "./plots.js";

/** How often the figures are drawn anew. */
const REFRESH_MILLIS = 500;
/** A tab without any connection after so long says what may be in the way. */
const LONELY_MILLIS = 12_000;
/** What AWS Lambda charges for a gigabyte-second (x86, us-east-1), in US dollars; as of November 2026. */
const LAMBDA_DOLLARS = 0.0000166667;

const TROUBLE_CONNECTING =
  "No peer can be reached. Perhaps this network blocks UDP, which WebRTC needs; perhaps the browser was not allowed to " +
  "reach the local network; or the node has a new certificate: reload the page to ask it for its address again.";

function element<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found as unknown as T;
}

const threads = element<HTMLInputElement>("threads");
const joinButton = element<HTMLButtonElement>("join-button");
const leaveButton = element<HTMLButtonElement>("leave-button");

/** Whether the button was pressed, and what came of it. */
let wanted = false;
let mesh: Mesh | undefined;
let changing: Promise<void> = Promise.resolve();

const conditions = new Conditions(settle);
const box = (condition: Condition) => element<HTMLInputElement>(`pause-${condition}`);

/** Joins or leaves, as wanted and allowed; one change at a time. */
function settle(): void {
  changing = changing.then(async () => {
    const waiting = conditions.waiting((condition) => box(condition).checked);
    if (wanted && waiting === undefined && mesh === undefined) await enter();
    if ((!wanted || waiting !== undefined) && mesh !== undefined) await exit();
    joinButton.hidden = wanted;
    leaveButton.hidden = !wanted;
    if (wanted && mesh === undefined && waiting !== undefined) say(`Paused: ${waiting}.`);
  });
}

function say(text: string): void {
  element("state").textContent = text;
}

function complain(text: string): void {
  element("trouble").textContent = text;
  element("trouble").hidden = text === "";
}

async function enter(): Promise<void> {
  say("Joining …");
  complain("");
  try {
    mesh = await join({ threads: Number(threads.value), identity: await ownIdentity() });
  } catch (error) {
    wanted = false;
    say("");
    complain(error instanceof JoinError ? error.message : `The tab cannot join: ${String(error)}`);
    return;
  }
  element("mesh").hidden = false;
  void watch(mesh);
}

async function exit(): Promise<void> {
  const left = mesh;
  mesh = undefined;
  element("mesh").hidden = true;
  say("Leaving …");
  await left?.leave();
  say("You have left the mesh.");
}

async function watch(watched: Mesh): Promise<void> {
  const history = new History(element("plots"));
  const started = performance.now();
  while (mesh === watched) {
    const status = await watched.status();
    const lonely = status.connected === 0 && performance.now() - started > LONELY_MILLIS;
    complain(lonely ? TROUBLE_CONNECTING : "");
    const busy = history.add(status);
    if (!document.hidden) show(status, busy);
    await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLIS));
  }
}

function show(status: Status, busy: boolean): void {
  const { given } = status;
  say(status.connected > 0 ? `You are peer ${status.peer}.` : "Looking for peers …");
  element("connected").textContent = String(status.connected);
  element("tasks").textContent = String(given.tasks);
  element("time").textContent = `${(given.millis / 1000).toFixed(1)} s`;
  element("worth").textContent = `${given.gigabyteSeconds.toFixed(2)} GB·s`;
  const dollars = given.gigabyteSeconds * LAMBDA_DOLLARS;
  element("dollars").textContent = `AWS Lambda would have charged $${dollars.toFixed(dollars < 0.01 ? 6 : 2)}.`;
  const connected = status.peers.filter((peer) => peer.connected);
  draw(element<SVGElement>("picture"), connected, busy);
  element("peers").replaceChildren(...connected.map(row));
}

function row(peer: Status["peers"][number]): HTMLTableRowElement {
  const roles = Object.entries(peer.roles).filter(([, has]) => has);
  const cells = [peer.peer.slice(-8), kindOf(peer), roles.map(([role]) => role).join(", "), String(peer.threads)];
  const row = document.createElement("tr");
  for (const text of cells) row.insertCell().textContent = text;
  return row;
}

/** Settings are kept: a person chooses once. */
function remember(input: HTMLInputElement): void {
  const value = localStorage.getItem(input.id);
  if (value !== null) input.type === "checkbox" ? (input.checked = value === "true") : (input.value = value);
  input.addEventListener("change", () => {
    localStorage.setItem(input.id, input.type === "checkbox" ? String(input.checked) : input.value);
    settle();
  });
}

const showThreads = () => (element("threads-shown").textContent = threads.value);
threads.max = String(navigator.hardwareConcurrency);
threads.value = String(Math.max(1, navigator.hardwareConcurrency - 1));
remember(threads);
showThreads();
threads.addEventListener("input", showThreads);
for (const condition of CONDITIONS) {
  remember(box(condition));
  const label = box(condition).closest("label");
  if (label !== null) label.hidden = !conditions.known(condition);
}
element("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  wanted = true;
  settle();
});
leaveButton.addEventListener("click", () => {
  wanted = false;
  settle();
});
// A tab that is closed says goodbye as far as there is time.
addEventListener("pagehide", () => void mesh?.leave());
if (location.hash === "#join") {
  wanted = true;
  settle();
}
