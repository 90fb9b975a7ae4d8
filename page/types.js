// Owns what the page knows of column types.

const NUMBERS = ["integer", "float"];

/** The type, but for numbers, which are all alike to a dashboard. */
export function kindOf(type) {
  return NUMBERS.includes(type) ? "number" : type;
}
