// The small rules of single pages.
import assert from "node:assert/strict";
import test from "node:test";
import { Keys, type Key } from "../src/core/keys.ts";
import { GROUPS, readings, span, times, writer } from "../src/core/metrics.ts";
import { hint } from "../src/core/password.ts";
import { split } from "../src/core/remedy.ts";
import { matching } from "../src/core/settings.ts";
import type { Explain, Line, Metrics, Settings } from "../src/core/shapes.ts";
import { ahead, behind, caughtUp, fieldsOf, MOST } from "../src/core/tail.ts";
import { chosen, keep } from "../src/core/theme.ts";
import { parse } from "../src/core/json.ts";
import { bar, whole } from "../src/core/waterfall.ts";

test("g and a letter go to a page", () => {
  const keys = new Keys();
  const press = (key: string, at = 0, more: Partial<Key> = {}) => keys.press({ key, ctrlKey: false, metaKey: false, altKey: false, writing: false, at, ...more });
  assert.equal(press("g"), null);
  assert.deepEqual(press("j", 100), { go: "jobs" });
  assert.equal(press("j", 200), null);
  press("g", 300);
  assert.equal(press("j", 5000), null, "too late");
  press("g", 6000, { writing: true });
  assert.equal(press("j", 6001), null, "writing is not asking");
  assert.equal(press("g", 7000, { ctrlKey: true }), null);
  press("g", 8000);
  assert.equal(press("x", 8001), null);
  assert.deepEqual(press("?"), { act: "help" });
  assert.deepEqual(press("/"), { act: "filter" });
});

test("the command of a remedy is found", () => {
  for (const [remedy, text, command] of [
    ["Look at its log. Run: systemctl restart ollama", "Look at its log. Run:", "systemctl restart ollama"],
    ["Make one now: selflink backup --verify", "Make one now:", "selflink backup --verify"],
    ["Run `selflink doctor --fix` as root.", "Run selflink doctor --fix as root.", "selflink doctor --fix"],
    ["Run selflink migrate.", "Run", "selflink migrate"],
    ["Free some space on the disk.", "Free some space on the disk.", ""],
    ["", "", ""],
  ] as const) assert.deepEqual(split(remedy), { text, command }, remedy);
});

const metrics: Metrics = {
  range: "1h", step_seconds: 20, start: "2026-11-27T12:00:00Z",
  series: [{ key: "p50_ms", label: "P50", unit: "ms", points: [3, null, 5, null] }, { key: "sockets", label: "Sockets", unit: "count", points: [null, null, null, null] }],
};

test("a chart knows its last value, its range and its times", () => {
  const [reading] = readings(metrics, ["p50_ms", "p95_ms"]);
  assert.deepEqual(reading, { label: "p50", points: [3, null, 5, null], last: 5, low: 3, high: 5 });
  assert.equal(readings(metrics, ["p95_ms"]).length, 0);
  assert.deepEqual(readings(metrics, ["sockets"])[0]?.last, null);
  const at = times(metrics);
  assert.equal(at.length, 4);
  assert.equal((at[3] ?? 0) - (at[0] ?? 0), 60);
  assert.deepEqual(times({ ...metrics, start: "" }), []);
  assert.equal(span([0, 3600]), "last hour");
  assert.equal(span([0, 7 * 86_400]), "last 7 days");
  for (const group of GROUPS) assert.equal(typeof writer(group.unit)(1.5), "string");
});

test("lines come once, newest first, and not without end", () => {
  const line = (id: number): Line => ({ id: String(id), at: "", level: "info", component: "http", message: "", request_id: null, job_id: null, user_id: null, fields: {} });
  let lines: readonly Line[] = [];
  for (let i = 0; i < MOST + 10; i++) lines = ahead(lines, line(i));
  assert.equal(lines.length, MOST);
  assert.equal(lines[0]?.id, String(MOST + 9));
  assert.equal(ahead(lines, line(MOST + 9)), lines);
  assert.deepEqual(behind([line(3), line(2)], [line(2), line(1)]).map((l) => l.id), ["3", "2", "1"]);
  assert.equal(fieldsOf({ ...line(1), fields: { route: "/a", status: 200, tags: ["x"] } }), 'route=/a status=200 tags=["x"]');
});

test("after a return the lines are whole, or begin anew", () => {
  const line = (id: number): Line => ({ id: String(id), at: new Date(id * 1000).toISOString(), level: "info", component: "http", message: "", request_id: null, job_id: null, user_id: null, fields: {} });
  const ids = (lines: readonly Line[]) => lines.map((l) => l.id).join(" ");
  const fit = caughtUp([line(9), line(4), line(3)], [line(8), line(6), line(4)]);
  assert.equal(ids(fit.lines), "9 8 6 4 3");
  assert.ok(fit.whole);
  const hole = caughtUp([line(2), line(1)], [line(8), line(7)]);
  assert.equal(ids(hole.lines), "8 7");
  assert.ok(!hole.whole);
  assert.equal(ids(caughtUp([], [line(2)]).lines), "2");
  assert.equal(ids(caughtUp([line(2)], []).lines), "2");
});

test("bars stay inside their line and are always seen", () => {
  const explain = { duration_ms: 100, entries: [{ kind: "sql", offset_ms: 50, duration_ms: 150 }, { kind: "request", offset_ms: 200, duration_ms: 200 }] } as Explain;
  assert.equal(whole(explain), 200);
  assert.equal(whole({ ...explain, duration_ms: null, entries: [] }), 1);
  assert.deepEqual(bar(50, 150, 200), { x: 250, width: 750 });
  assert.deepEqual(bar(200, null, 200), { x: 994, width: 6 });
  assert.deepEqual(bar(-5, 1, 200), { x: 0, width: 6 });
});

test("settings are found by all words, and secrets not by their value", () => {
  const one = { key: "SECRET_KEY", value: "••••", source: "generated", default: "", secret: true, meaning: "Signs tokens." };
  const two = { key: "LOG_LEVEL", value: "info", source: "default", default: "info", secret: false, meaning: "The least level." };
  const settings: Settings = { groups: [{ title: "All", settings: [one, two] }], notes: [] };
  const found = (words: string, changed = false) => matching(settings, words, changed).flatMap((g) => g.settings.map((s) => s.key));
  assert.deepEqual(found(""), ["SECRET_KEY", "LOG_LEVEL"]);
  assert.deepEqual(found("level INFO"), ["LOG_LEVEL"]);
  assert.deepEqual(found("••••"), []);
  assert.deepEqual(found("", true), ["SECRET_KEY"]);
  assert.deepEqual(found("nothing"), []);
});

test("a password is judged by its length in characters", () => {
  assert.equal(hint("").ok, false);
  assert.match(hint("short").text, /^3 more characters/);
  assert.match(hint("1234567").text, /^1 more character,/);
  assert.equal(hint("aaaaaaaaaaaa").ok, false);
  assert.equal(hint("😀😁😂🤣").ok, false);
  assert.equal(hint("correct horse").ok, true);
});

test("a theme is kept where storage is allowed", () => {
  const kept = new Map<string, string>();
  const storage = { getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v), removeItem: (k: string) => void kept.delete(k) };
  assert.equal(chosen(storage), "system");
  keep("dark", storage);
  assert.equal(chosen(storage), "dark");
  keep("system", storage);
  assert.equal(kept.size, 0);
  const forbidden = { getItem: () => { throw new Error("no"); }, setItem: () => { throw new Error("no"); }, removeItem: () => { throw new Error("no"); } };
  assert.equal(chosen(forbidden), "system");
  keep("light", forbidden);
});

test("ids in answers keep all their digits", () => {
  assert.deepEqual(parse('{"id":384487240039927809,"n":12,"f":0.12345678901234567,"s":"384487240039927809 \\" 1"}'), {
    id: "384487240039927809", n: 12, f: 0.12345678901234567, s: '384487240039927809 " 1',
  });
  assert.throws(() => parse('{"id":384487240039927809'));
});
