// Owns the live table's dashboard: which one it is, showing it, and keeping it true to the rows.

import { element } from "./dom.js";
import { askLayout, fitLayout } from "./layout.js";
import { examine, examineRows, findTable } from "./table.js";
import { describeTime, filterAnew, retitle } from "./timeline.js";
import { kindOf } from "./types.js";
import { LONGEST_PAUSE, pageVisible, sleep } from "./waiting.js";

const FIRST_LOOK = 1000; // ms until the first look at the rows' span; later ones come after ever longer pauses
const METER_COLUMNS = {
  timestamp: "datetime",
  location: "string",
  groupid: "number",
  current: "number",
  voltage: "number",
  phase: "number",
};

export class Dashboard {
  #makers;
  #server;
  #state;
  #panels;

  /** `makers` are the page's meterDashboard and tableDashboard. */
  constructor(makers, server, state, panels) {
    this.#makers = makers;
    this.#server = server;
    this.#state = state;
    this.#panels = panels;
  }

  /** Shows the table that the connection leads to. Returns a function that keeps the dashboard true to its rows. */
  async show(connection) {
    const table = await connection.during(findTable(connection.client));
    const answers = Promise.all([examine(table, this.#state.health), askLayout(this.#server)]);
    const [facts, stored] = await connection.during(answers);
    const layout = await connection.during(fitLayout(stored, table, facts.schema));
    await connection.during(this.#fillPanels(connection, table, facts, layout));
    return () => this.#follow(table, facts, layout);
  }

  async #fillPanels(connection, table, facts, layout) {
    this.#state.note({ hasPanels: true });
    const configs = this.#configure(facts, layout);
    const wanted = configs.map((config, index) => ({ config, faults: layout?.[index].faults ?? [] }));
    await this.#panels.show(connection, table, facts, wanted);
    element("#download").hidden = false;
  }

  /** Keeps the panels true to the time that the table's rows span. Ends with the connection. */
  async #follow(table, facts, layout) {
    for (let pause = FIRST_LOOK; ; pause = facts.span > 0 ? Math.min(2 * pause, LONGEST_PAUSE) : pause) {
      await sleep(pause);
      await pageVisible();
      await examineRows(table, facts, this.#state.health);
      await this.#panels.adapt(this.#configure(facts, layout), describeTime(facts));
    }
  }

  /** The viewers' configurations: those of the server's layout or, where there is none, of a dashboard of the page. */
  #configure(facts, layout) {
    const time = describeTime(facts);
    if (layout) return layout.map(({ config }) => config && retitle(filterAnew(config, [], time.filter), time));
    const { meterDashboard, tableDashboard } = this.#makers;
    return isMeterTable(facts) ? meterDashboard(time) : tableDashboard(time, facts);
  }
}

function isMeterTable({ schema }) {
  return Object.entries(METER_COLUMNS).every(([name, kind]) => kindOf(schema.get(name)) === kind);
}
