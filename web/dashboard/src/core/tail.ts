// The lines on the screen: newest first, each once, and not without end.
import type { Line } from "./shapes.ts";

/** More lines than this are not kept: nobody reads them, and the page grows slow. */
export const MOST = 1000;

/** Puts a line that just came before the others. One that is there already changes nothing. */
export function ahead(lines: readonly Line[], line: Line): readonly Line[] {
  // After a return the stream may repeat its last lines.
  if (lines.slice(0, 100).some((known) => known.id === line.id)) return lines;
  return [line, ...lines].slice(0, MOST);
}

/**
 * Fits in the newest lines after the stream was away. When they don't reach
 * back to what is known, the known ones are dropped rather than a hole hidden:
 * whole says which it was.
 */
export function caughtUp(lines: readonly Line[], newest: readonly Line[]): { lines: readonly Line[]; whole: boolean } {
  const known = new Set(lines.map((line) => line.id));
  if (lines.length > 0 && newest.length > 0 && !newest.some((line) => known.has(line.id))) return { lines: newest, whole: false };
  const fresh = newest.filter((line) => !known.has(line.id));
  const all = [...fresh, ...lines].sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  return { lines: all.slice(0, Math.max(MOST, lines.length)), whole: true };
}

/** Appends what is older, without what is there already. */
export function behind(lines: readonly Line[], older: readonly Line[]): readonly Line[] {
  const known = new Set(lines.map((line) => line.id));
  return [...lines, ...older.filter((line) => !known.has(line.id))];
}

/** The fields of a line as text: "status=200 route=/api/v1/feed/". */
export function fieldsOf(line: Line): string {
  return Object.entries(line.fields)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}
