// The page: joins at the press of the button, shows the mesh, and opens the view that submits.

import { type Condition, CONDITIONS, Conditions } from "./conditions.js";
import { CrashNotice } from "./crash.js";
import { complain, element } from "./dom.js";
import { showFigures } from "./figures.js";
import { watchHead } from "./head.js";
import { ownIdentity } from "./identity.js";
import * as kiosk from "./kiosk.js";
import { CrashError, join, JoinError, type Mesh, type Status } from "./mesh.js";
import { History } from "./plots.js";
import { ReloadNotice } from "./reload.js";
import { hadJoined, ranBefore, rememberJoined } from "./session.js";
import type { Host, Submits, SubmitView } from "./submit/view.js";
import { Threads } from "./threads.js";
import { Turns } from "./turns.js";
import { showViews } from "./views.js";

/** How often the figures are drawn anew. */
const REFRESH_MILLIS = 500;
/** A tab without any connection after so long says what may be in the way. */
const LONELY_MILLIS = 12_000;

const TROUBLE_CONNECTING =
  "No peer can be reached, neither over WebRTC nor over WebSocket. Perhaps a firewall stands between; perhaps the " +
  "browser was not allowed to reach the local network; or the node has a new certificate: reload the page to ask it for " +
  "its address again.";

const REJOINED = " It joined by itself after the reload, as you had joined in this tab.";
const KIOSK_REFUSED =
  "This address asks the page to join without a press. Only a node that was started as a kiosk allows that, and the one " +
  "that serves this page was not: press the button to join.";

const joinButton = element<HTMLButtonElement>("join-button");
const leaveButton = element<HTMLButtonElement>("leave-button");
const trouble = element("trouble");

/** Whether the button was pressed, and what came of it. */
let wanted = false;
/** Whether this tab joined by itself after a reload. */
let isRejoined = false;
let mesh: Mesh | undefined;
let submitView: SubmitView | undefined;
const turns = new Turns((error) => {
  // The notice tells of a crash.
  if (error instanceof CrashError) return;
  wanted = false;
  leftNow("", "Not joined");
  complain(trouble, `The tab did not join or leave as it should: ${wordsOf(error)}`);
});
const notice = new CrashNotice(() => want(true));
const threads = new Threads(() => void settle());

const conditions = new Conditions(() => void settle());
const box = (condition: Condition) => element<HTMLInputElement>(`pause-${condition}`);
const waitingNow = () => conditions.waiting((condition) => box(condition).checked);

/** The person wants to be in the mesh, or out of it. */
function want(joined: boolean): void {
  wanted = joined;
  isRejoined = false;
  void settle();
}

/** Joins or leaves, as wanted and allowed; one change at a time. */
async function settle(): Promise<void> {
  showButtons();
  await turns.take(change);
  showButtons();
}

function showButtons(): void {
  rememberJoined(wanted);
  const [shown, hidden] = wanted ? [leaveButton, joinButton] : [joinButton, leaveButton];
  // The focus moves from the button that disappears to the one that takes its place.
  const moves = document.activeElement === hidden;
  shown.hidden = false;
  if (moves) shown.focus();
  hidden.hidden = true;
  element("onward").hidden = mesh === undefined;
}

async function change(): Promise<void> {
  const waiting = waitingNow();
  // A job of this tab's own is not given up for a condition.
  const busy = submitView?.running === true;
  if (wanted && waiting === undefined && mesh === undefined) await enter();
  if (mesh !== undefined && mesh.threads !== threads.value) await mesh.setThreads(threads.value);
  if ((!wanted || (waiting !== undefined && !busy)) && mesh !== undefined) await exit();
  if (wanted && mesh === undefined && waiting !== undefined) say(`Paused: ${waiting}.`, "Paused");
}

/** Says what this tab is, and the same in a word or two. */
function say(text: string, badge: string): void {
  element("state").textContent = text;
  element("badge").textContent = badge;
  element("badge").classList.toggle("in", mesh !== undefined);
}

async function enter(): Promise<void> {
  const again = notice.isShown;
  say("Joining …", "Joining …");
  complain(trouble, "");
  notice.hide();
  try {
    mesh = await join({ threads: threads.value, identity: await ownIdentity() });
  } catch (error) {
    wanted = false;
    say("", "Not joined");
    const why = error instanceof JoinError ? error.message : `The tab cannot join: ${wordsOf(error)}`;
    complain(trouble, why);
    // A node that does not answer may do so later; what else goes wrong goes wrong again.
    if (again) notice.show(why, !(error instanceof JoinError));
    return;
  }
  element("mesh").hidden = false;
  element("outside").hidden = true;
  const entered = mesh;
  entered.closed.catch((crash: CrashError) => crashed(entered, crash));
  void watch(entered);
}

async function exit(): Promise<void> {
  const left = mesh;
  leftNow("Leaving …", "Leaving …");
  await left?.leave();
  say("You have left the mesh.", "Not joined");
}

/** Shows that this tab is in no mesh. */
function leftNow(text: string, badge: string): void {
  mesh = undefined;
  element("mesh").hidden = true;
  element("outside").hidden = false;
  say(text, badge);
}

/** The program is no more. Whether another is started is for the person to say: what failed once may fail again. */
function crashed(was: Mesh, { message }: CrashError): void {
  if (mesh !== undefined && mesh !== was) return;
  wanted = false;
  leftNow("", "Stopped");
  complain(trouble, "");
  const what = message.charAt(0).toUpperCase() + message.slice(1);
  notice.show(`${what}. The mesh goes on without this tab; jobs that were submitted here have ended.`);
  showButtons();
}

async function watch(watched: Mesh): Promise<void> {
  const history = new History(element("plots"));
  const started = performance.now();
  try {
    while (mesh === watched) {
      const status = await watched.status();
      if (mesh !== watched) break;
      const lonely = status.connected === 0 && performance.now() - started > LONELY_MILLIS;
      complain(trouble, lonely ? TROUBLE_CONNECTING : "");
      history.add(status);
      if (!document.hidden) show(status);
      await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLIS));
    }
  } catch (error) {
    // The notice tells of a crash.
    if (!(error instanceof CrashError)) throw error;
  } finally {
    history.end();
  }
}

/** Shows who this tab is and what it does. */
function show(status: Status): void {
  const count = status.connected;
  const idle = mesh?.threads === 0 ? " It gives no cores: it submits jobs, and computes for nobody." : "";
  const text = `You are peer ${status.peer}.${idle}${isRejoined ? REJOINED : ""}`;
  if (count > 0) say(text, `Joined · ${count} ${count === 1 ? "peer" : "peers"}`);
  else say("Looking for peers …", "Looking for peers …");
  showFigures(status);
}

/** What the view that submits asks of the page. */
const host: Host = {
  joined: () => mesh !== undefined,
  threads: () => threads.value,
  async mesh(): Promise<Submits> {
    wanted = true;
    await settle();
    if (mesh !== undefined) return mesh;
    const waiting = waitingNow();
    if (waiting === undefined) throw new JoinError(trouble.textContent || "The tab left the mesh before it was in it.");
    throw new JoinError(`This tab is paused, since ${waiting}. Change that, or the switch in the Join view.`);
  },
  changed: () => void settle(),
};

let opening: Promise<SubmitView | undefined> | undefined;

/** The view that submits is loaded when it is opened first: who only joins does without. */
async function openSubmit(): Promise<SubmitView> {
  const { SubmitView } = await import("./submit/view.js");
  submitView = await SubmitView.open(host);
  return submitView;
}

/** Gives the view once it is there; nothing if it cannot be loaded, which is told where it would be. */
function submitOpened(): Promise<SubmitView | undefined> {
  const state = element("submit-state");
  if (opening === undefined) state.textContent = "Loading …";
  opening ??= openSubmit().then(
    (view) => {
      state.textContent = "";
      return view;
    },
    (error) => {
      // Opening the view again tries again.
      opening = undefined;
      state.textContent = `This view cannot be loaded: ${String(error)}. Is the node still there?`;
      return undefined;
    },
  );
  return opening;
}

/** Settings are kept: a person chooses once. */
function remember(input: HTMLInputElement): void {
  const value = localStorage.getItem(input.id);
  const flag = input.type === "checkbox";
  if (value !== null && flag) input.checked = value === "true";
  else if (value !== null) input.value = value;
  input.addEventListener("change", () => {
    localStorage.setItem(input.id, flag ? String(input.checked) : input.value);
    void settle();
  });
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

for (const condition of CONDITIONS) {
  remember(box(condition));
  const why = conditions.unavailable(condition);
  if (why === undefined) continue;
  box(condition).disabled = true;
  box(condition).checked = false;
  element(`pause-${condition}-why`).textContent = `(${why})`;
}
element("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  want(true);
});
leaveButton.addEventListener("click", () => want(false));
// The mesh sees to its own leaving when the page is closed. One that the browser keeps leaves too, or its peers would count
// on what stands still.
addEventListener("pagehide", ({ persisted }) => {
  if (persisted) void mesh?.leave();
});
// One that the browser shows again as it was has left all the same, and joins anew.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  mesh = undefined;
  void settle();
});

watchHead();
new ReloadNotice(ranBefore(), (job) => {
  location.hash = "#submit";
  void submitOpened().then((view) => view?.again(job.key));
});
showViews((view) => {
  if (view === "submit") void submitOpened();
});
if (hadJoined()) {
  wanted = isRejoined = true;
  void settle();
} else if (kiosk.isAsked()) {
  void kiosk.isAllowed().then((allowed) => (allowed ? want(true) : complain(trouble, KIOSK_REFUSED)));
}
