// Owns the spans of time that one can look at: how the address and layouts write them, and what they are called.

import { DAY, describeSpan, HOUR, MINUTE } from "./time.js";
import { offsetAt } from "./zone.js";

const UNITS = { s: 1000, m: MINUTE, h: HOUR, d: DAY, w: 7 * DAY };
const NAMES = { s: "s", m: "min", h: "h", d: "d", w: "w" };
const MOMENT = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:?\d\d)?)?$/;
const WHOLE = /(:00)?\.000Z$/; // what a whole minute, or a whole second, need not say

/**
 * A span is {key, label, words, length}: what the address calls it, what a button does, and a sentence; its length in
 * ms, where it has one. One that looks back also has the `query` that the server takes; `isFixed` is from one moment to
 * another, and brings no new rows.
 */
export const LIVE = { key: "live", label: "Live", words: "live", length: null };
export const ALL = { key: "all", label: "All", words: "all rows", length: null, query: "all" };
/** Each viewer at the time that the layout gives it. */
export const AS_LAID_OUT = { key: "layout", label: "Layout", words: "as the layout has it", length: null };

/** The span that a text of the address or of a layout means, or null. */
export function parseTimespan(text) {
  const named = [LIVE, ALL, AS_LAID_OUT].find(({ key }) => key === text);
  if (named) return named;
  const [, number, unit] = /^([1-9]\d{0,8})([smhdw])$/.exec(text) ?? [];
  if (unit) {
    const label = `${number} ${NAMES[unit]}`;
    return { key: text, label, words: `last ${label}`, length: number * UNITS[unit], query: text };
  }
  const [from, to, ...more] = String(text).split("/").map(parseMoment);
  return more.length === 0 ? fromTo(from, to) : null;
}

/** The span between two moments, in ms since 1970; null where the second is not after the first. */
function fromTo(from, to) {
  if (!(from < to)) return null;
  const [begin, end] = [writeMoment(from), writeMoment(to)];
  const [day, time] = end.split("T");
  const until = begin.startsWith(day) ? time : `${day} ${time}`;
  return {
    key: `${begin}/${end}`,
    label: "From–to",
    words: `${begin.replace("T", " ")} – ${until}`,
    length: to - from,
    query: [from, to].map((moment) => new Date(moment).toISOString().replace(WHOLE, "Z")).join("/"),
    isFixed: true,
    from,
    to,
  };
}

/** What a layout writes: the moments are the same ones in every time zone. */
export function writeForLayout(timespan) {
  return timespan.isFixed ? timespan.query : timespan.key;
}

function parseMoment(text) {
  if (!MOMENT.test(text)) return NaN;
  return Date.parse(text.includes("T") ? text : `${text}T00:00`); // a date alone would be taken for UTC's
}

/** As an <input type="datetime-local"> takes it, and the address has it: this browser's time, without what is 0. */
export function localMoment(moment) {
  const local = new Date(moment - new Date(moment).getTimezoneOffset() * MINUTE);
  return local.toISOString().replace(WHOLE, "Z").slice(0, -1);
}

/** The same; where a clock that is put back shows it a second time, with the offset from UTC that it has then. */
function writeMoment(moment) {
  const text = localMoment(moment);
  return Date.parse(text) === moment ? text : text + offsetAt(moment);
}

/** How a title ends that tells the span of its rows, in ms. */
export function tellSpan(timespan, span) {
  if (timespan === ALL) return span > 0 ? `, all ${describeSpan(span)}` : ", all rows";
  if (timespan !== LIVE) return `, ${timespan.words}`;
  return span > 0 ? `, last ${describeSpan(span)}` : "";
}

export const TOLD_SPAN =
  /(?:, (?:last|all) [\d.]+ (?:w|d|h|min|s|ms)|, all rows|, \d{4}-\d\d-\d\d [\d:.]+(?:[+-][\d:]+)? – (?:\d{4}-\d\d-\d\d )?[\d:.]+(?:[+-][\d:]+)?)/;
