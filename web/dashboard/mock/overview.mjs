import { ago, chance } from "./chance.mjs";
const began = Date.now() - 3 * 86400e3 - 4 * 3600e3;
const up = () => Math.floor((Date.now() - began) / 1000);
const check = (code, title, more = {}) => ({ code, title, state: "healthy", severity: "medium", text: "", impact: "", remedy: "", depends_on: [], hidden_behind: "", failing_since: null, asked_at: ago(4), ...more });
const problems = () => [
  { code: "mentor-model", title: "The language model does not answer", severity: "medium", text: "The last 3 answers of ollama at 127.0.0.1:11434 failed: connection refused.", impact: "Questions get the fallback text. They are kept, and can be asked again.", remedy: "Start the model's server and look at its log. Run: systemctl restart ollama", required: false, failing_since: ago(1260), visible_since: ago(1200), effects: ["mentor-latency"] },
  { code: "backup-age", title: "The newest backup is old", severity: "low", text: "The newest backup that was verified is 9 days old.", impact: "After the loss of this disk, nine days of posts and messages would be gone.", remedy: "Make one now: selflink backup --verify", required: false, failing_since: ago(2 * 86400), visible_since: ago(2 * 86400), effects: [] },
];
export function overview() {
  return {
    verdict: { state: "degraded", text: "Everything is served, but the mentor answers with its fallback." },
    now: ago(0), node: "node-1", version: "1.4.0", commit: "9f2c1ab", started_at: new Date(began).toISOString(), uptime_seconds: up(),
    problems: problems(),
    components: [
      { name: "mentor", worst: "medium", checks: [
        check("mentor-model", "The language model answers", { state: "problem", text: "connection refused", failing_since: ago(1260) }),
        check("mentor-latency", "Answers come in time", { state: "hidden", hidden_behind: "mentor-model", depends_on: ["mentor-model"], text: "No answer was measured in the last 10 minutes." })] },
      { name: "backup", worst: "low", checks: [check("backup-age", "A fresh backup exists", { state: "problem", severity: "low", text: "The newest verified backup is 9 days old." })] },
      { name: "database", worst: "healthy", checks: [check("database-up", "PostgreSQL answers"), check("database-disk", "The disk has room"), check("pool-wait", "Connections are free", { depends_on: ["database-up"] })] },
      { name: "broker", worst: "healthy", checks: [check("broker-up", "The broker answers"), check("broker-quorum", "A majority of nodes is there", { depends_on: ["broker-up"] })] },
      { name: "jobs", worst: "healthy", checks: [check("jobs-age", "No job waits too long", { state: "transient", text: "The oldest waits 41 s; 60 s are allowed." }), check("jobs-dead", "Few jobs die")] },
      { name: "realtime", worst: "healthy", checks: [check("realtime-gate", "The gate takes connections", { state: "unknown", asked_at: null })] },
    ],
    processes: [
      { name: "selflink", parent: "", pid: 1204, version: "1.4.0", uptime_seconds: up(), restarts: 0, memory_bytes: 187 * 2 ** 20, state: "running" },
      { name: "postgres", parent: "selflink", pid: 1219, version: "15.9", uptime_seconds: up() - 2, restarts: 0, memory_bytes: 412 * 2 ** 20, state: "running" },
      { name: "pgbouncer", parent: "selflink", pid: 1231, version: "1.18.0", uptime_seconds: 5160, restarts: 1, memory_bytes: 6.4 * 2 ** 20, state: "running" },
    ],
    cluster: { configured: 3, connected: 3 },
  };
}
export function metrics(range = "1h") {
  const [n, step] = { "1h": [180, 20], "24h": [288, 300], "7d": [336, 1800] }[range] ?? [180, 20];
  const now = Math.floor(Date.now() / 1000 / step) * step;
  const random = chance(n);
  const series = (key, label, unit, base, swing, gap = false) => ({ key, label, unit, points: Array.from({ length: n }, (_, i) => {
    if (gap && i > n * 0.4 && i < n * 0.46) return null;
    const wave = Math.sin((i / n) * 9) * 0.5 + Math.sin((i / n) * 31) * 0.2;
    return Math.max(0, base + swing * (wave + random() - 0.5));
  }) });
  return { range, step_seconds: step, start: new Date((now - (n - 1) * step) * 1000).toISOString(), series: [
    series("requests_per_second", "Requests", "per_second", 142, 60, true), series("errors_per_second", "Errors", "per_second", 0.6, 1.6, true),
    series("p50_ms", "p50", "ms", 6, 2, true), series("p95_ms", "p95", "ms", 28, 12, true), series("p99_ms", "p99", "ms", 84, 60, true),
    series("sockets", "Sockets", "count", 1840, 300), series("deliveries_per_second", "Deliveries", "per_second", 920, 500), series("jobs_per_second", "Jobs", "per_second", 12, 9),
    series("queue_age_seconds", "Queue age", "seconds", 3, 6), series("pool_wait_ms", "Pool wait", "ms", 0.3, 0.5), series("memory_bytes", "Memory", "bytes", 187 * 2 ** 20, 20 * 2 ** 20)] };
}
export function days() {
  return Array.from({ length: 90 }, (_, i) => {
    const date = new Date(Date.now() - (89 - i) * 86400e3).toISOString().slice(0, 10);
    const worst = i < 11 ? "none" : i === 40 ? "high" : [23, 71, 89].includes(i) ? "medium" : [30, 88, 87].includes(i) ? "low" : "healthy";
    const title = { high: "PostgreSQL does not answer", medium: "The language model does not answer", low: "The newest backup is old" }[worst];
    return { date, worst, seen_seconds: worst === "none" ? 0 : 86400, problems: title ? [{ code: `p${i}`, title, severity: worst, failing_since: `${date}T08:12:00Z`, cleared_at: i === 89 ? null : `${date}T08:31:00Z` }] : [] };
  });
}
