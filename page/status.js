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
  write("#notice p", sentence + hintFor(word, server));
  element("#notice form").hidden = word !== "locked";
  element("#notice").hidden = word !== "locked" && state.hasPanels;
  element("main").hidden = !state.hasPanels;
  if (state.health) showHealth(status, state.health);
}

function showHealth(status, health) {
  status.dataset.rows = health.rows;
  status.dataset.newest = health.newest ?? "";
  write("#rows", `${health.rows.toLocaleString("en")} ${health.rows === 1 ? "row" : "rows"}`);
  write("#source", describeVersion(health.tdengine.version));
  if (!health.newest) return;
  const age = Math.max(0, Date.now() - Date.parse(health.newest));
  write("#newest", `newest ${clock(health.newest)}, ${describeAge(age)} ago`);
  element("#newest").classList.toggle("old", age > OLD_AFTER);
}

function hintFor(word, server) {
  if (word !== "connecting") return "";
  const start = "\n\nIt is started with: sh run.sh";
  if (server.address.startsWith(`${location.origin}/`)) return start;
  return `${start}\nIf it runs, it may lack ${location.origin} in PERSPECTIVE_ALLOWED_ORIGINS.`;
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
