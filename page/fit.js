// Owns what of a viewer's configuration fits a table, which may be another one than it was made for.

import { kindOf } from "./types.js";

/**
 * What of a viewer's configuration fits the table; null where none of the columns shown is left. `before` is the
 * schema that it was made for, where that is known: what was to be done with a column's values is dropped where
 * these are of another type now.
 */
export async function fit(config, table, schema, before = schema) {
  const { errors } = await table.validate_expressions(config.expressions ?? {});
  const expressions = filterEntries(config.expressions, ([name]) => !(name in errors));
  const exists = (name) => schema.has(name) || name in expressions;
  const isAlike = (name) => kindOf(schema.get(name)) === kindOf(before.get(name));
  const isUsable = (name) => exists(name) && isAlike(name);
  const columns = config.columns?.filter((name) => name === null || exists(name));
  if (columns && !columns.some((name) => name !== null)) return null;
  return {
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
}

/** What of a viewer's whole workspace fits; null where one of its panels has nothing left to show. */
export async function fitWorkspace(workspace, table, schema, before) {
  const panels = {};
  for (const [name, config] of Object.entries(workspace.panels)) {
    panels[name] = await fit(config, table, schema, before);
    if (!panels[name]) return null;
  }
  return { ...workspace, panels };
}

function filterEntries(object, condition) {
  return Object.fromEntries(Object.entries(object ?? {}).filter(condition));
}

/** The columns that an aggregate goes by, such as ["max by", ["timestamp"]]. */
function columnsOf(aggregate) {
  return Array.isArray(aggregate) ? aggregate.slice(1).flat() : [];
}
