// Owns the difference between what a viewer shows and what the page made of it: telling it, and making it again.

import { filterAnew, isTitledAlike } from "./timeline.js";
import { canonical } from "./workspace.js";

const DEFAULTS = {
  title: null,
  plugin: "Datagrid",
  columns: null,
  group_by: [],
  split_by: [],
  sort: [],
  filter: [],
  filter_op: "and",
  aggregates: {},
  expressions: {},
  group_rollup_mode: "rollup",
  split_rollup_mode: "flat",
  group_by_depth: null,
  columns_config: {},
  plugin_config: {},
};
const FIELDS = Object.keys(DEFAULTS);
const ONLY = "0"; // what the panel of a viewer is called that has one

/** What a viewer's workspace has other than the page's configuration, in which `ahead` is the filter of rows ahead. */
export function tellDifference({ layout, panels }, config, ahead) {
  const own = { ...DEFAULTS, ...filterAnew(config, ahead, []) };
  const told = Object.entries(panels).map(([name, panel]) => [name, changesOf(filterAnew(panel, ahead, []), own)]);
  return told.length === 1 ? { panels: { [ONLY]: told[0][1] } } : { layout, panels: Object.fromEntries(told) };
}

function changesOf(shown, own) {
  const isAlike = (name) =>
    name === "title" ? isTitledAlike(shown, own) : canonical(valueIn(shown, name)) === canonical(valueIn(own, name));
  const changed = FIELDS.filter((name) => !isAlike(name));
  const steps = Object.keys(shown.expressions ?? {}).filter((name) => name in own.expressions && name.includes(", steps of "));
  const mentions = (name) => steps.some((step) => JSON.stringify(valueIn(shown, name)).includes(JSON.stringify(step)));
  // Whoever reads this may have steps of another length: what goes by these goes with them.
  const told = changed.some(mentions) ? FIELDS.filter((name) => changed.includes(name) || mentions(name)) : changed;
  return Object.fromEntries(told.map((name) => [name, valueIn(shown, name)]));
}

function valueIn(config, name) {
  return config[name] ?? DEFAULTS[name];
}

/** The workspace that differs so from a configuration of the page. */
export function makeDifferent({ layout, panels }, config, ahead) {
  const made = Object.entries(panels).map(([name, changes]) => {
    const filter = changes.filter ? { filter: [...changes.filter, ...ahead] } : {};
    return [name, { ...config, ...changes, ...filter }];
  });
  return {
    layout: layout ?? { type: "tab-layout", tabs: [ONLY], selected: 0 },
    panels: Object.fromEntries(made),
  };
}
