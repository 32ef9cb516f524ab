// What the server sends of files, searches and payments. Null is what it does
// not know.
import type { Check } from "./shapes.ts";

type Time = string;
type TimeOrNull = string | null;

/** What one node counted in the last day, or since it started. */
export interface Tallied { name: string; count: number; last_at: Time }
interface Reported { started_at: Time; finished_at: Time; error: string }

// Storage
export interface Examined { looked: number; missing: number; wrong_size: number; faults: { key: string; what: string }[] }
export interface Storage {
  backend: "local" | "s3"; place: string; served: boolean; max_upload_bytes: number; checks: Check[];
  disk: { total_bytes: number; free_bytes: number; reserve_bytes: number } | null;
  counts: {
    files: number; bytes: number; kinds: { folder: string; mime: string; files: number; bytes: number; released: number }[];
    assets: { status: string; elsewhere: boolean; assets: number }[];
  } | null;
  counted_at: TimeOrNull; estimated_files: number | null;
  unfinished: { files: number; more: boolean; oldest_at: TimeOrNull } | null; granted: number;
  uploads: { since: Time; under_way: number; at_once: number; day: Tallied[] };
  last_sweep: (Reported & { released: number; orphans: number; unfinished: number }) | null;
  last_check: (Reported & Examined) | null;
  sweep_schedule: string;
}
export interface KeptFile {
  key: string; owner_id: string | null; mime: string; bytes: number; width: number | null; height: number | null;
  created_at: Time; released_at: TimeOrNull;
}

// Search
export interface Answered { ok: number; failed: number; mean_ms: number }
export interface Search {
  engine: "postgres" | "opensearch"; fallen: string; fallen_since: TimeOrNull; checks: Check[];
  people: { accounts: number; indexed: number } | null; counted_at: TimeOrNull; estimated_people: number | null;
  pg_trgm: boolean; unaccent: boolean;
  opensearch: {
    address: string; index: string; health: string; documents: number; stray: string[] | null; error: string;
    building: { index: string; done: number; total: number; started_at: Time; updated_at: Time } | null;
  } | null;
  backlog: { kind: string; unfinished: number; more: boolean; retrying: number; oldest_at: TimeOrNull } | null;
  last_rebuilt: { engine: string; index: string; accounts: number; seconds: number; finished_at: Time }[];
  told: { since: Time; first: Answered; second: Answered; fallbacks: number };
}
export interface Tried { engine: string; took_ms: number; hits: { id: string; handle: string; name: string }[] }

// Payments
export interface Day {
  checkouts: { status: string; currency: string; checkouts: number; amount_cents: number }[];
  events: { type: string; outcome: string; events: number }[];
}
export interface LedgerCheck {
  started_at: Time; finished_at: Time; ok: boolean; counts: { name: string; count: number; fails: boolean }[]; notes: string[];
}
export interface Ledger {
  currency: string;
  counts: {
    accounts: number; suspended: number; events: { type: string; events: number }[]; minted_cents: number; held_cents: number;
  } | null;
  counted_at: TimeOrNull; estimated_entries: number | null; last_check: LedgerCheck | null; check_schedule: string;
}
export interface Payments {
  enabled: boolean;
  providers: {
    name: string; enabled: boolean; mode: "live" | "test" | "unknown" | "none"; webhook_secrets: number; currencies: string[];
    min_cents: number; webhook_path: string;
  }[];
  checks: Check[];
  webhooks: { since: Time; last_at: TimeOrNull; handled: Tallied[]; ignored: Tallied[]; failed: Tallied[]; refused: Tallied[] };
  last_event_at: TimeOrNull; day: Day | null; counted_at: TimeOrNull;
  uncredited: { events: number; oldest_at: TimeOrNull };
  subscriptions: { status: string; subscriptions: number }[] | null;
  ledger: Ledger;
}
export interface KnownCheckout {
  id: string; provider: string; reference: string; user_id: string; amount_cents: number; currency: string; status: string;
  created_at: Time; updated_at: Time;
}
export interface KnownEvent {
  provider: string; id: string; type: string; outcome: string; refused: string; user_id: string | null; reference: string;
  amount_cents: number; currency: string; created_at: Time;
}
