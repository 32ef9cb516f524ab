import { ago, chance, pick, uuid } from "./chance.mjs";
const random = chance(7);
const KINDS = ["mentor.answer", "mentor.journal", "media.resize", "mail.send", "push.send", "search.index", "matrix.refresh", "payments.reconcile"];
const QUEUES = { "mentor.answer": "llm", "mentor.journal": "llm", "media.resize": "media", "payments.reconcile": "payments" };
const ERRORS = ["connect 127.0.0.1:11434: connection refused", "smtp: 452 4.2.2 mailbox full", "context deadline exceeded after 2m0s", "image: unknown format"];
const states = [...Array(60).fill("succeeded"), ...Array(123).fill("dead"), ...Array(9).fill("queued"), ...Array(6).fill("running"), ...Array(7).fill("retrying"), ...Array(14).fill("scheduled"), ...Array(5).fill("cancelled")];
const all = states.map((state, i) => ({ state, order: random(), i })).sort((a, b) => a.order - b.order).map(({ state }, i) => {
  const kind = pick(random, KINDS), at = i * 97 + 20 * random(), done = ["succeeded", "dead", "cancelled"].includes(state);
  const started = done || state === "running" || state === "retrying";
  const duration = done ? Math.round(40 + random() ** 4 * 60000) : null;
  return { id: uuid(random), kind, queue: QUEUES[kind] ?? "default", state, priority: 1, attempt: state === "dead" ? 5 : state === "retrying" ? 2 : started ? 1 : 0, max_attempts: 5,
    created_at: ago(at), run_at: state === "scheduled" ? ago(-at - 300) : state === "retrying" ? ago(-40 - i) : ago(at), started_at: started ? ago(at - 1) : null, finished_at: done ? ago(Math.max(0, at - 1 - duration / 1000)) : null, duration_ms: duration,
    last_error: state === "dead" || state === "retrying" ? pick(random, ERRORS) : null };
});
const queues = ["default", "llm", "media", "payments"].map((name, i) => ({ name, concurrency: [16, 4, 2, 2][i], paused: name === "payments", paused_by: name === "payments" ? "Olga Operator" : null, paused_at: name === "payments" ? ago(5400) : null }));
const counts = (filter) => Object.fromEntries(["queued", "scheduled", "retrying", "running", "succeeded", "dead", "cancelled"].map((s) => [s, all.filter((j) => j.state === s && filter(j)).length]));
const withCounts = (q) => {
  const c = counts((j) => j.queue === q.name);
  return { ...q, waiting: c.queued, running: c.running, scheduled: c.scheduled, retrying: c.retrying, dead: c.dead, oldest_seconds: c.queued ? 12 + (Date.now() / 1000) % 30 : null, done_per_minute: q.paused ? 0 : 41.5, failed_per_minute: q.name === "llm" ? 3.2 : 0 };
};
export const jobs = () => ({ queues: queues.map(withCounts), states: { ...counts(() => true), succeeded: 1284312 }, kinds: KINDS });
export const jobItems = (q) => all.filter((j) => (!q.state || j.state === q.state) && (!q.kind || j.kind === q.kind) && (!q.queue || j.queue === q.queue) && (!q.error || (j.last_error ?? "").toLowerCase().includes(q.error.toLowerCase())) && (!q.since || j.created_at >= q.since) && (!q.until || j.created_at <= q.until));
export function jobErrors() {
  const groups = new Map();
  for (const j of all.filter((x) => x.state === "dead")) {
    const key = j.kind + j.last_error, g = groups.get(key) ?? { kind: j.kind, error: j.last_error, count: 0, first_at: j.created_at, last_at: j.created_at, sample_id: j.id };
    g.count++;
    g.first_at = j.created_at;
    groups.set(key, g);
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}
const can = (j) => ({ retry: ["dead", "cancelled", "retrying"].includes(j.state), cancel: ["queued", "scheduled", "retrying", "running"].includes(j.state), delete: ["dead", "cancelled", "succeeded"].includes(j.state) });
export function jobDetail(id) {
  const j = all.find((x) => x.id === id);
  if (!j) return null;
  const failures = j.last_error ? Array.from({ length: j.attempt }, (_, i) => ({ attempt: i + 1, at: ago(3000 - i * 500), error: j.last_error, duration_ms: 130 + i * 11 })) : [];
  return { ...j, args: { session_id: "7215309845213790208", question_id: "7215309845213790301", api_key: "••••", options: { language: "en", length: 400 } }, result: j.state === "succeeded" ? { tokens: 412 } : null,
    unique_key: `question:${j.id.slice(0, 6)}`, request_id: "req_01JD8Y6T3M", node: j.started_at ? "node-1" : null, failures,
    timeline: [{ at: j.created_at, what: "created", text: "by request req_01JD8Y6T3M" }, ...failures.flatMap((f) => [{ at: f.at, what: "started", text: `attempt ${f.attempt} on node-1` }, { at: f.at, what: "failed", text: f.error }]), { at: j.finished_at ?? j.created_at, what: j.state === "queued" ? "scheduled" : j.state === "running" ? "started" : j.state, text: "" }], can: can(j) };
}
export function bulk({ action, filter, dry_run }) {
  const hit = jobItems(filter).filter((j) => can(j)[action]);
  if (dry_run) return { matching: hit.length, done: 0, more: false };
  for (const j of hit) action === "delete" ? jobsWorld.delete(j.id) : jobsWorld.act(j.id, action);
  return { matching: hit.length, done: hit.length, more: false };
}
export const jobsWorld = {
  delete: (id) => void all.splice(all.findIndex((j) => j.id === id), 1),
  act(id, what) {
    const j = all.find((x) => x.id === id);
    if (!j) return null;
    j.state = what === "retry" ? "queued" : "cancelled";
    return jobDetail(id);
  },
  queue(name, paused) {
    const q = queues.find((x) => x.name === name);
    if (!q) return null;
    Object.assign(q, { paused, paused_by: paused ? "Olga Operator" : null, paused_at: paused ? ago(0) : null });
    return withCounts(q);
  },
  sample: () => all.find((j) => j.state === "dead")?.id,
};
