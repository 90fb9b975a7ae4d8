// Owns a viewer's workspace as a value: comparing two of them, and changing the panels in one.

const ARRANGEMENT = ["plugin", "columns", "group_by", "split_by", "sort", "filter", "aggregates"];

/** Whether two workspaces are arranged alike but for some fields. */
export function isAlike(one, other, fields) {
  const others = ARRANGEMENT.filter((name) => !fields.includes(name));
  const pick = (config) => Object.fromEntries(others.map((name) => [name, config[name]]));
  return canonical(mapPanels(one, pick)) === canonical(mapPanels(other, pick));
}

export function withoutSettings(workspace) {
  return mapPanels(workspace, ({ settings, ...config }) => config);
}

export function mapPanels(workspace, change) {
  const panels = Object.entries(workspace.panels).map(([name, config]) => [name, change(config)]);
  return { ...workspace, panels: Object.fromEntries(panels) };
}

/** A value's JSON with the keys in order, for comparing. */
export function canonical(value) {
  const isObject = (value) => value && typeof value === "object" && !Array.isArray(value);
  const sorted = (_, value) => (isObject(value) ? Object.fromEntries(Object.entries(value).sort()) : value);
  return JSON.stringify(value, sorted);
}
