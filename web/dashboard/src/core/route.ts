// The address of a page lives in the hash, so that every view can be linked and
// the server needs no fallback: "#/jobs/8f3a?state=dead".

/** The filters of a page. A missing key and an empty value mean the same. */
export type Query = Record<string, string>;

/** Where the dashboard is. */
export interface Route {
  /** The first part of the path, "overview" when there is none. */
  page: string;
  /** What follows in the path, as "8f3a" of "#/jobs/8f3a". */
  rest: string[];
  query: Query;
}

/** Reads location.hash. A malformed escape stands for itself. */
export function parse(hash: string): Route {
  const text = hash.replace(/^#?\/?/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const parts = path.split("/").filter((part) => part !== "").map(decode);
  const query: Query = {};
  if (mark >= 0) {
    for (const [key, value] of new URLSearchParams(text.slice(mark + 1))) {
      if (value !== "") query[key] = value;
    }
  }
  return { page: parts[0] ?? "overview", rest: parts.slice(1), query };
}

/** The hash of a place. Empty filters leave no trace in it. */
export function href(path: readonly string[], query: Readonly<Query> = {}): string {
  const search = new URLSearchParams(filled(query)).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${search === "" ? "" : `?${search}`}`;
}

/** The query without its empty values. */
export function filled(query: Readonly<Record<string, string | undefined>>): Query {
  const out: Query = {};
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") out[key] = value;
  }
  return out;
}

/** Whether two queries ask for the same. */
export function sameQuery(a: Readonly<Query>, b: Readonly<Query>): boolean {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].every((key) => (a[key] ?? "") === (b[key] ?? ""));
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
