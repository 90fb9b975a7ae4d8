// Owns the time zone: which one the browser shows times in, and whether that is UTC, by which the server computes.

const YEAR = new Date().getFullYear();

/** What it is called, such as Europe/Berlin. */
export function zoneName() {
  const { timeZone } = new Intl.DateTimeFormat().resolvedOptions();
  return ["Etc/UTC", "Etc/GMT", "GMT"].includes(timeZone) ? "UTC" : timeZone;
}

/** Whether its clocks show UTC, winter and summer. */
export function isUtc() {
  return [0, 6].every((month) => new Date(YEAR, month, 1).getTimezoneOffset() === 0);
}

export function describeZone() {
  const shown = `Times are shown in ${zoneName()}, as this browser is set`;
  return isUtc() ? shown : `${shown}; steps of days, and what is computed of a time, go by UTC`;
}

/** How far a moment's clock is ahead of UTC, as +01:00. */
export function offsetAt(moment) {
  const ahead = -new Date(moment).getTimezoneOffset();
  const parts = [Math.floor(Math.abs(ahead) / 60), Math.abs(ahead) % 60].map((part) => String(part).padStart(2, "0"));
  return `${ahead < 0 ? "-" : "+"}${parts.join(":")}`;
}
