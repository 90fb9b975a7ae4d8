// Owns the live tables of a server: which there are, and what a panel needs to show one.

import { fitLayout } from "./layout.js";
import { examine } from "./table.js";
import { LIVE } from "./timespan.js";
import { FIRST_PAUSE, sleep } from "./waiting.js";

/** The name of the table that the page shows where nothing names another; undefined where the server has but one. */
export function firstTable(health) {
  return Object.keys(health?.tables ?? {})[0];
}

/** What the server's health says of a table. */
export function healthOf(health, name) {
  return health.tables?.[name] ?? health;
}

/** Resolves to the table's name once the server has it; it makes it once TDengine has told the columns. */
export async function awaitTable(client, wanted) {
  for (;;) {
    const names = await client.get_hosted_table_names();
    if (names.length > 0 && (!wanted || names.includes(wanted))) return wanted ?? names[0];
    await sleep(FIRST_PAUSE);
  }
}

/**
 * A live table's source, {name, connection, table, facts, timespan, layout}. `stored` is the server's layout, which is
 * to be fitted as a whole where some of it is of other tables.
 */
export async function openTable(connection, name, { state, stored, isWhole }) {
  const table = await connection.client.open_table(name);
  const facts = await examine(table, healthOf(state.health, name));
  const layout = await fitLayout(stored, table, facts.schema, { isWhole });
  return { name, connection, table, facts, timespan: LIVE, layout };
}
