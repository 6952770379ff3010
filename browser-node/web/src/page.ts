// The page: joins when the button is pressed, shows the mesh, and opens the Submit view.

import { type Condition, CONDITIONS, Conditions } from "./conditions.js";
import { CrashNotice } from "./crash.js";
import { showMessage, element } from "./dom.js";
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

/** Refresh interval of the figures. */
const REFRESH_MILLIS = 500;
/** How long a tab has no connection before it names possible reasons. */
const UNCONNECTED_MILLIS = 12_000;

const TROUBLE_CONNECTING =
  "No peer can be reached, neither over WebRTC nor over WebSocket. Perhaps a firewall is in the way; perhaps the " +
  "browser was not allowed to reach the local network; or the node has a new certificate: reload the page to ask it for " +
  "its address again.";

const REJOINED = " It joined by itself after the reload, because you had joined in this tab.";
const KIOSK_REFUSED =
  "This address asks the page to join without a click. Only a node that was started as a kiosk allows that, and the one " +
  "that serves this page was not: press the button to join.";

const joinButton = element<HTMLButtonElement>("join-button");
const leaveButton = element<HTMLButtonElement>("leave-button");
const trouble = element("trouble");

/** Whether the user wants to be in the mesh. */
let wanted = false;
/** Whether this tab joined by itself after a reload. */
let isRejoined = false;
let mesh: Mesh | undefined;
let submitView: SubmitView | undefined;
const turns = new Turns((error) => {
  // The notice reports a crash.
  if (error instanceof CrashError) return;
  wanted = false;
  showLeft("", "Not joined");
  showMessage(trouble, `The tab could not join or leave properly: ${wordsOf(error)}`);
});
const notice = new CrashNotice(() => want(true));
const threads = new Threads(() => void settle());

const conditions = new Conditions(() => void settle());
const box = (condition: Condition) => element<HTMLInputElement>(`pause-${condition}`);
const waitingNow = () => conditions.waiting((condition) => box(condition).checked);

/** Records whether the user wants to be in the mesh. */
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
  // The focus moves from the button that disappears to the one that replaces it.
  const moves = document.activeElement === hidden;
  shown.hidden = false;
  if (moves) shown.focus();
  hidden.hidden = true;
  element("onward").hidden = mesh === undefined;
}

async function change(): Promise<void> {
  const waiting = waitingNow();
  // A condition does not interrupt this tab's own jobs.
  const busy = submitView?.running === true;
  if (wanted && waiting === undefined && mesh === undefined) await enter();
  if (mesh !== undefined && mesh.threads !== threads.value) await mesh.setThreads(threads.value);
  if ((!wanted || (waiting !== undefined && !busy)) && mesh !== undefined) await exit();
  if (wanted && mesh === undefined && waiting !== undefined) say(`Paused: ${waiting}.`, "Paused");
}

/** Shows the tab's state as a sentence, and as a short badge. */
function say(text: string, badge: string): void {
  element("state").textContent = text;
  element("badge").textContent = badge;
  element("badge").classList.toggle("in", mesh !== undefined);
}

async function enter(): Promise<void> {
  const again = notice.isShown;
  say("Joining …", "Joining …");
  showMessage(trouble, "");
  notice.hide();
  try {
    mesh = await join({ threads: threads.value, identity: await ownIdentity() });
  } catch (error) {
    wanted = false;
    say("", "Not joined");
    const why = error instanceof JoinError ? error.message : `The tab cannot join: ${wordsOf(error)}`;
    showMessage(trouble, why);
    // A node that does not answer may do so later; other errors would repeat.
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
  showLeft("Leaving …", "Leaving …");
  await left?.leave();
  say("You have left the mesh.", "Not joined");
}

/** Shows that this tab is not in a mesh. */
function showLeft(text: string, badge: string): void {
  mesh = undefined;
  element("mesh").hidden = true;
  element("outside").hidden = false;
  say(text, badge);
}

/** The program has crashed. The user decides whether to start another: it may crash again. */
function crashed(was: Mesh, { message }: CrashError): void {
  if (mesh !== undefined && mesh !== was) return;
  wanted = false;
  showLeft("", "Stopped");
  showMessage(trouble, "");
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
      const isUnconnected = status.connected === 0 && performance.now() - started > UNCONNECTED_MILLIS;
      showMessage(trouble, isUnconnected ? TROUBLE_CONNECTING : "");
      history.add(status);
      if (!document.hidden) show(status);
      await new Promise((resolve) => setTimeout(resolve, REFRESH_MILLIS));
    }
  } catch (error) {
    // The notice reports a crash.
    if (!(error instanceof CrashError)) throw error;
  } finally {
    history.end();
  }
}

/** Shows this tab's identity and activity. */
function show(status: Status): void {
  const count = status.connected;
  const idle = mesh?.threads === 0 ? " It gives no cores: it only submits jobs." : "";
  const text = `You are peer ${status.peer}.${idle}${isRejoined ? REJOINED : ""}`;
  if (count > 0) say(text, `Joined · ${count} ${count === 1 ? "peer" : "peers"}`);
  else say("Looking for peers …", "Looking for peers …");
  showFigures(status);
}

/** What the Submit view needs from the page. */
const host: Host = {
  joined: () => mesh !== undefined,
  threads: () => threads.value,
  async mesh(): Promise<Submits> {
    wanted = true;
    await settle();
    if (mesh !== undefined) return mesh;
    const waiting = waitingNow();
    if (waiting === undefined) throw new JoinError(trouble.textContent || "The tab left the mesh before it had joined.");
    throw new JoinError(`This tab is paused because ${waiting}. Change that, or the switch in the Join view.`);
  },
  changed: () => void settle(),
};

let opening: Promise<SubmitView | undefined> | undefined;

/** The Submit view is loaded when it is first opened: a tab that only joins does not need it. */
async function openSubmit(): Promise<SubmitView> {
  const { SubmitView } = await import("./submit/view.js");
  submitView = await SubmitView.open(host);
  return submitView;
}

/** Returns the view once it is loaded; undefined if it cannot be loaded, which is reported in its place. */
function submitOpened(): Promise<SubmitView | undefined> {
  const state = element("submit-state");
  if (opening === undefined) state.textContent = "Loading …";
  opening ??= openSubmit().then(
    (view) => {
      state.textContent = "";
      return view;
    },
    (error) => {
      // Opening the view again retries.
      opening = undefined;
      state.textContent = `This view cannot be loaded: ${String(error)}. Is the node still running?`;
      return undefined;
    },
  );
  return opening;
}

/** Stores a setting in the browser, so that it has to be chosen only once. */
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
// The mesh itself leaves when the page is closed. A page that the browser keeps leaves too, or its peers would rely on
// a frozen one.
addEventListener("pagehide", ({ persisted }) => {
  if (persisted) void mesh?.leave();
});
// A page that the browser restores has left all the same, and joins again.
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
  void kiosk.isAllowed().then((allowed) => (allowed ? want(true) : showMessage(trouble, KIOSK_REFUSED)));
}
