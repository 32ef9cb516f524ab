// The words of the pages about files, searches and payments, and what they add
// up.
import type { Label } from "./labels.ts";
import type { Day, Tallied } from "./services-shapes.ts";
import { plural } from "./format.ts";
import { money } from "./money.ts";

/** What became of an upload. */
export const UPLOAD: Readonly<Record<string, Label>> = {
  taken: { word: "Taken", tone: "good" },
  type: { word: "Type is not taken", tone: "quiet" },
  image: { word: "No valid image", tone: "quiet" },
  pixels: { word: "Too many pixels", tone: "quiet" },
  too_big: { word: "Too big", tone: "quiet" },
  empty: { word: "Empty", tone: "quiet" },
  interrupted: { word: "Broken off", tone: "quiet" },
  refused: { word: "Refused", tone: "quiet" },
  busy: { word: "Too many at once", tone: "medium" },
  full: { word: "No room", tone: "high" },
  unavailable: { word: "Storage out of reach", tone: "high" },
  failed: { word: "Failed", tone: "medium" },
};

export const CHECKOUT: Readonly<Record<string, Label>> = {
  created: { word: "Open", tone: "busy" },
  paid: { word: "Paid", tone: "good" },
  failed: { word: "Failed", tone: "quiet" },
  canceled: { word: "Cancelled", tone: "quiet" },
};

/** What became of an event of a provider. */
export const EVENT: Readonly<Record<string, Label>> = {
  minted: { word: "Credited", tone: "good" },
  received: { word: "Nothing to credit", tone: "quiet" },
  failed: { word: "Payment failed", tone: "quiet" },
  refused: { word: "Not credited", tone: "high" },
  noted: { word: "Noted", tone: "busy" },
};

export const SUBSCRIPTION: Readonly<Record<string, Label>> = {
  active: { word: "Active", tone: "good" },
  past_due: { word: "Past due", tone: "medium" },
  incomplete: { word: "Incomplete", tone: "quiet" },
  canceled: { word: "Cancelled", tone: "quiet" },
};

export const MODE: Readonly<Record<string, Label>> = {
  live: { word: "Live", tone: "good" },
  test: { word: "Test", tone: "medium" },
  unknown: { word: "Unknown key", tone: "medium" },
  none: { word: "No key", tone: "quiet" },
};

/** Why a webhook is not believed. */
export const REFUSED: Readonly<Record<string, string>> = {
  unsigned: "no signature of Stripe's",
  no_secret: "no secret is set here",
  signature: "another secret, or forged",
  too_old: "signed more than 5 minutes ago",
  unreadable: "signed, but no event",
};

/** How many a tally counts in all, but for those of some names. */
export function total(tally: readonly Tallied[], but: readonly string[] = []): number {
  return tally.reduce((sum, t) => (but.includes(t.name) ? sum : sum + t.count), 0);
}

/**
 * What was paid in a day: of one currency its sum, of several how many paid and
 * the sum of each.
 */
export function paid(day: Day | null): { sum: string; note: string } {
  if (day === null) return { sum: "not told", note: "" };
  const found = day.checkouts.filter((c) => c.status === "paid");
  const many = plural(found.reduce((sum, c) => sum + c.checkouts, 0), "checkout");
  const sums = found.map((c) => money(c.amount_cents, c.currency));
  if (sums.length > 1) return { sum: many, note: sums.join(", ") };
  return { sum: sums[0] ?? "nothing", note: many };
}

/** The states of a day's checkouts with their amounts, the paid ones first. */
export function states(day: Day): { status: string; checkouts: number; amounts: string }[] {
  const order = ["paid", "created", "failed", "canceled"];
  const names = [...new Set(day.checkouts.map((c) => c.status))].sort((a, b) => place(order, a) - place(order, b) || a.localeCompare(b));
  return names.map((status) => {
    const of = day.checkouts.filter((c) => c.status === status);
    return { status, checkouts: of.reduce((sum, c) => sum + c.checkouts, 0), amounts: of.map((c) => money(c.amount_cents, c.currency)).join(", ") };
  });
}

function place(order: readonly string[], name: string): number {
  const at = order.indexOf(name);
  return at < 0 ? order.length : at;
}
