// Owns the facts that a dashboard for a table is made from.

import { inSteps } from "./steps.js";
import { LIVE } from "./timespan.js";
import { kindOf } from "./types.js";

const MOST_COLUMNS = 100; // that the server allows in a view
const MOST_SERIES = 12; // lines that one can tell apart
const SUBTABLE = "tbname"; // the column with the name of a row's subtable, which comes before the tags

/**
 * The facts: the table's name; its `schema`, a Map from columns to types, in order; those of its `columns` that a
 * viewer can show, and which of these are `datetimes` and `numbers` for a chart; which column is the time (`key`), and
 * whether it can be shown in steps; and of the rows what examineRows tells. `timespan` is the one whose rows the table
 * has, and `split` what is known to tell lines apart.
 */
export async function examine(table, health, { timespan = LIVE, split = "" } = {}) {
  const [name, all, types] = await Promise.all([table.get_name(), table.columns(), table.schema()]);
  const columns = all.slice(0, MOST_COLUMNS);
  if (all.includes(SUBTABLE) && !columns.includes(SUBTABLE)) columns[MOST_COLUMNS - 1] = SUBTABLE;
  // Charts take what follows a "|" in a name for the name.
  const isNumber = (name) => kindOf(types[name]) === "number" && !name.includes("|");
  const facts = {
    name,
    timespan,
    schema: new Map(all.map((name) => [name, types[name]])),
    columns,
    datetimes: columns.filter((name) => types[name] === "datetime"),
    numbers: columns.filter(isNumber),
    key: all.find((name) => types[name] === "datetime"),
    hasSteps: true,
    rows: 0,
    span: 0,
    ahead: "none",
    filter: [],
    hasYears: false,
    split,
  };
  const [{ errors }] = await Promise.all([
    table.validate_expressions({ steps: inSteps(facts.key, 1) }),
    examineRows(table, facts, health),
  ]);
  if (timespan !== LIVE && facts.rows > 1) facts.split ||= await findSplit(table, facts.schema);
  facts.hasSteps = Object.keys(errors).length === 0; // an expression can't name every key
  return facts;
}

/**
 * Writes into the facts what only rows can tell: how many `rows` there are; whether "none", "some" or "all" of them lie
 * `ahead` of TDengine's clock, and the `filter` that leaves these out, if not all do; the `span` of the others, in ms;
 * whether one needs the year to tell which day is meant (`hasYears`); which column tells lines apart (`split`).
 */
export async function examineRows(table, facts, health) {
  const rows = await table.size();
  if (rows === 0) return Object.assign(facts, { rows });
  const isLive = facts.timespan === LIVE;
  try {
    const { ahead, filter, oldest, newest } = await findSpan(table, facts, health);
    if (oldest === null) return; // what the server said of the rows is not so any more
    const years = [oldest, newest, health.newest ?? newest].map((time) => new Date(time).getFullYear());
    const hasYears = years.some((year) => year !== new Date().getFullYear());
    const isNew = rows !== facts.rows; // else there is no more to tell apart than there was
    Object.assign(facts, { rows, ahead, filter, span: newest - oldest, hasYears });
    if (isLive && isNew && rows > 1) facts.split ||= await findSplit(table, facts.schema);
  } catch (error) {
    if (!isLive) facts.rows = rows;
    console.info(error); // the server may find a view too much; the dashboard does without
  }
}

/** When the oldest and the newest row are, without those ahead of the clock, if not all are. */
async function findSpan(table, { key, timespan }, health) {
  const { ahead, filter } = findAhead(key, health, timespan);
  const view = await table.view({ columns: [key], filter });
  const [oldest, newest] = await view.get_min_max(key);
  await view.delete();
  if (oldest !== null || timespan === LIVE || filter.length === 0) return { ahead, filter, oldest, newest };
  return { ...(await findSpan(table, { key, timespan }, {})), ahead: "all" };
}

/** The health tells of the live table: where all of its rows are ahead, a longer span may have others. */
function findAhead(key, { ahead, ahead_from, newest_up_to_now }, timespan) {
  if (!ahead || !ahead_from || timespan.isFixed) return { ahead: "none", filter: [] };
  if (!newest_up_to_now && timespan === LIVE) return { ahead: "all", filter: [] };
  return { ahead: "some", filter: [[key, "<", Date.parse(ahead_from)]] };
}

/** The first column of text with several values, but not too many, or ""; one without NULLs before the others. */
async function findSplit(table, schema) {
  let withNulls = "";
  for (const name of textsToSplitBy(schema)) {
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

/** The columns of text; where rows tell their subtables, first the tags, then that, and then what is measured. */
function textsToSplitBy(schema) {
  const names = [...schema.keys()];
  const place = Math.max(0, names.indexOf(SUBTABLE));
  const ordered = [...names.slice(place + 1), ...names.slice(place, place + 1), ...names.slice(0, place)];
  return (schema.has(SUBTABLE) ? ordered : names).filter((name) => schema.get(name) === "string");
}
