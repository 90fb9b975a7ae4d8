// Owns the dashboard: which one it is, at which time each panel is shown, and keeping it true to the rows.

import { element } from "./dom.js";
import { askLayout, fitLayout } from "./layout.js";
import { Lookback } from "./lookback.js";
import { examineRows } from "./table.js";
import { awaitTable, firstTable, healthOf, openTable } from "./tables.js";
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
  #connection = null; // to the live tables
  #isArranged = false; // as the link has it
  #first = ""; // the name of the table that is shown where the layout names no other
  #live = new Map(); // the live tables' sources, by name
  #schemas = new Map(); // which columns they had when they were last shown
  #layout = null; // the server's
  #looks = new Map(); // back, by their spans and tables
  #retired = new Set(); // that some panel still shows

  /** Among the parts are the `makers`, the page's meterDashboard and tableDashboard. */
  constructor(parts) {
    this.#parts = parts;
    parts.choice.whenChanged(() => this.#change());
    parts.following.whenPaused(() => this.#pause());
  }

  /** Shows the tables that the connection leads to. Returns a function that keeps the dashboard true to their rows. */
  async show(connection) {
    const { server, state, panels, following } = this.#parts;
    const [name, stored] = await connection.during(
      Promise.all([awaitTable(connection.client, firstTable(state.health)), askLayout(server)]),
    );
    const others = new Set((stored ?? []).map(({ table }) => table).filter((other) => other !== name && this.#has(other)));
    const isWhole = others.size > 0;
    await following.turnToDraw(connection);
    const source = await connection.during(openTable(connection, name, { state, stored, isWhole }));
    this.#connection = connection;
    this.#live.clear(); // nothing is drawn until the choice is made
    this.#first = name;
    this.#layout = source.layout && stored;
    this.#choose();
    panels.resize(this.#configure(source).length);
    this.#arrangeAsLinked();
    state.note({ hasPanels: true });
    this.#offerPause();
    this.#take(source);
    await connection.during(this.#draw(source));
    for (const button of ["#download", "#copy"]) element(button).hidden = false;
    return () => Promise.all([this.#follow(source), ...[...others].map((other) => this.#followOther(connection, other))]);
  }

  #has(table) {
    return table in (this.#parts.state.health.tables ?? {});
  }

  #take(source) {
    const { schema } = source.facts;
    const isOther = !isSameSchema(this.#schemas.get(source.name), schema);
    this.#live.set(source.name, source);
    this.#schemas.set(source.name, schema);
    this.#look(isOther ? source.name : null);
  }

  /** Shows another table than the first one, once it is there. */
  async #followOther(connection, name) {
    const { state, panels, following } = this.#parts;
    const { last_error } = healthOf(state.health, name);
    await panels.each((panel, index) => {
      if (this.#tableOf(index) === name && !panel.isDrawn) panel.wait(`waiting for ${name}${last_error ? `: ${last_error}` : ""}`);
    });
    await awaitTable(connection.client, name);
    await following.goingOn();
    const source = await openTable(connection, name, { state, stored: this.#layout, isWhole: true });
    this.#take(source);
    await this.#draw(source);
    await this.#follow(source);
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
    state.note({ timespan: choice.now });
    following.begin();
    this.#offerPause();
    if (this.#live.size === 0) return;
    this.#look();
    for (const source of this.#live.values()) this.#drawAgain(source);
    for (const look of this.#looks.values()) if (look.source) this.#drawAgain(look.source);
  }

  #arrangeAsLinked() {
    const { panels, link, state } = this.#parts;
    if (this.#isArranged) return;
    this.#isArranged = true;
    const count = panels.map((panel, index) => panel.arrange(link.viewers[index] ?? null)).length;
    const isElsewhere = link.table !== null && link.table !== this.#first && !this.#has(link.table);
    const problems = [
      ...(link.problem ? [link.problem] : []),
      ...(isElsewhere ? [linkedElsewhere(link.table, this.#first)] : []),
      ...(link.viewers.length > count ? [tooManyLinked(link.viewers.length, count)] : []),
    ];
    state.note({ linkProblem: problems.join("\n") || null });
    link.isOf(this.#first);
  }

  /** Once there is something to see, unless nothing new is to come. */
  #offerPause() {
    const { choice, state, following } = this.#parts;
    following.offer(state.hasPanels && !choice.now.isFixed);
  }

  /** While it is paused, no live viewer hears that there is something new; then all ask for the newest. */
  #pause() {
    const { following } = this.#parts;
    this.#connection?.updates.hold(this.#connection.client, () => following.goingOn());
  }

  /** Has as many looks back as there are spans of tables; new ones for a table that has other columns now. */
  #look(changed = null) {
    const { panels } = this.#parts;
    const wanted = new Map();
    for (const [timespan, table] of panels.map((_, index) => [this.#timeOf(index), this.#tableOf(index)])) {
      if (timespan !== LIVE && this.#live.has(table)) wanted.set(`${timespan.key} of ${table}`, { timespan, table });
    }
    for (const [key, look] of this.#looks) {
      if (wanted.has(key) && look.table !== changed) continue;
      this.#looks.delete(key);
      this.#retired.add(look);
      look.retire();
    }
    this.#endUnused();
    for (const [key, { timespan, table }] of wanted) {
      if (this.#looks.has(key)) continue;
      const look = new Lookback(timespan, table, this.#parts);
      this.#looks.set(key, look);
      look.run({
        draw: (source) => this.#drawBack(look, source),
        adapt: (source) => this.#adapt(source),
        split: () => this.#live.get(table)?.facts.split ?? "",
      });
    }
  }

  async #drawBack(look, source) {
    const { table, facts } = source;
    source.name = look.table;
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

  #tableOf(index) {
    const table = this.#layout?.[index]?.table;
    return this.#has(table) ? table : this.#first;
  }

  /** A table without a history stays live. */
  #timeOf(index) {
    const { choice, state } = this.#parts;
    const { now } = choice;
    if (healthOf(state.health, this.#tableOf(index)).history_table === null) return LIVE;
    return now === AS_LAID_OUT ? timeIn(this.#layout[index]) : now;
  }

  #isOf(index, { name, timespan }) {
    return this.#tableOf(index) === name && this.#timeOf(index).key === timespan.key;
  }

  /** Draws the panels that are to be of the source's table at its time. */
  async #draw(source) {
    const configs = this.#configure(source);
    await this.#parts.panels.each(async (panel, index) => {
      if (!this.#isOf(index, source)) return;
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
      await this.#parts.following.goingOn();
      if (source.name === this.#first) this.#choose();
      if (!this.#parts.panels.some((panel) => panel.source === source)) continue;
      await examineRows(table, facts, healthOf(this.#parts.state.health, source.name));
      await this.#adapt(source);
    }
  }

  async #adapt(source) {
    if (this.#parts.following.isPaused) return;
    const configs = this.#configure(source);
    const time = describeTime(source.facts);
    await this.#parts.panels.each(async (panel, index) => {
      if (panel.source === source && this.#isOf(index, source)) await panel.adapt(configs[index], time);
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
      const { time: madeFor, ...rest } = config; // the table is the one that it was fitted to
      return timespan === LIVE && !madeFor ? retitle(filterAnew(rest, [], time.filter), time) : retime(rest, [], time);
    });
  }
}

function linkedElsewhere(linked, first) {
  return `the link is to the table ${linked}, which is not here: this is ${first}`;
}

function tooManyLinked(linked, count) {
  return `the link has ${linked} viewers, and this dashboard ${count}: the last ones are left out`;
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
