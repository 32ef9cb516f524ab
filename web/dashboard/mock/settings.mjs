import { ago } from "./chance.mjs";
const fire = (h, outcome, more = {}) => ({ fire_at: ago(h * 3600), outcome, node: "node-1", started_at: outcome === "missed" ? null : ago(h * 3600 - 1), finished_at: outcome === "succeeded" || outcome === "failed" ? ago(h * 3600 - 3) : null, duration_ms: outcome === "missed" ? null : 2140, error: outcome === "failed" ? "smtp: 452 4.2.2 mailbox full" : null, ...more });
const items = [["mentor.daily-journal", "0 6 * * *", 3], ["media.sweep", "30 3 * * *", 5], ["search.reindex", "0 4 * * 0", 50], ["payments.reconcile", "*/15 * * * *", 0.1], ["mail.digest", "0 8 * * 1-5", 14], ["backup.nightly", "0 2 * * *", 7]].map(([name, cron, h], i) => ({ name, cron, next_at: i === 3 ? null : ago(-3600 * (i + 0.4)), paused: i === 3, paused_by: i === 3 ? "Olga Operator" : null, running: i === 1, last: i === 2 ? null : fire(h, i === 4 ? "failed" : i === 1 ? "running" : "succeeded"), last_success_at: i === 2 ? null : ago(h * 3600 + (i === 4 ? 86400 : 0)), missed_30d: i === 0 ? 2 : 0, failed_30d: i === 4 ? 5 : 0 }));
export const schedules = () => ({ items });
schedules.pause = (name, paused) => {
  const s = items.find((x) => x.name === name);
  return s && Object.assign(s, { paused, paused_by: paused ? "Olga Operator" : null });
};
export const firings = () => Array.from({ length: 70 }, (_, i) => fire(i * 24 + 3, i === 4 ? "missed" : i % 11 === 7 ? "failed" : "succeeded"));
const s = (key, value, source, meaning, more = {}) => ({ key, value, source, default: source === "default" ? value : "", secret: false, meaning, ...more });
export const settings = () => ({
  groups: [
    { title: "Server", settings: [s("SELFLINK_LISTEN", "127.0.0.1:8000", "environment", "Address that HTTP is served on.", { default: "127.0.0.1:8000" }), s("SELFLINK_PUBLIC_URL", "https://club.example.org", "env file", "What people type to come here. Links in mails begin with it."), s("SELFLINK_LOG_LEVEL", "info", "default", "The least level that is logged.")] },
    { title: "Secrets", settings: [s("SECRET_KEY", "••••", "generated", "Signs tokens. Changing it signs everybody out.", { secret: true }), s("STRIPE_WEBHOOK_SECRET", "", "default", "Checks that events are Stripe's. Empty: the webhook refuses all.", { secret: true })] },
    { title: "Mentor", settings: [s("MENTOR_LLM_BASE_URL", "http://127.0.0.1:11434", "env file", "Where the language model answers."), s("MENTOR_LLM_MODEL", "llama3.1:8b", "flag", "Which model answers.", { default: "llama3" })] },
  ],
  notes: [{ key: "CELERY_BROKER_URL", text: "is not read any more: jobs have no broker of their own." }],
});
export const checklist = () => [
  { code: "public-url", title: "The public address is set", state: "ok", severity: "high", text: "https://club.example.org", impact: "", remedy: "" },
  { code: "mail", title: "Mail can be sent", state: "fault", severity: "high", text: "EMAIL_HOST is empty.", impact: "Nobody can confirm an address or reset a password.", remedy: "Set EMAIL_HOST, EMAIL_HOST_USER and EMAIL_HOST_PASSWORD, then run: selflink doctor --fix" },
  { code: "backup", title: "Backups are made and verified", state: "fault", severity: "medium", text: "The newest verified backup is 9 days old.", impact: "After the loss of this disk, nine days would be gone.", remedy: "Make one now: selflink backup --verify" },
  { code: "tls", title: "HTTPS is in front", state: "ok", severity: "high", text: "", impact: "", remedy: "" },
];
