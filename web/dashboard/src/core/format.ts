// Numbers, sizes and times as people read them. "–" stands for what is unknown.

const NONE = "–";
const counts = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

type Maybe = number | null | undefined;

/** A count with grouping: 12,345. */
export function count(n: Maybe): string {
  return n === null || n === undefined ? NONE : counts.format(n);
}

/** A count that must stay short: 12.3K. Below ten thousand it is exact. */
export function short(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  return Math.abs(n) < 10_000 ? counts.format(n) : compact.format(n);
}

/** "1 job", "2 jobs". */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A number with as many digits as it deserves: 0.25, 3.1, 42. */
export function decimal(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  const size = Math.abs(n);
  if (size >= 100 || Number.isInteger(n)) return counts.format(n);
  return String(Number(n.toFixed(size >= 10 ? 1 : 2)));
}

/** Sizes in powers of 1024: 1.5 GiB. */
export function bytes(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let size = n;
  let unit = 0;
  while (Math.abs(size) >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 || Math.abs(size) >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

/** Milliseconds: 0.4 ms, 84 ms, 1.2 s, and minutes past that. */
export function ms(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  if (n === 0) return "0 ms";
  if (n < 10) return `${n.toFixed(1)} ms`;
  if (n < 1000) return `${Math.round(n)} ms`;
  return n < 10_000 ? `${(n / 1000).toFixed(1)} s` : seconds(n / 1000);
}

/** A span in its two largest units: 3 d 4 h, 12 min 5 s, 8 s. */
export function seconds(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  const whole = Math.max(0, Math.round(n));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor((whole % 86_400) / 3600), "h"],
    [Math.floor((whole % 3600) / 60), "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(" ");
}

/** A share of one: 0.987 is 98.7 %. */
export function percent(n: Maybe): string {
  if (n === null || n === undefined) return NONE;
  const hundred = n * 100;
  // Never round up to a full hundred: 99.99 % is not everything.
  const text = hundred < 100 && hundred > 99.9 ? (Math.floor(hundred * 100) / 100).toFixed(2) : hundred.toFixed(1);
  return `${text.replace(/\.0$/, "")} %`;
}

/** used of limit as a share between 0 and 1; 0 when there is no limit. */
export function share(used: Maybe, limit: Maybe): number {
  if (!used || !limit || limit <= 0) return 0;
  return Math.min(1, Math.max(0, used / limit));
}
