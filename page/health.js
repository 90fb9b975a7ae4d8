// Owns the watch over the server's health.

import { pageVisible, sleep } from "./waiting.js";

const INTERVAL = 1000; // ms from question to question

/** Asks GET /health again and again, one question at a time, while somebody can see the page. */
export async function watchHealth(server, state) {
  for (;;) {
    const asked = Date.now();
    state.note(await askHealth(server, state));
    await sleep(INTERVAL - (Date.now() - asked));
    await pageVisible();
  }
}

/** What is known after a question. */
async function askHealth(server, { staleSince }) {
  const hasToken = Boolean(server.token);
  try {
    const response = await server.ask("health");
    const needsToken = response.status === 401;
    const tokenRefused = needsToken && hasToken;
    if (needsToken) return { needsToken, tokenRefused };
    const health = await response.json(); // also with 503: then it says what is wrong
    const answeredAt = Date.now();
    const isStale = health.status === "stale";
    return {
      health,
      answering: true,
      answeredAt,
      staleSince: isStale ? (staleSince ?? answeredAt - (health.last_poll_ms_ago ?? 0)) : null,
      needsToken,
      tokenRefused,
    };
  } catch {
    return { answering: false, needsToken: false, refusal: null }; // if there was one: no wonder, then
  }
}
