// The rules of the pages about files, searches and payments.
import assert from "node:assert/strict";
import test from "node:test";
import { digits, money } from "../src/core/money.ts";
import { paid, states, total } from "../src/core/services.ts";
import type { Day } from "../src/core/services-shapes.ts";

test("amounts have the digits of their currency", () => {
  assert.equal(money(123456, "EUR"), "1,234.56 EUR");
  assert.equal(money(5, "usd"), "0.05 USD");
  assert.equal(money(1500, "JPY"), "1,500 JPY");
  assert.equal(money(1500, "KWD"), "1.500 KWD");
  assert.equal(money(100, "SLC"), "1.00 SLC", "our own coins have cents");
  assert.equal(money(100, ""), "1.00");
  assert.equal(money(100, "no such"), "1.00 NO SUCH");
  assert.equal(money(null, "EUR"), "–");
  assert.equal(money(-250, "EUR"), "-2.50 EUR");
  assert.equal(digits("JPY"), 0);
});

const day: Day = {
  checkouts: [
    { status: "failed", currency: "EUR", checkouts: 1, amount_cents: 100 },
    { status: "paid", currency: "EUR", checkouts: 2, amount_cents: 1500 },
    { status: "paid", currency: "JPY", checkouts: 3, amount_cents: 900 },
    { status: "odd", currency: "EUR", checkouts: 1, amount_cents: 1 },
  ],
  events: [],
};

test("a day is told by state and currency, never across currencies", () => {
  assert.deepEqual(paid(day), { sum: "5 checkouts", note: "15.00 EUR, 900 JPY" });
  assert.deepEqual(paid({ ...day, checkouts: day.checkouts.slice(0, 2) }), { sum: "15.00 EUR", note: "2 checkouts" });
  assert.deepEqual(paid({ checkouts: [], events: [] }), { sum: "nothing", note: "0 checkouts" });
  assert.deepEqual(paid(null), { sum: "not told", note: "" });
  assert.deepEqual(states(day), [
    { status: "paid", checkouts: 5, amounts: "15.00 EUR, 900 JPY" },
    { status: "failed", checkouts: 1, amounts: "1.00 EUR" },
    { status: "odd", checkouts: 1, amounts: "0.01 EUR" },
  ]);
});

test("a tally adds up", () => {
  const tally = [{ name: "taken", count: 5, last_at: "" }, { name: "type", count: 2, last_at: "" }];
  assert.equal(total(tally), 7);
  assert.equal(total(tally, ["taken"]), 2);
  assert.equal(total([]), 0);
});
