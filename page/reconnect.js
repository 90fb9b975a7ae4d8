// Owns staying connected: connects, and when the connection is lost begins anew.

import { Connection } from "./connection.js";
import { pauseAfter, sleep } from "./waiting.js";

const SERVICE_RESTART = 1012; // why a WebSocket is closed: its viewer shall come again

/** A refusal after the one before: once it was between two answers the server was there, and it was no restart. */
function refusedAgain({ refusal, answeredAt }, reason) {
  const again = refusal !== null && refusal.at < answeredAt;
  return { at: refusal?.at ?? Date.now(), reason, again };
}

/** `show` gets each new connection, shows its data, and returns a function that follows them as long as it lasts. */
export async function stayConnected(Client, server, state, show) {
  for (let attempt = 0; ; attempt++) {
    const hear = () => (state.heardAt = Date.now());
    const connection = new Connection(Client, server.webSocketUrl("websocket"), { hear });
    let isInvited = false; // to come again at once
    try {
      await connection.open();
      const follow = await show(connection);
      attempt = 0;
      state.note({ connected: true, refusal: null, problem: null });
      await connection.during(follow());
    } catch (end) {
      isInvited = end.code === SERVICE_RESTART && attempt === 0;
      state.problem = isInvited ? null : end.message || end.reason; // of an Error or a CloseEvent
      const isRefusal = !state.connected && state.answering && end.type === "close";
      if (isRefusal) state.refusal = refusedAgain(state, end.reason);
    }
    state.note({ connected: false });
    connection.end();
    if (!isInvited) await sleep(pauseAfter(attempt));
  }
}
