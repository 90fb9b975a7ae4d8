// Owns the start: puts the page's parts together.

import { Choice } from "./choice.js";
import { Dashboard } from "./dashboard.js";
import { element } from "./dom.js";
import { Following } from "./following.js";
import { watchHealth } from "./health.js";
import { listenToKeys, pressBySpace } from "./keyboard.js";
import { downloadLayout } from "./layout.js";
import { Link } from "./link.js";
import { Panels } from "./panels.js";
import { loadPerspective } from "./perspective.js";
import { stayConnected } from "./reconnect.js";
import { checkAddress, findServer, takeTokenFromAddress } from "./server.js";
import { State } from "./state.js";
import { showStatus, whenTokenIsEntered } from "./status.js";
import { letSwitchTheme } from "./theme.js";

/** `makers` are the functions that make the dashboards: meterDashboard and tableDashboard. */
export async function start(makers) {
  const server = findServer();
  const state = new State((state) => showStatus(state, server));
  const panels = new Panels(element("main"));
  const choice = new Choice();
  const link = new Link(element("#copy"));
  const following = new Following(element("#pause"), ({ pausedSince, isHeld }) => state.note({ pausedSince, isHeld }));

  whenTokenIsEntered((token) => (server.token = token));
  letSwitchTheme(element("#theme"), () => panels.changeTheme());
  element("#download").addEventListener("click", async () => downloadLayout(await panels.save()));
  link.offer({ panels, choice, state });
  listenToKeys();
  pressBySpace(element("#pause"));

  try {
    checkAddress(server);
    takeTokenFromAddress(server);
    watchHealth(server, state);
    const Client = await loadPerspective(server, state);
    await link.read();
    state.note({ linkProblem: link.problem });
    const dashboard = new Dashboard({ makers, Client, server, state, panels, choice, following, link });
    await stayConnected(Client, server, state, (connection) => dashboard.show(connection));
  } catch (error) {
    state.note({ failure: error.message });
  }
}
