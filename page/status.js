// Owns the header and the notice: writes there how things are.

import { showDashboards } from "./dashboards.js";
import { element, write } from "./dom.js";
import { describe } from "./state.js";
import { clock, describeAge } from "./time.js";
import { LIVE } from "./timespan.js";
import { describeZone, zoneName } from "./zone.js";

const OLD_AFTER = 10000; // ms; a newest row older than this is pointed out

export function showStatus(state, server) {
  const [word, sentence] = describe(state, server);
  const status = element("#status");
  status.dataset.status = word;
  write("#state", sentence);
  write("#notice p", sentence + hintFor(word));
  element("#notice form").hidden = word !== "locked";
  element("#notice").hidden = word !== "locked" && state.hasPanels;
  element("main").hidden = !state.hasPanels;
  if (!state.health) return;
  showHealth(status, state, Date.now() - state.answeredAt);
  write("#notices", notices(state).filter((notice) => !sentence.includes(notice)).join("\n"));
}

function notices({ health, timespan, linkProblem }) {
  return [...(linkProblem ? [linkProblem] : []), ...noticesOf(health, timespan)];
}

/** What of the live table is not shown; where that has no rows and a look back has, that this is why one sees these. */
function noticesOf(health, timespan) {
  if (health.rows > 0 || !health.older) return health.notices;
  const remedy = timespan === LIVE ? "All shows what there is" : `so this shows ${timespan.words}`;
  return health.notices.map((notice, index) => (index === 0 ? `${notice}; ${remedy}` : notice));
}

/** `since` is how long ago, in ms, the server said so. */
function showHealth(status, { health, timespan, looks }, since) {
  const { rows, ahead, title, dashboards } = health;
  status.dataset.rows = rows;
  status.dataset.newest = health.newest ?? "";
  write("h1", title);
  showDashboards(element("#dashboards"), dashboards);
  document.title = `${title}, ${timespan.words} from TDengine`;
  const [look] = looks.values();
  write("#rows", looks.size > 0 ? [...looks.values()].map(describeLook).join("; ") : countRows(rows, ahead));
  element("#rows").title = look ? "Rows in that time, and how long TDengine took for the slowest question about them" : "";
  write("#source", describeVersion(health.tdengine.version));
  const age = health.newest_ms_ago + since; // by TDengine's clock: this machine's may be another
  write("#newest", health.newest && timespan === LIVE ? describeNewest(health, age) : "");
  write("#zone", zoneName());
  element("#zone").title = describeZone();
  element("#newest").classList.toggle("old", ahead > 0 || age > OLD_AFTER);
}

function countRows(rows, ahead = 0) {
  return `${count(rows)} ${rows === 1 ? "row" : "rows"}${ahead ? `, ${count(ahead)} ahead` : ""}`;
}

/** How many rows there are in the span, and how long TDengine took for the slowest question about them. */
function describeLook({ rows, seconds }, index, looks) {
  if (rows === undefined) return "";
  const which = looks.length > 1 ? `${looks[index].timespan.label}: ` : "";
  const took = seconds === undefined ? "" : ` in ${seconds < 0.0995 ? seconds.toFixed(3) : seconds.toPrecision(2)} s`;
  return which + countRows(rows) + took;
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
