import { ago, chance, pick } from "./chance.mjs";
import { jobsWorld } from "./jobs.mjs";
const RANK = { debug: 0, info: 1, warning: 2, error: 3 };
const MESSAGES = [["info", "http", "request served"], ["debug", "database", "statement prepared"], ["info", "jobs", "job succeeded"], ["warning", "mentor", "model failed, will retry"], ["error", "mentor", "answer failed, fallback stored"], ["info", "realtime", "connection opened"], ["info", "broker", "consumer caught up"], ["warning", "http", "slow request"]];
let last = 50000;
const live = chance(99);
export function line(at, random = live) {
  const [level, component, message] = random() < 0.6 ? MESSAGES[0] : pick(random, MESSAGES);
  return { id: String(last++), at: new Date(at).toISOString(), level, component, message, request_id: component === "http" ? "req_01JD8Y6T3M" : null, job_id: component === "mentor" ? jobsWorld.sample() : null, user_id: random() < 0.3 ? "7215309845213790208" : null,
    fields: component === "http" ? { method: "GET", route: "/api/v1/feed/", status: 200, duration_ms: Math.round(random() * 90) } : { attempt: 1, error: level === "error" ? "connect 127.0.0.1:11434: connection refused" : undefined } };
}
const kept = (() => {
  const random = chance(5);
  return Array.from({ length: 400 }, (_, i) => line(Date.now() - i * 1700, random));
})();
export const logs = (q, from = kept) => from.filter((l) => RANK[l.level] >= (RANK[q.level] ?? 0) && (!q.component || l.component === q.component) && (!q.request_id || l.request_id === q.request_id) && (!q.job_id || l.job_id === q.job_id) && (!q.q || `${l.message} ${JSON.stringify(l.fields)}`.toLowerCase().includes(q.q.toLowerCase())));
export function requests(q) {
  const random = chance(11);
  return Array.from({ length: 120 }, (_, i) => {
    const slow = random() < 0.5, status = slow ? 200 : pick(random, [500, 502, 504, 409]);
    return { id: i === 0 ? "req_01JD8Y6T3M" : `req_01JD8Y${1000 + i}`, at: ago(i * 61), method: pick(random, ["GET", "POST"]), route: pick(random, ["/api/v1/feed/", "/api/v1/mentor/chat/", "/api/v1/messages/threads/{id}/", "/api/v1/search/"]), status, duration_ms: slow ? 900 + random() * 3000 : 30 + random() * 80, sql_ms: 20 + random() * 500, sql_count: Math.round(3 + random() * 40), user_id: "7215309845213790208", client_ip: "203.0.113.7", node: "node-1", error: slow ? null : "database: connection refused", slow };
  }).filter((r) => (q.kind === "slow" ? r.slow : q.kind === "failed" ? r.status >= 500 : true) && (!q.route || r.route.includes(q.route)) && (!q.status || String(r.status) === q.status));
}
export function explain(id) {
  if (id === "nothing") return null;
  const start = Date.now() - 90000, e = (offset_ms, kind, text, duration_ms = null, level = "info", ref = "") => ({ at: new Date(start + offset_ms).toISOString(), offset_ms, kind, level, text, duration_ms, ref });
  const job = jobsWorld.sample() ?? "";
  return { id, kind: id.startsWith("req") ? "request" : "job", title: "POST /api/v1/mentor/chat/", started_at: new Date(start).toISOString(), duration_ms: 2310, entries: [
    e(0, "request", "POST /api/v1/mentor/chat/ → 202", 41.2), e(3, "sql", "select id, user_id from mentor_session where user_id = $1", 2.1), e(8, "sql", "insert into mentor_message (session_id, body) values ($1, $2)", 4.4), e(14, "sql", "insert into jobs (id, kind, args) values ($1, $2, $3)", 3.9), e(41, "job", "mentor.answer queued in llm", null, "info", job), e(44, "attempt", "attempt 1 on node-1", 1210, "warning", job),
    e(1254, "log", "model failed, will retry: connection refused", null, "warning"), e(1700, "attempt", "attempt 2 on node-1", 602, "info", job), e(2290, "event", "mentor.reply delivered to 2 connections"), e(2310, "log", "answer stored", null, "info")] };
}
