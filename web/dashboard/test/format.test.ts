// Numbers, sizes and spans as people read them.
import assert from "node:assert/strict";
import test from "node:test";
import { bytes, count, decimal, ms, percent, plural, seconds, share, short } from "../src/core/format.ts";

const cases = <T>(of: (value: T) => string, table: readonly (readonly [T, string])[]) => {
  for (const [value, want] of table) assert.equal(of(value), want, String(value));
};

test("counts are grouped", () => {
  cases(count, [[0, "0"], [999, "999"], [1_284_312, "1,284,312"], [-1200, "-1,200"]]);
  assert.equal(count(null), "–");
  assert.equal(count(undefined), "–");
  cases(short, [[9_999, "9,999"], [12_345, "12.3K"], [1_284_312, "1.3M"]]);
  assert.equal(plural(1, "job"), "1 job");
  assert.equal(plural(0, "job"), "0 jobs");
  assert.equal(plural(2, "copy", "copies"), "2 copies");
});

test("decimals have the digits they deserve", () => {
  cases(decimal, [[0, "0"], [0.001, "0"], [0.25, "0.25"], [3.14159, "3.14"], [3.2, "3.2"], [12.04, "12"], [41.5, "41.5"], [921.4, "921"], [12, "12"]]);
});

test("sizes are in powers of 1024", () => {
  cases(bytes, [[0, "0 B"], [1023, "1023 B"], [1024, "1.0 KiB"], [1536, "1.5 KiB"], [200 * 2 ** 20, "200 MiB"], [18.4 * 2 ** 30, "18.4 GiB"], [2 ** 60, "1024 PiB"]]);
  assert.equal(bytes(null), "–");
});

test("times of work go from tenths of milliseconds to days", () => {
  cases(ms, [[0, "0 ms"], [0.42, "0.4 ms"], [84.4, "84 ms"], [999, "999 ms"], [1210, "1.2 s"], [55_000, "55 s"], [125_000, "2 min 5 s"]]);
  cases(seconds, [[0, "0 s"], [59.6, "1 min"], [61, "1 min 1 s"], [3600, "1 h"], [3601, "1 h"], [277_200, "3 d 5 h"], [-5, "0 s"]]);
});

test("nearly everything is not everything", () => {
  cases(percent, [[0, "0 %"], [0.5, "50 %"], [0.987, "98.7 %"], [0.99987, "99.98 %"], [0.999999, "99.99 %"], [1, "100 %"]]);
});

test("shares stay between nothing and all", () => {
  assert.equal(share(5, 10), 0.5);
  assert.equal(share(15, 10), 1);
  assert.equal(share(5, 0), 0);
  assert.equal(share(null, 10), 0);
});
