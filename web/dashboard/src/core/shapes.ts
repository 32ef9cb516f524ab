// What the server sends: the shapes of the dashboard's API, and nothing else.
// Moments are RFC 3339 text, ids are text, sizes are bytes.

type Time = string;
type TimeOrNull = string | null;

/** A page of a list; next is null on the last one. */
export interface Page<T> { items: T[]; next: string | null }

// Session
export type Role = "user" | "viewer" | "operator";
export interface SignedIn {
  state: "signed_in";
  user: { id: string; email: string; name: string; role: Role };
  csrf: string; expires_at: Time; version: string; commit: string; node: string;
}
export type Session = SignedIn | { state: "signed_out"; first_run: boolean };

// Overview
export type Severity = "low" | "medium" | "high";
export type Worst = "healthy" | Severity;
export interface Verdict { state: "well" | "degraded" | "down"; text: string; problems?: number }
export interface Problem {
  code: string; title: string; severity: Severity; text: string; impact: string; remedy: string;
  required: boolean; failing_since: TimeOrNull; visible_since: TimeOrNull; effects: string[];
}
export type CheckState = "unknown" | "healthy" | "transient" | "hidden" | "problem";
export interface Check {
  code: string; title: string; state: CheckState; severity: Severity; text: string; impact: string; remedy: string;
  depends_on: string[]; hidden_behind: string; failing_since: TimeOrNull; asked_at: TimeOrNull;
}
export interface Component { name: string; worst: Worst; checks: Check[] }
export interface Process {
  name: string; parent: string; pid: number; version: string; uptime_seconds: number; restarts: number;
  memory_bytes: number; state: "running" | "restarting" | "external";
}
export interface Overview {
  verdict: Verdict; now: Time; node: string; version: string; commit: string; started_at: Time; uptime_seconds: number;
  problems: Problem[]; components: Component[]; processes: Process[]; cluster: { configured: number; connected: number };
}
export type Unit = "per_second" | "ms" | "seconds" | "bytes" | "count";
export interface Series { key: string; label: string; unit: Unit; points: (number | null)[] }
export type Range = "1h" | "24h" | "7d";
export interface Metrics { range: Range; step_seconds: number; start: Time; series: Series[] }
export interface Day {
  date: string; worst: Worst | "none"; seen_seconds: number;
  problems: { code: string; title: string; severity: Severity; failing_since: TimeOrNull; cleared_at: TimeOrNull }[];
}

// Jobs
export type JobState = "queued" | "scheduled" | "retrying" | "running" | "succeeded" | "dead" | "cancelled";
export interface Queue {
  name: string; concurrency: number; paused: boolean; paused_by: string | null; paused_at: TimeOrNull;
  waiting: number; running: number; scheduled: number; retrying: number; dead: number;
  oldest_seconds: number | null; done_per_minute: number; failed_per_minute: number;
}
export interface Jobs { queues: Queue[]; states: Record<JobState, number>; kinds: string[] }
export interface Job {
  id: string; kind: string; queue: string; state: JobState; priority: number; attempt: number; max_attempts: number;
  created_at: Time; run_at: TimeOrNull; started_at: TimeOrNull; finished_at: TimeOrNull; duration_ms: number | null;
  last_error: string | null;
}
export interface JobDetail extends Job {
  args: unknown; result: unknown; unique_key: string | null; request_id: string | null; node: string | null;
  failures: { attempt: number; at: Time; error: string; duration_ms: number | null }[];
  timeline: { at: Time; what: string; text: string }[];
  can: { retry: boolean; cancel: boolean; delete: boolean };
}
export interface ErrorGroup { kind: string; error: string; count: number; first_at: Time; last_at: Time; sample_id: string }
export interface Bulk { matching: number; done: number; more: boolean }

// Schedules
export interface Firing {
  fire_at: Time; outcome: "running" | "succeeded" | "failed" | "missed"; node: string | null; started_at: TimeOrNull;
  finished_at: TimeOrNull; duration_ms: number | null; error: string | null;
}
export interface Schedule {
  name: string; cron: string; next_at: TimeOrNull; paused: boolean; paused_by: string | null; running: boolean;
  last: Firing | null; last_success_at: TimeOrNull; missed_30d: number; failed_30d: number;
}

// Realtime
export interface Realtime {
  totals: { websockets: number; streams: number; users: number; limit: number };
  nodes: { node: string; websockets: number; streams: number; users: number; waiting_bytes: number }[];
  channels: { channel: string; subscribers: number; events_per_minute: number }[];
  counters: {
    opened: number; cut: Record<string, number>; recovered: number; unrecovered: number;
    deliveries: number; deliveries_per_second: number;
  };
}
export interface Connection {
  id: string; node: string; transport: "websocket" | "stream"; user_id: string; opened_at: Time; channels: number;
  waiting_bytes: number;
}

// Database
export interface Database {
  managed: boolean;
  postgres: {
    version: string; started_at: TimeOrNull; size_bytes: number; cache_hit_ratio: number | null; connections: number;
    max_connections: number; longest_transaction_seconds: number | null; commits_per_second: number | null;
  };
  pooler: null | {
    version: string;
    pools: {
      database: string; user: string; mode: string; clients_active: number; clients_waiting: number;
      servers_active: number; servers_idle: number; servers_used: number; max_wait_ms: number;
    }[];
  };
  pools: { name: string; max: number; in_use: number; idle: number; waits: number; mean_wait_ms: number | null }[];
  locks: { pid: number; blocked_by: number[]; mode: string; relation: string | null; seconds: number; query: string }[];
  tables: {
    name: string; rows: number; bytes: number; dead_rows: number; last_autovacuum: TimeOrNull; last_autoanalyze: TimeOrNull;
  }[];
  migrations: { current: number; latest: number; items: { version: number; name: string; applied_at: TimeOrNull }[] };
  statements: null | { query: string; calls: number; mean_ms: number; total_ms: number; rows: number }[];
}

// Broker
export interface Consumer {
  name: string; pending: number; ack_pending: number; redelivered: number; last_delivered_at: TimeOrNull;
}
export interface Stream {
  name: string; subjects: string[]; storage: "memory" | "file"; replicas: number; messages: number; bytes: number;
  max_bytes: number; max_age_seconds: number; discard: "old" | "new"; sync_seconds: number;
  lost_if_power_fails: string; consumers: Consumer[];
}
export interface Broker {
  node: string; version: string; peers: { connected: number; configured: number };
  memory: { used_bytes: number; limit_bytes: number }; disk: { used_bytes: number; limit_bytes: number };
  streams: Stream[]; buckets: Stream[];
}
export interface Message {
  sequence: number; subject: string; at: Time; bytes: number; headers: Record<string, string[]>; data: string;
  encoding: "text" | "base64"; truncated: boolean;
}

// Mentor
export interface Mentor {
  enabled: boolean; provider: string; model: string; endpoint: string;
  hour: {
    answers: number; failures: number; fallbacks: number; p50_ms: number | null; p95_ms: number | null;
    first_token_p50_ms: number | null; tokens_in: number; tokens_out: number;
  };
  total: { answers: number; failures: number; fallbacks: number; tokens_in: number; tokens_out: number };
  waiting_jobs: number; recent_failures: { at: Time; kind: string; error: string }[];
}
export interface MentorAnswer {
  answer: string; model: string; latency_ms: number; first_token_ms: number | null; tokens_in: number; tokens_out: number;
}

// Logs and requests
export type Level = "debug" | "info" | "warning" | "error";
export interface Line {
  id: string; at: Time; level: Level; component: string; message: string; request_id: string | null; job_id: string | null;
  user_id: string | null; fields: Record<string, unknown>;
}
export interface Lines extends Page<Line> { oldest_at: TimeOrNull; components: string[] }
export interface KeptRequest {
  id: string; at: Time; method: string; route: string; status: number; duration_ms: number; sql_ms: number | null;
  sql_count: number | null; user_id: string | null; client_ip: string; node: string; error: string | null; slow: boolean;
}
export interface ExplainEntry {
  at: Time; offset_ms: number; kind: "request" | "sql" | "job" | "attempt" | "event" | "log";
  level: "info" | "warning" | "error"; text: string; duration_ms: number | null; ref: string;
}
export interface Explain {
  id: string; kind: "request" | "job"; title: string; started_at: Time; duration_ms: number | null; entries: ExplainEntry[];
}

// People
export interface Person {
  id: string; email: string; name: string; handle: string | null; is_active: boolean; role: Role; created_at: Time;
  last_login: TimeOrNull;
}
export interface PersonDetail extends Person {
  sessions: { id: string; created_at: Time; expires_at: Time }[]; devices: number;
}
export interface AuditEntry {
  id: string; created_at: Time; actor_user: string | null; actor_name: string | null; actor_ip: string | null; action: string;
  object_type: string; object_id: string; metadata: Record<string, unknown>; hash_prev: string; hash_self: string;
}
export interface ChainCheck { checked: number; ok: boolean; first_bad: string | null; truncated: boolean }

// Settings
export interface Setting { key: string; value: string; source: string; default: string; secret: boolean; meaning: string }
export interface Settings {
  groups: { title: string; settings: Setting[] }[]; notes: { key: string; text: string }[];
}
export interface ChecklistItem {
  code: string; title: string; state: "ok" | "fault"; severity: Severity; text: string; impact: string; remedy: string;
}
