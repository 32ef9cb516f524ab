// Where each entry of an explanation stands on a common line of time.
import type { Explain, ExplainEntry } from "./shapes.ts";

/** A bar from 0 to 1000. */
export interface Bar { x: number; width: number }

/** When an entry began. A statement is told when it begins, all else when it is over. */
export function begin(entry: Pick<ExplainEntry, "kind" | "offset_ms" | "duration_ms">): number {
  return entry.kind === "sql" ? entry.offset_ms : Math.max(0, entry.offset_ms - (entry.duration_ms ?? 0));
}

/** How long the whole is: up to the end of what ended last. Never zero. */
export function whole(explain: Explain): number {
  const ends = explain.entries.map((entry) => begin(entry) + (entry.duration_ms ?? 0));
  return Math.max(1, explain.duration_ms ?? 0, ...ends);
}

/** The bar of an entry; what took no time is still seen. */
export function bar(offset: number, duration: number | null, total: number): Bar {
  const x = Math.min(994, Math.max(0, (offset / total) * 1000));
  return { x, width: Math.max(6, Math.min(1000 - x, ((duration ?? 0) / total) * 1000)) };
}
