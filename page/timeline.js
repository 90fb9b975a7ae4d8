// Owns how a dashboard shows time: the steps along its charts, and the span that its titles tell.

import { isPhone } from "./screen.js";
import { describeSpan, HOUR, MINUTE, TO_THE_MILLISECOND, TO_THE_SECOND } from "./time.js";

const MOST_STEPS = 40; // along a chart's axis of time
const STEPS = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1000, 2000, 5000, 10_000, 15_000, 30_000],
  ...[MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  ...[HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR],
];
const LAST = /, last [\d.]+ (?:d|h|min|s|ms)$/; // at a title's end

/** How charts show the time: in steps, few enough to draw and long enough for each to have rows. */
export function describeTime({ key, hasSteps, span }) {
  const step = STEPS.find((step) => (span || 1000) / step <= MOST_STEPS) ?? STEPS.at(-1);
  const name = hasSteps ? `${key}, steps of ${describeSpan(step)}` : key;
  const date_format = {
    ...(step < 1000 ? TO_THE_MILLISECOND : TO_THE_SECOND),
    ...(step < (isPhone() ? MINUTE : 1000) && { hour: "disabled" }), // else labels run into each other
    ...(step < 1000 && { minute: "disabled" }),
    ...(isPhone() && step < 1000 && { fractionalSecondDigits: 2 }),
    ...(step < HOUR && { month: "disabled", day: "disabled" }),
    ...(step >= MINUTE && { second: "disabled" }),
  };
  return {
    title: span > 0 ? `, last ${describeSpan(span)}` : "",
    plugin: span > 0 ? "Y Line" : "Y Scatter", // a line needs two points
    expressions: hasSteps ? { [name]: inSteps(key, step) } : {},
    group_by: [name],
    columns_config: { [name]: { date_format } },
  };
}

export function inSteps(key, step) {
  return `datetime(bucket(float("${key}"), ${step}))`;
}

/** A configuration whose title tells the time that the rows span now, where it told one before. */
export function retitle(config, time) {
  if (!config.title || !time.title) return config;
  return { ...config, title: config.title.replace(LAST, time.title) };
}
