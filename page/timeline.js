// Owns how a dashboard shows time: the steps along its charts, and the span that its titles tell.

import { isPhone } from "./screen.js";
import { inSteps, isOfUtcDays, nameOfSteps, restep, stepFor } from "./steps.js";
import { DAY, HOUR, MINUTE, TO_THE_MILLISECOND, TO_THE_SECOND, WITH_YEAR } from "./time.js";
import { LIVE, tellSpan, TOLD_SPAN } from "./timespan.js";

const MOST_STEPS = { live: 40, back: 240, backOnPhone: 100 }; // along a chart's axis of time
const AHEAD = { none: "", some: ", without rows ahead", all: ", all ahead" }; // of the clock: what a title says of it
const TOLD = new RegExp(`${TOLD_SPAN.source}?(?:, without rows ahead|, all ahead)?$`); // at a title's end

/**
 * How a dashboard shows the time: charts in steps, few enough to draw and long enough for each to have rows, and without
 * the rows that lie ahead of TDengine's clock, by the `filter` (unless there are no others); `title` and `ahead` tell
 * that. `moment` is how a grid writes a row's time.
 */
export function describeTime({ timespan, key, hasSteps, rows, span, ahead, filter, hasYears }) {
  const isLive = timespan === LIVE;
  const step = stepFor(span, isLive ? MOST_STEPS.live : isPhone() ? MOST_STEPS.backOnPhone : MOST_STEPS.back);
  const name = hasSteps ? nameOfSteps(key, step) : key;
  const label = isLive ? liveLabels(step, hasYears) : labels(step, span, hasYears);
  const inUtc = hasSteps && isOfUtcDays(step) ? { timeZone: "UTC" } : {}; // else a label may tell the day before
  return {
    title: tellSpan(timespan, span) + AHEAD[ahead],
    ahead: (isLive ? "" : tellSpan(timespan, span)) + AHEAD[ahead],
    filter,
    moment: hasYears ? WITH_YEAR : TO_THE_MILLISECOND,
    plugin: span > 0 ? "Y Line" : "Y Scatter", // a line needs two points
    barsOfMoment: rows > 0 && span === 0 ? { plugin: "Y Bar" } : {}, // in the place of an area, which needs two as well
    expressions: hasSteps ? { [name]: inSteps(key, step) } : {},
    group_by: [name],
    columns_config: { [name]: { date_format: { ...label, ...inUtc } } },
  };
}

function liveLabels(step, hasYears) {
  return {
    ...(step < 1000 ? TO_THE_MILLISECOND : TO_THE_SECOND),
    ...(step < (isPhone() ? MINUTE : 1000) && { hour: "disabled" }), // else labels run into each other
    ...(step < 1000 && { minute: "disabled" }),
    ...(isPhone() && step < 1000 && { fractionalSecondDigits: 2 }),
    ...(step < HOUR && { month: "disabled", day: "disabled" }),
    ...(step >= HOUR && (hasYears || step >= DAY) && { year: "numeric" }),
    ...(step >= MINUTE && { second: "disabled" }),
    ...(step >= DAY && { hour: "disabled", minute: "disabled" }),
  };
}

/** For a chart with hundreds of steps: what tells those apart that have a label. A phone has no room for both. */
function labels(step, span, hasYears) {
  const isOfDays = span >= (isPhone() ? 2 * DAY : 12 * HOUR); // midnight is likely to lie in it
  return {
    ...(step < 100 ? TO_THE_MILLISECOND : TO_THE_SECOND),
    ...(!isOfDays && { month: "disabled", day: "disabled" }),
    ...(isOfDays && (hasYears || span >= 300 * DAY) && { year: "numeric" }),
    ...(span >= HOUR / 2 && { second: "disabled" }),
    ...(span >= (isPhone() ? 2 : 10) * DAY && { hour: "disabled", minute: "disabled" }),
  };
}

/**
 * A configuration as it is to be shown at another time than it was made for: in steps that suit it, a title that tells
 * it, and the page's filter of now in the place of the one of before.
 */
export function retime(config, before, time) {
  return retitle(restep(filterAnew(config, before, time.filter), time), time);
}

/** Whether two configurations have the same title, whatever time it tells. */
export function isTitledAlike(one, other) {
  return (one.title ?? "").replace(TOLD, "") === (other.title ?? "").replace(TOLD, "");
}

/** Whether a configuration's title tells the time that its rows span. */
function tellsTime({ title }) {
  return TOLD.exec(title ?? "")?.[0].length > 0;
}

/**
 * A configuration whose title tells the time that the rows span now, where it told one before; and none, where it
 * shows rows that are not within that time.
 */
export function retitle(config, time) {
  if (!tellsTime(config) || !time.title) return config;
  const isWithin = time.filter.every((term) => has(config, term)) && (config.filter_op !== "or" || !time.filter.length);
  return { ...config, title: config.title.replace(TOLD, isWithin ? time.title : "") };
}

/**
 * A configuration that leaves out the rows ahead by the page's filter of now, in the place of its filter of before. One
 * that had none gets it if its title tells the time, for that is to be true.
 */
export function filterAnew(config, before, now) {
  const others = (config.filter ?? []).filter((term) => !has({ filter: before }, term));
  const had = others.length < (config.filter?.length ?? 0);
  const wants = before.length === 0 && now.length > 0 && tellsTime(config) && config.filter_op !== "or";
  return had || wants ? { ...config, filter: [...others, ...now] } : config;
}

function has({ filter = [] }, term) {
  return filter.some((other) => JSON.stringify(other) === JSON.stringify(term));
}
