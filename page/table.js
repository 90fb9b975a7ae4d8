// Owns finding the server's table, and the facts that a dashboard for it is made from.

import { inSteps } from "./timeline.js";
import { kindOf } from "./types.js";
import { FIRST_PAUSE, sleep } from "./waiting.js";

const MOST_COLUMNS = 100; // that the server allows in a view
const MOST_SERIES = 12; // lines that one can tell apart

/** The one table that the server has; it makes it once TDengine has told the columns. */
export async function findTable(client) {
  for (;;) {
    const [name] = await client.get_hosted_table_names();
    if (name) return client.open_table(name);
    await sleep(FIRST_PAUSE);
  }
}

/**
 * The facts: the table's name; its `schema`, a Map from columns to types, in order; those of its `columns` that a
 * viewer can show, and which of these are `datetimes` and `numbers` for a chart; which column is the time (`key`), and
 * whether it can be shown in steps; the `span` of the rows, in ms, and which column tells lines apart (`split`).
 */
export async function examine(table) {
  const [name, all, types] = await Promise.all([table.get_name(), table.columns(), table.schema()]);
  const columns = all.slice(0, MOST_COLUMNS);
  // Charts take what follows a "|" in a name for the name.
  const isNumber = (name) => kindOf(types[name]) === "number" && !name.includes("|");
  const facts = {
    name,
    schema: new Map(all.map((name) => [name, types[name]])),
    columns,
    datetimes: columns.filter((name) => types[name] === "datetime"),
    numbers: columns.filter(isNumber),
    key: all.find((name) => types[name] === "datetime"),
    hasSteps: true,
    span: 0,
    split: null,
  };
  const [{ errors }] = await Promise.all([
    table.validate_expressions({ steps: inSteps(facts.key, 1) }),
    examineRows(table, facts),
  ]);
  facts.hasSteps = Object.keys(errors).length === 0; // an expression can't name every key
  return facts;
}

/** Writes into the facts what only rows can tell: the time that they span, and what tells their lines apart. */
export async function examineRows(table, facts) {
  if ((await table.size()) === 0) return;
  try {
    const view = await table.view({ columns: [facts.key] });
    const [oldest, newest] = await view.get_min_max(facts.key);
    await view.delete();
    facts.span = newest - oldest;
    if (facts.span > 0) facts.split ??= await findSplit(table, facts.schema);
  } catch (error) {
    console.info(error); // the server may find a view too much; the dashboard does without
  }
}

/** The first column of text with several values, but not too many, or ""; one without NULLs before the others. */
async function findSplit(table, schema) {
  let withNulls = "";
  for (const [name, type] of schema) {
    if (type !== "string") continue;
    const values = await countRows(table, { group_by: [name], group_rollup_mode: "flat", columns: [] });
    if (values < 2 || values > MOST_SERIES) continue;
    const nulls = await countRows(table, { columns: [name], filter: [[name, "is null", null]] });
    if (nulls === 0) return name;
    withNulls ||= name;
  }
  return withNulls;
}

async function countRows(table, config) {
  const view = await table.view(config);
  const rows = await view.num_rows();
  await view.delete();
  return rows;
}
