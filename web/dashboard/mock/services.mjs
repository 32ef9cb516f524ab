// Files, searches and payments of the invented server.
import { ago } from "./chance.mjs";
const check = (code, title, more = {}) => ({ code, title, state: "healthy", severity: "high", text: "", impact: "", remedy: "", depends_on: [], hidden_behind: "", failing_since: null, asked_at: ago(4), ...more });
const tally = (name, count, seconds) => ({ name, count, last_at: ago(seconds) });
const tick = () => Math.floor(Date.now() / 2000);

export const storage = () => ({
  backend: "local", place: "/var/lib/selflink/media", served: true, max_upload_bytes: 64 * 2 ** 20,
  checks: [check("storage", "Files cannot be stored"), check("storage.missing", "Files are missing", { state: "problem", text: "of 50 files that were looked at, 1 are missing and 0 have a wrong size", impact: "People see pictures and videos that do not load.", remedy: "Put them back from a backup. Then look again: selflink schedule run media.check", failing_since: ago(4000) })],
  disk: { total_bytes: 240 * 2 ** 30, free_bytes: 51.3 * 2 ** 30, reserve_bytes: 256 * 2 ** 20 },
  counts: {
    files: 48211, bytes: 61.2 * 2 ** 30,
    kinds: [["assets", "video/mp4", 1210, 38e9, 3], ["assets", "image/jpeg", 30122, 24e9, 41], ["avatars", "image/jpeg", 8120, 2.4e9, 12], ["posts", "image/jpeg", 8759, 4e8, 40]].map(([folder, mime, files, bytes, released]) => ({ folder, mime, files, bytes, released })),
    assets: [{ status: "ready", elsewhere: false, assets: 31332 }, { status: "pending", elsewhere: true, assets: 12 }],
  },
  counted_at: ago(21), estimated_files: null, unfinished: { files: 2, more: false, oldest_at: ago(90) }, granted: 0,
  uploads: { since: ago(190000), under_way: 1, at_once: 32, day: [tally("taken", 1204 + (tick() % 5), 3), tally("too_big", 14, 4100), tally("type", 6, 9000), tally("busy", 1, 30000)] },
  last_sweep: { started_at: ago(32000), finished_at: ago(31988), error: "", released: 31, orphans: 4, unfinished: 2 },
  last_check: { started_at: ago(4010), finished_at: ago(4000), error: "", looked: 50, missing: 1, wrong_size: 0, faults: [{ key: "avatars/2026/11/mfrggzdfmztwq2lkmfrggzdfmztwq2lk.jpg", what: "missing" }] },
  sweep_schedule: "media.sweep",
});
export const files = () => Array.from({ length: 60 }, (_, i) => ({
  key: `${i % 4 === 1 ? "avatars" : "assets"}/2026/11/${"abcdefgh"[i % 8].repeat(6)}mztwq2lkmfrggzdfmz${String(i).padStart(2, "0")}.${i % 7 === 3 ? "mp4" : "jpg"}`, owner_id: `72153098452137902${10 + (i % 40)}`,
  mime: i % 7 === 3 ? "video/mp4" : "image/jpeg", bytes: 180000 * (1 + (i % 9) ** 2), width: i % 7 === 3 ? null : 1600, height: i % 7 === 3 ? null : 1200, created_at: ago(i * 320 + 20), released_at: i % 11 === 5 ? ago(i * 100) : null,
}));

export const search = () => ({
  engine: "opensearch", fallen: "search: the server fails: dial tcp 10.0.0.9:9200: connect: connection refused", fallen_since: ago(312),
  checks: [check("search.opensearch", "OpenSearch does not answer searches", { state: "problem", severity: "medium", text: "dial tcp 10.0.0.9:9200: connect: connection refused", impact: "Postgres answers them meanwhile, so people are found, in another order.", remedy: "See what is wrong with:  selflink search status", failing_since: ago(312) })],
  people: { accounts: 200412, indexed: 200412 }, counted_at: ago(8), estimated_people: null, pg_trgm: true, unaccent: true,
  opensearch: { address: "https://search.example.org:9200", index: "", health: "", documents: 0, stray: [], error: "the server does not answer: connection refused", building: { index: "users_v1_20261127203000", done: 81500, total: 200412, started_at: ago(400), updated_at: ago(330) } },
  backlog: { kind: "search.index_user", unfinished: 128, more: false, retrying: 121, oldest_at: ago(305) },
  last_rebuilt: [{ engine: "opensearch", index: "users_v1_20261031040000", accounts: 188120, seconds: 61.3, finished_at: ago(27 * 86400) }],
  told: { since: ago(190000), first: { ok: 81231, failed: 41, mean_ms: 6.2 }, second: { ok: 312 + (tick() % 3), failed: 0, mean_ms: 3.4 }, fallbacks: 312 },
});
export const tried = (q) => ({ engine: "postgres", took_ms: 3.218, hits: ["Giorgi Kapanadze", "Giorgi Lomidze", "Georgia Miller"].map((name, i) => ({ id: `7215309845213790${i}15`, handle: name.toLowerCase().replace(" ", "."), name: i === 2 && q === "x" ? "" : name })) });

const events = [["checkout.session.completed", "minted"], ["customer.subscription.updated", "noted"], ["checkout.session.completed", "received"], ["checkout.session.async_payment_failed", "failed"], ["checkout.session.completed", "refused"], ["charge.refunded", "noted"]];
export const payments = () => ({
  enabled: true,
  providers: [{ name: "stripe", enabled: true, mode: "live", webhook_secrets: 2, currencies: ["USD", "EUR", "GEL"], min_cents: 50, webhook_path: "/api/v1/payments/stripe/webhook/" }],
  checks: [check("payments.webhook.secret", "The webhook's secret is missing"), check("payments.key", "The key of Stripe is missing"), check("payments.webhook.refused", "Webhooks of Stripe are refused", { state: "problem", severity: "medium", text: "5 or more webhooks were refused within 10 minutes: their signature is of another secret, or they are forged", impact: "If they are Stripe's, what people pay is not credited until it is mended.", remedy: "Compare STRIPE_WEBHOOK_SECRET with the endpoint's signing secret, and restart. See who sends them: selflink logs --component payments", failing_since: ago(140) }), check("payments.uncredited", "Payments are not credited"), check("coin.unbalanced", "The ledger of coins is not right")],
  webhooks: { since: ago(190000), last_at: ago(31), handled: [tally("checkout.session.completed", 412, 31), tally("customer.subscription.updated", 88, 800)], ignored: [tally("invoice.paid", 74, 900), tally("payment_intent.created", 420, 33)], failed: [], refused: [tally("signature", 7, 140), tally("unsigned", 2, 40000)] },
  last_event_at: ago(31),
  day: {
    checkouts: [["created", "EUR", 31, 41200], ["failed", "USD", 9, 12100], ["paid", "EUR", 212, 318150], ["paid", "GEL", 90, 122000], ["paid", "USD", 110, 201099]].map(([status, currency, checkouts, amount_cents]) => ({ status, currency, checkouts, amount_cents })),
    events: [["checkout.session.completed", "minted", 412], ["customer.subscription.updated", "noted", 88], ["checkout.session.completed", "received", 14], ["checkout.session.async_payment_failed", "failed", 9], ["checkout.session.completed", "refused", 1], ["charge.refunded", "noted", 2]].map(([type, outcome, events]) => ({ type, outcome, events })),
  },
  counted_at: ago(6), uncredited: { events: 1, oldest_at: ago(5200) },
  subscriptions: [["active", 1203], ["canceled", 310], ["incomplete", 41], ["past_due", 17]].map(([status, subscriptions]) => ({ status, subscriptions })),
  ledger: {
    currency: "SLC",
    counts: { accounts: 200412, suspended: 3, events: [{ type: "mint", events: 91231 }, { type: "spend", events: 40120 }, { type: "transfer", events: 210332 }], minted_cents: 912310450, held_cents: 801221950 },
    counted_at: ago(44), estimated_entries: null, check_schedule: "coin.check",
    last_check: { started_at: ago(29000), finished_at: ago(28996), ok: true, counts: ["mint_events", "mint_events_without_payment_event", "mint_events_with_non_minted_payment_event", "payment_events_linked_to_non_mint_event", "unbalanced_event_groups", "unknown_account_entries", "suspended_account_entries", "stored_balance_mismatches"].map((name, i) => ({ name, count: i === 0 ? 91231 : i === 6 ? 12 : 0, fails: false })), notes: ["all entries of suspended accounts are older than the suspension"] },
  },
});
export const checkouts = (q) => Array.from({ length: 120 }, (_, i) => ({
  id: `72153098452137${9000 - i}`, provider: "stripe", reference: `chk_${"8f3a91c7"}${1000 + i}d4`, user_id: `72153098452137902${10 + (i % 40)}`, amount_cents: [500, 1500, 123456, 999][i % 4], currency: ["EUR", "USD", "GEL"][i % 3],
  status: ["paid", "paid", "created", "paid", "failed"][i % 5], created_at: ago(i * 700 + 31), updated_at: ago(i * 700),
})).filter((c) => !q.status || c.status === q.status);
export const paymentEvents = () => Array.from({ length: 90 }, (_, i) => {
  const [type, outcome] = events[i % events.length];
  const plan = type.startsWith("customer");
  return { provider: "stripe", id: `evt_1QPx8tK2eZvKYlo2C9sVg${1000 + i}`, type, outcome, refused: outcome === "refused" ? "Coin account is not active." : "", user_id: `72153098452137902${10 + (i % 40)}`, reference: plan ? "" : `chk_8f3a91c7${1000 + i}d4`, amount_cents: plan ? 0 : 1500, currency: plan ? "" : "EUR", created_at: ago(i * 510 + 31) };
});
