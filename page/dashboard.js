// Owns the dashboard: which one it is, at which time each panel is shown, and keeping it true to the rows.

import { element } from "./dom.js";
import { askLayout, fitLayout } from "./layout.js";
import { Lookback } from "./lookback.js";
import { examine, examineRows, findTable } from "./table.js";
import { describeTime, filterAnew, retime, retitle } from "./timeline.js";
import { ALL, AS_LAID_OUT, LIVE, parseTimespan } from "./timespan.js";
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
  #parts; // what it and its looks back are made of
  #live = null; // the live table's source: {connection, table, facts, timespan, layout}
  #layout = null; // the server's
  #looks = new Map(); // back, by the key of their spans
  #retired = new Set(); // that some panel still shows

  /** Among the parts are the `makers`, the page's meterDashboard and tableDashboard. */
  constructor(parts) {
    this.#parts = parts;
    parts.choice.whenChanged(() => this.#change());
  }

  /** Shows the table that the connection leads to. Returns a function that keeps the dashboard true to its rows. */
  async show(connection) {
    const { server, state, panels } = this.#parts;
    const table = await connection.during(findTable(connection.client));
    const answers = Promise.all([examine(table, state.health), askLayout(server)]);
    const [facts, stored] = await connection.during(answers);
    const layout = await connection.during(fitLayout(stored, table, facts.schema));
    const isOther = !isSameSchema(this.#live?.facts.schema, facts.schema);
    const source = { connection, table, facts, timespan: LIVE, layout };
    this.#live = null; // nothing is drawn until the choice is made
    this.#layout = layout && stored;
    this.#choose();
    this.#live = source;
    panels.resize(this.#configure(source).length);
    state.note({ hasPanels: true });
    this.#look(isOther);
    await connection.during(this.#draw(source));
    element("#download").hidden = false;
    return () => this.#follow(source);
  }

  /** What the page begins with: the layout's times or, where the live table has none of a table's rows, all of them. */
  #choose() {
    const { choice, state } = this.#parts;
    const times = this.#layout?.map(timeIn) ?? [LIVE];
    const isMixed = times.some(({ key }) => key !== times[0].key);
    choice.offerLayout(isMixed);
    choice.setDefault(isMixed ? AS_LAID_OUT : times[0]);
    const { rows, older } = state.health;
    if (rows === 0 && older && choice.now === LIVE && !choice.isInAddress) choice.setDefault(ALL, { isPreset: true });
  }

  /** Somebody chose another time. */
  #change() {
    const { choice, state, following } = this.#parts;
    state.note({ timespan: choice.now, isPaused: false });
    const isToMove = choice.now !== LIVE && !choice.now.isFixed;
    following.begin(isToMove);
    if (!this.#live) return;
    this.#look(false);
    this.#drawAgain(this.#live);
    for (const look of this.#looks.values()) if (look.source) this.#drawAgain(look.source);
  }

  /** Has as many looks back as there are spans; all new ones where the columns are others. */
  #look(isAnew) {
    const { panels } = this.#parts;
    const wanted = new Map(panels.map((_, index) => this.#timeOf(index)).map((timespan) => [timespan.key, timespan]));
    wanted.delete(LIVE.key);
    for (const [key, look] of this.#looks) {
      if (wanted.has(key) && !isAnew) continue;
      this.#looks.delete(key);
      this.#retired.add(look);
      look.retire();
    }
    this.#endUnused();
    for (const [key, timespan] of wanted) {
      if (this.#looks.has(key)) continue;
      const look = new Lookback(timespan, this.#parts);
      this.#looks.set(key, look);
      look.run({
        draw: (source) => this.#drawBack(look, source),
        adapt: (source) => this.#adapt(source),
        split: () => this.#live.facts.split,
      });
    }
  }

  async #drawBack(look, source) {
    const { table, facts } = source;
    source.layout = await fitLayout(this.#layout, table, facts.schema, { isWhole: true });
    look.source = source;
    await this.#draw(source);
  }

  #endUnused() {
    for (const look of this.#retired) {
      if (look.source && this.#parts.panels.some((panel) => panel.source === look.source)) continue;
      this.#retired.delete(look);
      look.end(() => this.#parts.panels.each((panel) => panel.leaving));
    }
  }

  #timeOf(index) {
    const { now } = this.#parts.choice;
    return now === AS_LAID_OUT ? timeIn(this.#layout[index]) : now;
  }

  #isAt(index, timespan) {
    return this.#timeOf(index).key === timespan.key;
  }

  /** Draws the panels that are to be at the source's time. */
  async #draw(source) {
    const configs = this.#configure(source);
    await this.#parts.panels.each(async (panel, index) => {
      if (!this.#isAt(index, source.timespan)) return;
      const faults = source.layout?.[index].faults ?? [];
      const config = configs[index] ?? null;
      await panel.show(source, { config, faults: config || faults.length ? faults : ["there is nothing to show"] });
      this.#endUnused();
    });
  }

  async #drawAgain(source) {
    try {
      await source.connection.during(this.#draw(source));
    } catch (error) {
      console.info(error); // the connection is lost; the next one has it drawn
    }
  }

  /** Keeps the live panels true to the time that the table's rows span. Ends with the connection. */
  async #follow(source) {
    const { table, facts } = source;
    for (let pause = FIRST_LOOK; ; pause = facts.span > 0 ? Math.min(2 * pause, LONGEST_PAUSE) : pause) {
      await sleep(pause);
      await pageVisible();
      this.#choose();
      if (!this.#parts.panels.some((panel) => panel.source === source)) continue;
      await examineRows(table, facts, this.#parts.state.health);
      await this.#adapt(source);
    }
  }

  async #adapt(source) {
    const configs = this.#configure(source);
    const time = describeTime(source.facts);
    await this.#parts.panels.each(async (panel, index) => {
      if (panel.source === source && this.#isAt(index, source.timespan)) await panel.adapt(configs[index], time);
    });
  }

  /** The viewers' configurations: those of the server's layout or, where there is none, of a dashboard of the page. */
  #configure({ facts, layout, timespan }) {
    const time = describeTime(facts);
    if (!layout) {
      const { meterDashboard, tableDashboard } = this.#parts.makers;
      return isMeterTable(facts) ? meterDashboard(time) : tableDashboard(time, facts);
    }
    return layout.map(({ config }) => {
      if (!config) return null;
      const { time: madeFor, ...rest } = config;
      return timespan === LIVE && !madeFor ? retitle(filterAnew(rest, [], time.filter), time) : retime(rest, [], time);
    });
  }
}

function timeIn({ time }) {
  return (time && parseTimespan(time)) || LIVE;
}

function isSameSchema(one, other) {
  return JSON.stringify([...(one ?? [])]) === JSON.stringify([...other]);
}

function isMeterTable({ schema }) {
  return Object.entries(METER_COLUMNS).every(([name, kind]) => kindOf(schema.get(name)) === kind);
}
