// Owns looking back at one span: its connection, which comes back by itself, and asking anew what moves on.

import { Connection } from "./connection.js";
import { intervalOf } from "./following.js";
import { examine, examineRows } from "./table.js";
import { healthOf } from "./tables.js";
import { Updates } from "./updates.js";
import { pauseAfter, sleep } from "./waiting.js";

const WRONG_TIME = 1008; // why the server closes the WebSocket: it does not take this span
const LAST_DRAWING = 5000; // ms, before the connection is closed
const PATIENCE = 40_000; // ms without an answer: a question may take TDengine as long as the server lets it

export class Lookback {
  source = null; // {connection, table, facts, timespan, layout}, once there is one
  timespan;
  table; // the live one's name
  #Client;
  #server;
  #state;
  #following;
  #connection = null;
  #updates = null;
  #drawing = Promise.resolve();
  #seconds = null; // that TDengine took for the slowest question since the last turn
  #isOver = false;
  #isRetired = false;

  constructor(timespan, table, { Client, server, state, following }) {
    this.timespan = timespan;
    this.table = table;
    this.#Client = Client;
    this.#server = server;
    this.#state = state;
    this.#following = following;
  }

  /** `draw` gets each new connection's source and shows it; `adapt` keeps that true to its rows. */
  async run({ draw, adapt, split }) {
    this.#note({ timespan: this.timespan, isShown: false, problem: null, lost: null });
    for (let attempt = 0; !this.#isOver && !this.#isRetired; attempt++) {
      const connection = this.#connect();
      try {
        await connection.open();
        await this.#following.turnToDraw(connection);
        const source = await connection.during(this.#open(connection, split()));
        await connection.during((this.#drawing = draw(source)));
        attempt = 0;
        this.#note({ isShown: true, lost: null, interval: intervalOf(this.timespan, source.facts.span) });
        await connection.during(this.#follow(source, adapt));
        return;
      } catch (end) {
        if (this.#isOver || this.#isRetired) return;
        this.#note({ lost: end.message || end.reason || "the connection is lost", at: Date.now() });
        connection.end();
        if (end.code === WRONG_TIME) return;
      }
      await sleep(pauseAfter(attempt));
    }
  }

  /** It follows no more; what it showed can still be scrolled until end(). */
  retire() {
    this.#isRetired = true;
    this.#state.forgetLook(this);
  }

  /** What is still being drawn comes to its end first, and then what `left` waits for; unless that takes long. */
  async end(left) {
    this.#isOver = true;
    const drawn = this.#drawing
      .catch(() => {})
      .then(left)
      .then(() => this.#updates?.quiet());
    await Promise.race([drawn, sleep(LAST_DRAWING)]);
    this.#connection?.end();
  }

  #connect() {
    const url = this.#server.webSocketUrl("history", this.#query());
    this.#updates = new Updates(() => this.#note({ isAsking: this.#updates.isAsking }));
    const options = { tell: (said) => this.#hear(said), updates: this.#updates, patience: PATIENCE };
    this.#connection = new Connection(this.#Client, url, options);
    return this.#connection;
  }

  #query() {
    const time = this.timespan.query;
    const { health } = this.#state;
    const { history_table } = healthOf(health, this.table);
    return Object.keys(health.tables ?? {}).length > 1 ? { time, table: history_table } : { time };
  }

  /** What the server has to say besides its answers. */
  #hear({ seconds, problem }) {
    if (seconds !== undefined) {
      this.#seconds = Math.max(this.#seconds ?? 0, seconds);
      this.#note({ seconds: this.#seconds });
    }
    if (problem !== undefined) this.#note({ problem });
  }

  async #open(connection, split) {
    const [name] = await connection.client.get_hosted_table_names();
    const table = await connection.client.open_table(name);
    const facts = await examine(table, healthOf(this.#state.health, this.table), { timespan: this.timespan, split });
    this.#note({ rows: facts.rows });
    return { connection, table, facts, timespan: this.timespan };
  }

  async #follow(source, adapt) {
    const { connection, table, facts } = source;
    for (;;) {
      const interval = intervalOf(this.timespan, facts.span);
      await this.#following.turn(interval);
      await this.#updates.quiet();
      if (connection.isOver || this.#isRetired) return;
      this.#seconds = null;
      this.#updates.tell(connection.client);
      await examineRows(table, facts, healthOf(this.#state.health, this.table));
      if (connection.isOver || this.#isRetired) return;
      this.#note({ rows: facts.rows, interval });
      await adapt(source);
    }
  }

  #note(changes) {
    if (!this.#isRetired) this.#state.noteLook(this, changes);
  }
}
