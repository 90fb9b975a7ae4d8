// Owns how times are told: spans, ages and times of day in words, and a viewer's columns of them.

export const MINUTE = 60_000; // ms
export const HOUR = 60 * MINUTE;

const UNITS = [
  ["d", 24 * HOUR],
  ["h", HOUR],
  ["min", MINUTE],
  ["s", 1000],
  ["ms", 1],
];

/** How a viewer writes a datetime; `columns_config` takes it as `date_format`. */
export const TO_THE_SECOND = {
  format: "custom",
  year: "disabled",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
};
export const TO_THE_MILLISECOND = { ...TO_THE_SECOND, fractionalSecondDigits: 3 };

export function describeSpan(span) {
  const [unit, size] = UNITS.find(([, size]) => span > 0.995 * size) ?? UNITS.at(-1);
  return `${Number((span / size).toPrecision(2))} ${unit}`;
}

export function describeAge(age) {
  const seconds = Math.round(age / 1000);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function clock(time) {
  return new Date(time).toLocaleTimeString("en", { hourCycle: "h23" });
}
