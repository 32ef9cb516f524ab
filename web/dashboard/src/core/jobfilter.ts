// The filter of the list of jobs, as it stands in the address and in requests.
import { filled, type Query } from "./route.ts";

export const FILTER_KEYS = ["state", "kind", "queue", "error", "since", "until"] as const;

/** What a list, or an act on all that match, is limited to. */
export function jobFilter(query: Readonly<Query>): Query {
  return filled(Object.fromEntries(FILTER_KEYS.map((key) => [key, query[key]])));
}

/** The acts on many jobs that make sense for a state; none is certain without one. */
export function bulkActs(state: string | undefined): ("retry" | "cancel" | "delete")[] {
  switch (state) {
    case "dead":
    case "cancelled": return ["retry", "delete"];
    case "succeeded": return ["delete"];
    case "queued":
    case "scheduled": return ["cancel"];
    case "running": return ["cancel"];
    case "retrying": return ["retry", "cancel"];
    default: return [];
  }
}

/** The filter in words: "dead jobs of mentor.answer". */
export function inWords(filter: Readonly<Query>): string {
  const parts = [`${filter["state"] ?? "all"} jobs`];
  if (filter["kind"]) parts.push(`of kind ${filter["kind"]}`);
  if (filter["queue"]) parts.push(`in queue ${filter["queue"]}`);
  if (filter["error"]) parts.push(`whose error contains “${filter["error"]}”`);
  if (filter["since"]) parts.push(`made since ${filter["since"]}`);
  if (filter["until"]) parts.push(`made until ${filter["until"]}`);
  return parts.join(" ");
}
