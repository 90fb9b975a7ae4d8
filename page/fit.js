// Owns what of a viewer's configuration fits a table, which may be another one than it was made for.

import { kindOf } from "./types.js";

/**
 * What of a viewer's configuration fits the table, and why not the rest: {config, faults}. The configuration is null
 * where none of the columns shown is left. `before` is the schema that it was made for, where that is known: what was
 * to be done with a column's values is dropped where these are of another type now.
 */
export async function fit(config, table, schema, before = schema) {
  const { errors } = await table.validate_expressions(config.expressions ?? {});
  const faults = [
    ...Object.entries(errors).map(([name, error]) => `${name}: ${error.error_message}`),
    ...missingColumns(config, schema).map((name) => `there is no column ${name}`),
  ];
  const expressions = filterEntries(config.expressions, ([name]) => !(name in errors));
  const exists = (name) => schema.has(name) || name in expressions;
  const isAlike = (name) => kindOf(schema.get(name)) === kindOf(before.get(name));
  const isUsable = (name) => exists(name) && isAlike(name);
  const columns = config.columns?.filter((name) => name === null || exists(name));
  if (columns && !columns.some((name) => name !== null)) return { config: null, faults };
  const fitting = {
    ...config,
    table: await table.get_name(),
    expressions,
    ...(columns && { columns }),
    group_by: config.group_by?.filter(exists) ?? [],
    split_by: config.split_by?.filter(exists) ?? [],
    sort: config.sort?.filter(([name]) => exists(name)) ?? [],
    filter: config.filter?.filter(([name]) => isUsable(name)) ?? [],
    aggregates: filterEntries(config.aggregates, ([name, how]) => [name, ...columnsOf(how)].every(isUsable)),
  };
  return { config: fitting, faults };
}

/** What a configuration names that is neither a column nor an expression of its own. */
function missingColumns({ columns, group_by, split_by, sort, filter, expressions }, schema) {
  const named = [columns, group_by, split_by, sort, filter].flatMap((part) => part ?? []).map((entry) => [entry].flat()[0]);
  const isMissing = (name) => typeof name === "string" && !schema.has(name) && !(name in (expressions ?? {}));
  return [...new Set(named)].filter(isMissing);
}

/** The same of a viewer's whole workspace; null where one of its panels has nothing left to show. */
export async function fitWorkspace(workspace, table, schema, before) {
  const panels = {};
  const faults = [];
  for (const [name, config] of Object.entries(workspace.panels)) {
    const fitting = await fit(config, table, schema, before);
    panels[name] = fitting.config;
    faults.push(...fitting.faults);
  }
  const isWhole = Object.values(panels).every((config) => config);
  return { workspace: isWhole ? { ...workspace, panels } : null, faults };
}

function filterEntries(object, condition) {
  return Object.fromEntries(Object.entries(object ?? {}).filter(condition));
}

/** The columns that an aggregate goes by, such as ["max by", ["timestamp"]]. */
function columnsOf(aggregate) {
  return Array.isArray(aggregate) ? aggregate.slice(1).flat() : [];
}
