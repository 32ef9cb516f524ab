// Moments as people read them. The API speaks RFC 3339 in UTC; a person reads
// how long ago, and the exact time in the own zone on a second look.

/** Milliseconds since 1970, or null for what is unset or unreadable. */
export function moment(text: string | null | undefined): number | null {
  if (!text) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : at;
}

/** "just now", "5 min ago", "in 2 h", "3 d ago", and a date past a month. */
export function relative(text: string | null | undefined, now: number): string {
  const at = moment(text);
  if (at === null) return "never";
  const away = Math.abs(now - at) / 1000;
  const future = at > now;
  if (away < 3) return future ? "now" : "just now";
  if (away >= 30 * 86_400) return day(at, now);
  const [size, unit] = away < 60 ? [1, "s"] : away < 3600 ? [60, "min"] : away < 86_400 ? [3600, "h"] : [86_400, "d"];
  const span = `${Math.floor(away / size)} ${unit}`;
  return future ? `in ${span}` : `${span} ago`;
}

function day(at: number, now: number): string {
  const sameYear = new Date(at).getFullYear() === new Date(now).getFullYear();
  return new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", ...(sameYear ? {} : { year: "numeric" }) }).format(at);
}

const full = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

/** The exact moment in the reader's zone, for titles. */
export function exact(text: string | null | undefined): string {
  const at = moment(text);
  return at === null ? "not yet" : full.format(at);
}

/** The time of day with milliseconds, for lines of a log. */
export function clock(text: string): string {
  const at = moment(text);
  if (at === null) return text;
  const d = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

/** "Thu 27 Nov" of a calendar day "2026-11-27", which has no zone. */
export function calendarDay(text: string): string {
  const at = Date.parse(`${text}T12:00:00Z`);
  if (Number.isNaN(at)) return text;
  return new Intl.DateTimeFormat("en-GB", { weekday: "short", day: "numeric", month: "short", timeZone: "UTC" }).format(at);
}

/** What an input of type datetime-local holds for a moment, in the reader's zone. */
export function toLocalInput(text: string | undefined): string {
  const at = moment(text);
  if (at === null) return "";
  const d = new Date(at);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}T${two(d.getHours())}:${two(d.getMinutes())}`;
}

/** The moment that an input of type datetime-local holds, as RFC 3339 in UTC; empty when it holds none. */
export function fromLocalInput(text: string): string {
  const at = text === "" ? Number.NaN : new Date(text).getTime();
  return Number.isNaN(at) ? "" : new Date(at).toISOString().replace(/\.\d+Z$/, "Z");
}
