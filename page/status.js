// Owns the header and the notice: writes there how things are.

import { element, write } from "./dom.js";
import { describeState } from "./state.js";
import { clock, describeAge } from "./time.js";

const OLD_AFTER = 10000; // ms; a newest row older than this is pointed out

export function showStatus(state, server) {
  const [word, sentence] = describeState(state, server);
  const status = element("#status");
  status.dataset.status = word;
  write("#state", sentence);
  write("#notice p", sentence + hintFor(word));
  element("#notice form").hidden = word !== "locked";
  element("#notice").hidden = word !== "locked" && state.hasPanels;
  element("main").hidden = !state.hasPanels;
  if (!state.health) return;
  showHealth(status, state.health, Date.now() - state.answeredAt);
  write("#notices", state.health.notices.filter((notice) => !sentence.includes(notice)).join("\n"));
}

/** `since` is how long ago, in ms, the server said so. */
function showHealth(status, health, since) {
  const { rows, ahead, title } = health;
  status.dataset.rows = rows;
  status.dataset.newest = health.newest ?? "";
  write("h1", title);
  document.title = `${title}, live from TDengine`;
  write("#rows", `${count(rows)} ${rows === 1 ? "row" : "rows"}${ahead ? `, ${count(ahead)} ahead` : ""}`);
  write("#source", describeVersion(health.tdengine.version));
  const age = health.newest_ms_ago + since; // by TDengine's clock: this machine's may be another
  write("#newest", health.newest ? describeNewest(health, age) : "");
  element("#newest").classList.toggle("old", ahead > 0 || age > OLD_AFTER);
}

/** When the newest row is; where it lies ahead of TDengine's clock also the newest of those that do not. */
function describeNewest({ newest, newest_up_to_now, ahead }, age) {
  const ago = (age) => `${describeAge(Math.max(0, age))} ago`;
  if (!ahead) return `newest ${clock(newest)}, ${ago(age)}`;
  const furthest = `newest ${clock(newest)}, ${describeAge(-age)} ahead`;
  if (!newest_up_to_now) return furthest;
  const behind = Date.parse(newest) - Date.parse(newest_up_to_now);
  return `${furthest}; up to now ${clock(newest_up_to_now)}, ${ago(age + behind)}`;
}

function count(number) {
  return number.toLocaleString("en");
}

function hintFor(word) {
  return word === "connecting" ? "\n\nIt is started with: sh run.sh" : "";
}

function describeVersion(version) {
  if (!version) return "";
  return version.endsWith(".emulator") ? `TDengine emulator (${version})` : `TDengine ${version}`;
}

/** Calls `enter` with the token that the reader enters. */
export function whenTokenIsEntered(enter) {
  element("#notice form").addEventListener("submit", (event) => {
    event.preventDefault();
    enter(event.target.elements.token.value.trim());
    event.target.reset();
  });
}
