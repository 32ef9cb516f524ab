// The address of every view.
import assert from "node:assert/strict";
import test from "node:test";
import { jobFilter, bulkActs, inWords } from "../src/core/jobfilter.ts";
import { filled, href, parse, sameQuery } from "../src/core/route.ts";

test("an empty address is the overview", () => {
  for (const hash of ["", "#", "#/", "#//"]) assert.deepEqual(parse(hash), { page: "overview", rest: [], query: {} }, hash);
});

test("a place is a path and filters", () => {
  assert.deepEqual(parse("#/jobs/8f3a?state=dead&error=a%20b&kind="), { page: "jobs", rest: ["8f3a"], query: { state: "dead", error: "a b" } });
  assert.deepEqual(parse("#/schedules/mail%2Fdigest"), { page: "schedules", rest: ["mail/digest"], query: {} });
});

test("a malformed escape stands for itself", () => {
  assert.deepEqual(parse("#/jobs/%zz").rest, ["%zz"]);
});

test("what href wrote, parse reads", () => {
  for (const [path, query] of [
    [["jobs"], { state: "dead", error: "connect: refused & more? 100%" }],
    [["jobs", "a/b c"], {}],
    [["people"], { q: "Petrović" }],
  ] as const) {
    const route = parse(href(path, query));
    assert.deepEqual([route.page, ...route.rest], path);
    assert.deepEqual(route.query, query);
  }
  assert.equal(href(["jobs"], { state: "" }), "#/jobs");
});

test("empty filters mean no filter", () => {
  assert.deepEqual(filled({ a: "", b: undefined, c: "x" }), { c: "x" });
  assert.ok(sameQuery({ a: "" }, {}));
  assert.ok(!sameQuery({ a: "1" }, { a: "2" }));
});

test("a filter of jobs has nothing else of the address", () => {
  assert.deepEqual(jobFilter({ state: "dead", view: "errors", kind: "", cursor: "x" }), { state: "dead" });
  assert.equal(inWords({ state: "dead", kind: "mail.send", error: "timeout" }), "dead jobs of kind mail.send whose error contains “timeout”");
});

test("no act on all without a state", () => {
  assert.deepEqual(bulkActs(undefined), []);
  assert.deepEqual(bulkActs("dead"), ["retry", "delete"]);
  assert.deepEqual(bulkActs("succeeded"), ["delete"]);
});
