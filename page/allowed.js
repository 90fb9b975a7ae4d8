// Owns what a link may say: known fields of viewers' configurations alone, each of its kind and of a bounded size.

const MOST_VIEWERS = 4;
const MOST_PANELS = 8; // of a viewer
const MOST_DEPTH = 6; // of a column's or a plugin's settings, and of panels beside panels

const text = (most) => (value) => typeof value === "string" && value.length <= most;
const name = text(300);
const oneOf = (...values) => (value) => values.includes(value);
const orNull = (check) => (value) => value === null || check(value);
const listOf = (check, most = 100) => (value) => Array.isArray(value) && value.length <= most && value.every(check);
const tuple = (...checks) => (value) =>
  Array.isArray(value) && value.length === checks.length && checks.every((check, index) => check(value[index]));
const either = (...checks) => (value) => checks.some((check) => check(value));
const entriesOf = (check, most = 100) => (value) =>
  isObject(value) &&
  Object.keys(value).length <= most &&
  Object.entries(value).every(([key, entry]) => name(key) && key !== "__proto__" && check(entry));
const scalar = either(text(5000), Number.isFinite, oneOf(true, false, null));
const settings = (depth) => (value) =>
  scalar(value) || (depth > 0 && either(listOf(settings(depth - 1)), entriesOf(settings(depth - 1)))(value));

const FIELDS = {
  title: orNull(name),
  plugin: text(50),
  columns: listOf(orNull(name)),
  group_by: listOf(name),
  split_by: listOf(name),
  sort: listOf(tuple(name, text(20))),
  filter: listOf(tuple(name, text(20), either(scalar, listOf(scalar, 1000)))),
  filter_op: oneOf("and", "or"),
  aggregates: entriesOf(either(text(50), tuple(text(50), either(name, listOf(name))))),
  expressions: entriesOf(text(20_000)),
  group_rollup_mode: text(20),
  split_rollup_mode: text(20),
  group_by_depth: orNull(Number.isSafeInteger),
  columns_config: entriesOf(entriesOf(settings(MOST_DEPTH))),
  plugin_config: entriesOf(settings(MOST_DEPTH)),
};

/** Throws an Error for what is no list of viewers' differences, as page/difference.js tells them. */
export function checkLink(link) {
  if (!isObject(link) || link.version !== 1) throw new Error("it is of another version");
  const isList = Array.isArray(link.viewers) && link.viewers.length <= MOST_VIEWERS;
  if (!isList) throw new Error(`it must have ${MOST_VIEWERS} viewers at most`);
  link.viewers.forEach((viewer, index) => viewer === null || checkViewer(viewer, `viewer ${index + 1}`));
  checkKeys(link, ["version", "viewers"], "it");
}

function checkViewer(viewer, where) {
  checkKeys(viewer, ["table", "layout", "panels"], where);
  if (!name(viewer.table)) throw new Error(`the table of ${where} makes no sense`);
  if (!entriesOf(isObject, MOST_PANELS)(viewer.panels)) throw new Error(`the panels of ${where} make no sense`);
  const names = Object.keys(viewer.panels);
  const placed = viewer.layout === undefined ? names.slice(0, 1) : placesIn(viewer.layout, MOST_DEPTH);
  if (names.length === 0 || JSON.stringify(placed.sort()) !== JSON.stringify(names.sort())) {
    throw new Error(`the panels of ${where} have no places`);
  }
  for (const panel of Object.values(viewer.panels)) {
    checkKeys(panel, Object.keys(FIELDS), where);
    const wrong = Object.keys(panel).find((field) => !FIELDS[field](panel[field]));
    if (wrong) throw new Error(`${wrong} of ${where} makes no sense`);
  }
}

/** The names of the panels that a layout of Perspective's has places for; none for what is no such layout. */
function placesIn(layout, depth) {
  const isSplit = isObject(layout) && layout.type === "split-layout" && depth > 0;
  if (isSplit) {
    const { orientation, children, sizes } = layout;
    const isSound = oneOf("horizontal", "vertical")(orientation) && listOf(isObject, MOST_PANELS)(children);
    const hasSizes = listOf((size) => Number.isFinite(size) && size > 0, MOST_PANELS)(sizes);
    if (!isSound || !hasSizes || sizes.length !== children.length) return [];
    return children.flatMap((child) => placesIn(child, depth - 1));
  }
  const isTabs = isObject(layout) && layout.type === "tab-layout" && listOf(name, MOST_PANELS)(layout.tabs);
  const { selected = 0 } = isTabs ? layout : {};
  return isTabs && Number.isSafeInteger(selected) && selected >= 0 && selected < layout.tabs.length ? layout.tabs : [];
}

function checkKeys(value, known, where) {
  if (!isObject(value)) throw new Error(`${where} makes no sense`);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Error(`${where} has ${unknown.slice(0, 50)}, which no link has`);
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
