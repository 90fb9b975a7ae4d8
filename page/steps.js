// Owns the steps along a chart's axis of time: how long they are, and having an arrangement take others.

import { DAY, describeSpan, HOUR, MINUTE } from "./time.js";
import { isUtc } from "./zone.js";

const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1000, 2000, 5000, 10_000, 15_000, 30_000],
  ...[MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  ...[HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR],
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((days) => days * DAY),
];
const IN_STEPS = /^datetime\(bucket\(float\("(.+)"\), \d+\)\)$/;

/** The shortest step of which the span, in ms, has at most so many. */
export function stepFor(span, most) {
  return STEPS.find((step) => (span || 1000) / step <= most) ?? STEPS.at(-1);
}

export function inSteps(key, step) {
  return `datetime(bucket(float("${key}"), ${step}))`;
}

/** Days begin at midnight of UTC, whatever the browser's clock shows then. */
export function isOfUtcDays(step) {
  return step >= DAY && !isUtc();
}

export function nameOfSteps(key, step) {
  return `${key}, steps of ${describeSpan(step)}${isOfUtcDays(step) ? " of UTC" : ""}`;
}

/** A configuration whose steps of time, where they are the page's own, are those of `time` (see timeline.js). */
export function restep(config, time) {
  const [name, text] = Object.entries(time.expressions)[0] ?? [];
  const before = Object.entries(config.expressions ?? {}).filter(
    ([other, expression]) => IN_STEPS.test(expression) && other.includes(", steps of ") && other !== name,
  );
  if (!name || before.length !== 1 || IN_STEPS.exec(before[0][1])[1] !== IN_STEPS.exec(text)[1]) return config;
  const renamed = rename(config, before[0][0], name);
  return {
    ...renamed,
    expressions: { ...renamed.expressions, [name]: text },
    columns_config: { ...renamed.columns_config, ...time.columns_config },
  };
}

/** A value in which a text is another one wherever it stands for itself, also as a key. */
function rename(value, before, now) {
  if (value === before) return now;
  if (Array.isArray(value)) return value.map((entry) => rename(entry, before, now));
  if (!value || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([key, entry]) => [key === before ? now : key, rename(entry, before, now)]);
  return Object.fromEntries(entries);
}
