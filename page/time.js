// Owns how times are told: spans, ages and times of day in words, and a viewer's columns of them.

export const MINUTE = 60_000; // ms
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

const UNITS = [
  ["d", DAY],
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
export const WITH_YEAR = { ...TO_THE_MILLISECOND, year: "numeric" };

export function describeSpan(span) {
  const [unit, size] = UNITS.find(([, size]) => span > 0.995 * size) ?? UNITS.at(-1);
  return `${Number((span / size).toPrecision(2))} ${unit}`;
}

export function describeAge(age) {
  const seconds = Math.round(age / 1000);
  if (seconds < 100) return `${seconds} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  const hours = Math.round(seconds / 3600);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

/** The time of day, and the day before it unless that is today. */
export function clock(time) {
  const at = new Date(time);
  const timeOfDay = at.toLocaleTimeString("en", { hourCycle: "h23" });
  const isToday = at.toDateString() === new Date().toDateString();
  return isToday ? timeOfDay : `${at.toLocaleDateString("sv")} ${timeOfDay}`; // as Swedes write it: 2027-12-30
}
