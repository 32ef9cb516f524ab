// Moments as people read them.
import assert from "node:assert/strict";
import test from "node:test";
import { calendarDay, clock, exact, fromLocalInput, relative, toLocalInput } from "../src/core/times.ts";

const now = Date.parse("2026-11-27T12:00:00Z");
const away = (seconds: number) => relative(new Date(now + seconds * 1000).toISOString(), now);

test("how long ago, in the largest unit", () => {
  for (const [seconds, want] of [
    [0, "just now"], [-2, "just now"], [-5, "5 s ago"], [-59, "59 s ago"], [-60, "1 min ago"], [-3599, "59 min ago"], [-3600, "1 h ago"],
    [-86_400, "1 d ago"], [-29 * 86_400, "29 d ago"], [1, "now"], [90, "in 1 min"], [7200, "in 2 h"],
  ] as const) assert.equal(away(seconds), want, `${seconds}`);
});

test("what is long ago has a date", () => {
  assert.equal(relative("2026-03-05T12:00:00Z", now), "5 Mar");
  assert.equal(relative("2024-03-05T12:00:00Z", now), "5 Mar 2024");
});

test("what is unset or unreadable is said to be so", () => {
  assert.equal(relative(null, now), "never");
  assert.equal(relative("yesterday", now), "never");
  assert.equal(exact(null), "not yet");
  assert.match(exact("2026-11-27T12:00:00Z"), /2026/);
  assert.equal(clock("x"), "x");
  assert.match(clock("2026-11-27T12:34:56.078Z"), /^\d\d:\d\d:56\.078$/);
});

test("a calendar day has no zone", () => {
  assert.match(calendarDay("2026-11-27"), /^Fri,? 27 Nov$/);
  assert.equal(calendarDay("x"), "x");
});

test("a field of date and time gives back what it was given", () => {
  for (const text of ["2026-11-27T12:34:00Z", "2026-01-01T00:00:00Z", "2026-07-01T23:59:00Z"]) assert.equal(fromLocalInput(toLocalInput(text)), text);
  assert.equal(toLocalInput(undefined), "");
  assert.equal(toLocalInput("nonsense"), "");
  assert.equal(fromLocalInput(""), "");
  assert.equal(fromLocalInput("nonsense"), "");
});
