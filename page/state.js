// Owns what is known about the server and the connection to it, and says what that comes to.

import { ANSWER_TIMEOUT } from "./server.js";
import { clock, describeSpan } from "./time.js";
import { LIVE } from "./timespan.js";

const HAS_NO_DATA = ["failed", "locked", "refused"]; // states in which no pause matters

export class State {
  failure = null; // what keeps the page from working at all
  hasPanels = false; // whether there are viewers on the page, with live data or older ones

  health = null; // the last answer to GET /health
  answering = false; // whether the last question was answered
  answeredAt = 0;
  staleSince = null;
  needsToken = false;
  tokenRefused = false; // it asks for another one than it was sent
  isRefused = false; // whether something answers, but does not let this page read that

  connected = false; // whether the viewers have a WebSocket
  heardAt = 0; // when it last brought something
  problem = null; // why the last attempt to connect failed
  refusal = null; // {at, reason, again}: since when and why a server that answers would not have it, and whether again

  linkProblem = null; // why something is not as the link has it

  timespan = LIVE; // what somebody chose to look at
  pausedSince = null; // ms since 1970, where somebody did
  isHeld = false; // whether a connection that was lost meanwhile is back, and waits for the pause's end
  looks = new Map(); // each look back, and what is known of it

  /** `show` is called whenever something new is known. */
  constructor(show) {
    this.show = show;
  }

  note(changes) {
    Object.assign(this, changes);
    this.show(this);
  }

  noteLook(look, changes) {
    this.looks.set(look, { ...this.looks.get(look), ...changes });
    this.show(this);
  }

  forgetLook(look) {
    this.looks.delete(look);
    this.show(this);
  }
}

/** The state in a word, for the page's style and for tests, and in a sentence; with what somebody paused. */
export function describe(state, server) {
  const [word, sentence] = describeState(state, server);
  if (!state.pausedSince || HAS_NO_DATA.includes(word)) return [word, sentence];
  return [word === "live" ? "paused" : word, `${sentence}, paused since ${clock(state.pausedSince)}`];
}

function describeState(state, server) {
  const { health, refusal } = state;
  const isSilent = !state.answering && Date.now() - state.heardAt > ANSWER_TIMEOUT;
  if (state.failure) return ["failed", state.failure];
  if (state.needsToken && state.tokenRefused) return ["locked", `${server.address} does not take this token`];
  if (state.needsToken) return ["locked", `${server.address} asks for a token`];
  if (state.isRefused) {
    const both = new Set([location.origin, server.url("").origin]); // it may not know the name it is called by, either
    const remedy = `PERSPECTIVE_ALLOWED_ORIGINS=${[...both].join()}, unless another program has that port`;
    return ["refused", `${server.address} does not answer pages of ${location.origin}: start it with ${remedy}`];
  }
  if (!health) return ["connecting", `waiting for the server at ${server.address}`];
  if (isSilent) return ["silent", `no answer from ${server.address} since ${clock(state.answeredAt)}`];
  if (state.isHeld) return ["held", "the connection was lost and is back; what is new is drawn when you go on"];
  const isNews = refusal && refusal.at < state.answeredAt;
  if (isNews && health.page === "not allowed") {
    const remedy = `start the server with PERSPECTIVE_ALLOWED_ORIGINS=${location.origin}`;
    return ["refused", `the data are not for pages of ${location.origin}: ${remedy}`];
  }
  if (isNews && (refusal.reason || health.page === "full")) {
    const reason = refusal.reason || `it has ${health.viewers}`;
    return ["full", `${server.address} takes no more viewers (${reason}), trying again`];
  }
  if (isNews && refusal.again) {
    const remedy = "a proxy has to pass on the headers Upgrade and Connection";
    return ["blocked", `${server.address} answers, but no WebSocket comes through to it: ${remedy}`];
  }
  if (state.looks.size > 0 && canLookBack(health)) return describeLooks(state);
  const why = state.problem ? `: ${state.problem}` : "";
  if (!state.connected && health.status !== "waiting") return ["connecting", `connecting to ${server.address}${why}`];
  const others = Object.entries(health.tables ?? {}).filter(([, { status }]) => status !== "live");
  if (health.status === "live" && others.length > 0) {
    return ["stale", others.map(([name, { status, last_error }]) => `${name} is ${status}: ${last_error}`).join("; ")];
  }
  if (health.status === "live") return ["live", "live"];
  const reason = health.last_error ?? health.tdengine.url;
  if (health.status === "waiting") return ["waiting", `waiting for TDengine: ${reason}`];
  return ["stale", `stale since ${clock(state.staleSince)}: ${reason}`];
}

/** Whether TDengine answers, though the live table may have no rows. */
function canLookBack({ status, older }) {
  return status === "live" || (status === "waiting" && Boolean(older));
}

function describeLooks({ looks, timespan, pausedSince }) {
  const all = [...looks.values()];
  const { words } = timespan;
  const late = all.find(({ problem }) => problem);
  if (late) return ["late", `${late.timespan.words}, not up to date: ${late.problem}`];
  const lost = all.find(({ lost }) => lost);
  if (lost?.isShown) return ["late", `${lost.timespan.words}, as of ${clock(lost.at)}: ${lost.lost}`];
  if (lost) return ["late", `${lost.timespan.words} can't be shown: ${lost.lost}`];
  if (!all.every(({ isShown }) => isShown)) return ["asking", `asking for ${words}`];
  if (pausedSince) return ["past", words];
  const interval = Math.min(...all.map(({ interval }) => interval));
  return ["past", Number.isFinite(interval) ? `${words}, asked every ${describeSpan(interval)}` : words];
}
