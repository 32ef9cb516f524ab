import { ago, chance, pick } from "./chance.mjs";
const tick = () => Math.floor(Date.now() / 2000);
export const realtime = () => ({
  totals: { websockets: 1840 + (tick() % 9), streams: 212, users: 1633, limit: 20000 },
  nodes: [{ node: "node-1", websockets: 921, streams: 100, users: 812, waiting_bytes: 18400 }, { node: "node-2", websockets: 919, streams: 112, users: 821, waiting_bytes: 2400000 }],
  channels: Array.from({ length: 12 }, (_, i) => ({ channel: i === 0 ? "community:announcements" : `thread:72153098452137${90 + i}`, subscribers: Math.round(1633 / (i + 1)), events_per_minute: 120 / (i + 1) })),
  counters: { opened: 128731, cut: { slow_reader: 41, ping_timeout: 1820, shutdown: 930, kicked: 6 }, recovered: 8125, unrecovered: 92, deliveries: 91238123, deliveries_per_second: 921.4 },
});
export const connections = (user) => Array.from({ length: user ? 2 : 14 }, (_, i) => ({ id: `c${1000 + i}`, node: `node-${(i % 2) + 1}`, transport: i % 3 === 2 ? "stream" : "websocket", user_id: user || `72153098452137902${10 + i}`, opened_at: ago(600 * (i + 1)), channels: 3 + i, waiting_bytes: Math.round(180000 / (i + 1)) }));
export const database = () => ({
  managed: true,
  postgres: { version: "15.9", started_at: ago(3.2 * 86400), size_bytes: 18.4 * 2 ** 30, cache_hit_ratio: 0.9987, connections: 38, max_connections: 100, longest_transaction_seconds: 2.1, commits_per_second: 311.2 + (tick() % 7) },
  pooler: { version: "1.18.0", pools: [{ database: "selflink", user: "selflink", mode: "transaction", clients_active: 12, clients_waiting: 0, servers_active: 9, servers_idle: 11, servers_used: 2, max_wait_ms: 0 }] },
  pools: [{ name: "pooled", max: 32, in_use: 9, idle: 12, waits: 210, mean_wait_ms: 0.4 }, { name: "direct", max: 4, in_use: 1, idle: 3, waits: 0, mean_wait_ms: 0 }],
  locks: [{ pid: 41231, blocked_by: [41190], mode: "RowExclusiveLock", relation: "feed_post", seconds: 4.2, query: "update feed_post set like_count = like_count + 1 where id = $1" }],
  tables: ["feed_post", "messages_message", "jobs", "accounts_user", "mentor_message", "audit_entry", "notifications", "media_file"].map((name, i) => ({ name, rows: Math.round(9e6 / (i + 1) ** 2), bytes: Math.round((7 * 2 ** 30) / (i + 1) ** 1.6), dead_rows: i === 2 ? 912000 : 1200, last_autovacuum: i === 4 ? null : ago(3600 * (i + 1)), last_autoanalyze: ago(1800 * (i + 1)) })),
  migrations: { current: 42, latest: 42, items: Array.from({ length: 42 }, (_, i) => ({ version: i + 1, name: ["accounts", "feed", "jobs", "audit", "health_history", "request_log"][i % 6], applied_at: ago(86400 * (60 - i)) })) },
  statements: ["select p.id, p.body from feed_post p where p.author_id = any($1) order by p.id desc limit $2", "update jobs set state = $2, finished_at = now() where id = $1", "insert into messages_message (id, thread_id, body) values ($1, $2, $3)"].map((query, i) => ({ query, calls: 912311 / (i + 1), mean_ms: 1.4 * (i + 1), total_ms: 1277235 / (i + 1), rows: 8123110 / (i + 1) })),
});
const stream = (name, more = {}) => ({ name, subjects: [`${name.toLowerCase()}.>`], storage: "file", replicas: 3, messages: 18231, bytes: 48 * 2 ** 20, max_bytes: 2 ** 30, max_age_seconds: 7 * 86400, discard: "old", sync_seconds: 0, lost_if_power_fails: "nothing: the rows are in Postgres", consumers: [{ name: "workers", pending: 12, ack_pending: 4, redelivered: 0, last_delivered_at: ago(1) }], ...more });
export const broker = () => ({
  node: "node-1", version: "2.15.2", peers: { connected: 2, configured: 2 }, memory: { used_bytes: 61 * 2 ** 20, limit_bytes: 256 * 2 ** 20 }, disk: { used_bytes: 812 * 2 ** 20, limit_bytes: 4 * 2 ** 30 },
  streams: [stream("JOBS", { discard: "new" }), stream("EVENTS", { sync_seconds: 2, lost_if_power_fails: "the events of the last two seconds", consumers: [{ name: "fanout", pending: 2, ack_pending: 1, redelivered: 3, last_delivered_at: ago(0) }, { name: "search", pending: 41200, ack_pending: 256, redelivered: 12, last_delivered_at: ago(95) }] }), stream("PRESENCE", { storage: "memory", replicas: 1, messages: 1633, bytes: 512000, max_bytes: 64 * 2 ** 20, max_age_seconds: 60, lost_if_power_fails: "all of it", consumers: [] })],
  buckets: [stream("KV_tickets", { subjects: ["$KV.tickets.>"], storage: "memory", messages: 210, bytes: 81000, max_bytes: 16 * 2 ** 20, max_age_seconds: 30, lost_if_power_fails: "all of it", consumers: [] })],
});
export const messages = () => {
  const random = chance(3);
  return Array.from({ length: 80 }, (_, i) => ({ sequence: 18231 - i, subject: `events.${pick(random, ["post.created", "message.sent", "mentor.reply"])}`, at: ago(i * 3), bytes: 210, headers: { "Nats-Msg-Id": [`7215309845213790${i}`] }, data: i === 4 ? "gAFjbW9jaw==" : JSON.stringify({ id: `7215309845213790${i}`, text: "Hello there" }), encoding: i === 4 ? "base64" : "text", truncated: false }));
};
export const mentor = () => ({
  enabled: true, provider: "ollama", model: "llama3.1:8b", endpoint: "127.0.0.1:11434",
  hour: { answers: 212, failures: 14, fallbacks: 14, p50_ms: 1820, p95_ms: 5410, first_token_p50_ms: 290, tokens_in: 41230, tokens_out: 88120 },
  total: { answers: 91231, failures: 412, fallbacks: 388, tokens_in: 18123110, tokens_out: 39812311 }, waiting_jobs: 3,
  recent_failures: Array.from({ length: 6 }, (_, i) => ({ at: ago(i * 210 + 12), kind: "unreachable", error: "connect 127.0.0.1:11434: connection refused" })),
});
