// From the series of the API to what charts show.
import { bytes, decimal, ms, seconds, short } from "./format.ts";
import type { Metrics, Unit } from "./shapes.ts";

/** One line of a chart, with what its text says. */
export interface Reading {
  label: string;
  points: (number | null)[];
  /** The newest known value. */
  last: number | null;
  low: number | null;
  high: number | null;
}

/** What belongs into one chart. */
export const GROUPS: readonly { title: string; keys: readonly string[]; unit: Unit }[] = [
  { title: "Requests", keys: ["requests_per_second", "errors_per_second"], unit: "per_second" },
  { title: "Response time", keys: ["p50_ms", "p95_ms", "p99_ms"], unit: "ms" },
  { title: "Jobs done", keys: ["jobs_per_second"], unit: "per_second" },
  { title: "Oldest waiting job", keys: ["queue_age_seconds"], unit: "seconds" },
  { title: "Open sockets", keys: ["sockets"], unit: "count" },
  { title: "Deliveries", keys: ["deliveries_per_second"], unit: "per_second" },
  { title: "Wait for a connection", keys: ["pool_wait_ms"], unit: "ms" },
  { title: "Memory", keys: ["memory_bytes"], unit: "bytes" },
];

const SHORT: Readonly<Record<string, string>> = {
  requests_per_second: "all", errors_per_second: "failed", p50_ms: "p50", p95_ms: "p95", p99_ms: "p99",
};

/** The lines of a chart, those that the server sent. */
export function readings(metrics: Metrics, keys: readonly string[]): Reading[] {
  return keys.flatMap((key) => {
    const series = metrics.series.find((s) => s.key === key);
    if (series === undefined) return [];
    const known = series.points.filter((p): p is number => p !== null);
    return [{
      label: SHORT[key] ?? series.label,
      points: series.points,
      last: known.at(-1) ?? null,
      low: known.length === 0 ? null : known.reduce((a, b) => Math.min(a, b)),
      high: known.length === 0 ? null : known.reduce((a, b) => Math.max(a, b)),
    }];
  });
}

/** The moment of every point, in seconds since 1970; none when nothing was measured. */
export function times(metrics: Metrics): number[] {
  const start = Date.parse(metrics.start) / 1000;
  const length = metrics.series[0]?.points.length ?? 0;
  return Number.isNaN(start) ? [] : Array.from({ length }, (_, i) => start + i * metrics.step_seconds);
}

/** How a value of a unit is written. */
export function writer(unit: Unit): (n: number | null | undefined) => string {
  switch (unit) {
    case "per_second": return (n) => `${decimal(n)}/s`;
    case "ms": return ms;
    case "seconds": return seconds;
    case "bytes": return bytes;
    default: return short;
  }
}

/** The time that points cover, in words. */
export function span(times: readonly number[]): string {
  const first = times[0];
  const last = times.at(-1);
  if (first === undefined || last === undefined) return "time so far";
  const hours = Math.round((last - first) / 3600);
  return hours <= 1 ? "last hour" : hours <= 48 ? `last ${hours} hours` : `last ${Math.round(hours / 24)} days`;
}
