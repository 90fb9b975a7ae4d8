// Owns the watch over the server's health.

import { pageVisible, sleep } from "./waiting.js";

const INTERVAL = 1000; // ms from question to question
const A_VIEWER = 5; // ms; where these are more, so that all pages together ask 200 times a second at most

/** Asks GET /health again and again, one question at a time, while somebody can see the page. */
export async function watchHealth(server, state) {
  for (;;) {
    const asked = Date.now();
    state.note(await askHealth(server, state));
    const viewers = state.answering ? (state.health?.viewers ?? 0) : 0;
    const interval = Math.max(INTERVAL, A_VIEWER * viewers);
    await sleep(interval - (Date.now() - asked));
    await pageVisible();
  }
}

/** What is known after a question. */
async function askHealth(server, { staleSince }) {
  const hasToken = Boolean(server.token);
  try {
    const response = await server.ask(`health?page=${encodeURIComponent(location.origin)}`);
    const health = await response.json();
    const needsToken = health.status === "locked";
    const known = { needsToken, tokenRefused: needsToken && hasToken, isRefused: false };
    if (needsToken) return known;
    const answeredAt = Date.now();
    const isStale = health.status === "stale";
    return {
      ...known,
      health,
      answering: true,
      answeredAt,
      staleSince: isStale ? (staleSince ?? answeredAt - (health.last_poll_ms_ago ?? 0)) : null,
    };
  } catch {
    // If the WebSocket was refused before: no wonder, then.
    const isRefused = !server.isOwn && (await server.isThere());
    return { answering: false, isRefused, needsToken: false, refusal: null };
  }
}
