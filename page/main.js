// Owns the start: puts the page's parts together.

import { Choice } from "./choice.js";
import { Dashboard } from "./dashboard.js";
import { element } from "./dom.js";
import { Following } from "./following.js";
import { watchHealth } from "./health.js";
import { listenToKeys } from "./keyboard.js";
import { downloadLayout } from "./layout.js";
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
  const following = new Following(element("#pause"), () => state.note({ isPaused: following.isPaused }));

  whenTokenIsEntered((token) => (server.token = token));
  letSwitchTheme(element("#theme"), () => panels.changeTheme());
  element("#download").addEventListener("click", async () => downloadLayout(await panels.save()));
  listenToKeys();

  try {
    checkAddress(server);
    takeTokenFromAddress(server);
    watchHealth(server, state);
    const Client = await loadPerspective(server, state);
    const dashboard = new Dashboard({ makers, Client, server, state, panels, choice, following });
    await stayConnected(Client, server, state, (connection) => dashboard.show(connection));
  } catch (error) {
    state.note({ failure: error.message });
  }
}
