// What goes to the server, and what its failures say.
import assert from "node:assert/strict";
import test from "node:test";
import { Api, ApiError, aborted, failureOf } from "../src/core/api.ts";

interface Sent { url: string; init: RequestInit }

function rig(answer: () => Response | Promise<Response>) {
  const sent: Sent[] = [];
  let signedOut = 0;
  const api = new Api({
    base: "/dashboard/api/",
    fetch: async (url, init) => {
      sent.push({ url, init });
      return answer();
    },
    signedOut: () => signedOut++,
  });
  return { api, sent, signedOut: () => signedOut };
}
const json = (status: number, body: unknown, headers: Record<string, string> = {}) => new Response(JSON.stringify(body), { status, headers });

test("reading carries filters and no token", async () => {
  const { api, sent } = rig(() => json(200, { items: [] }));
  api.csrf = "secret";
  await api.get("jobs/list", { state: "dead", kind: "", cursor: undefined, error: "a&b" });
  assert.equal(sent[0]?.url, "/dashboard/api/jobs/list?state=dead&error=a%26b");
  assert.equal((sent[0]?.init.headers as Record<string, string>)["X-CSRF-Token"], undefined);
});

test("acting carries the token", async () => {
  const { api, sent } = rig(() => new Response(null, { status: 204 }));
  api.csrf = "secret";
  await api.post("queues/llm/pause");
  await api.delete("session");
  for (const { init } of sent) assert.equal((init.headers as Record<string, string>)["X-CSRF-Token"], "secret");
  assert.equal(sent[0]?.init.body, undefined);
});

test("an ended session is told once for each request", async () => {
  const { api, signedOut } = rig(() => json(401, { detail: "Sign in." }));
  await assert.rejects(api.get("jobs"), (error: ApiError) => error.status === 401 && error.message === "Sign in.");
  assert.equal(signedOut(), 1);
});

test("a server that is away is said to be", async () => {
  const { api } = rig(() => Promise.reject(new TypeError("Failed to fetch")));
  await assert.rejects(api.get("jobs"), (error: ApiError) => error.status === 0 && /does not answer/.test(error.message));
});

test("who gave up gets no error to show", async () => {
  const stop = new AbortController();
  const { api } = rig(() => Promise.reject(new DOMException("aborted", "AbortError")));
  stop.abort();
  await assert.rejects(api.get("jobs", {}, stop.signal), aborted);
});

test("an answer that is no JSON is a failure", async () => {
  const { api } = rig(() => new Response("<html>", { status: 200 }));
  await assert.rejects(api.get("jobs"), ApiError);
});

test("failures speak the server's words, or their own", async () => {
  assert.equal((await failureOf(json(409, { detail: "It runs already." }))).message, "It runs already.");
  const field = await failureOf(json(400, { password: ["Too short.", "Too common."], display_name: ["Needed."] }));
  assert.deepEqual(field.fields, { password: "Too short. Too common.", display_name: "Needed." });
  assert.equal(field.message, "password: Too short. Too common. display name: Needed.");
  assert.match((await failureOf(new Response("<html>", { status: 502 }))).message, /not ready/);
  assert.match((await failureOf(new Response("", { status: 500 }))).message, /500/);
  assert.equal((await failureOf(json(429, { detail: "Too many attempts." }, { "Retry-After": "30" }))).message, "Too many attempts. Try again in 30 s.");
  assert.equal((await failureOf(json(429, {}, { "Retry-After": "soon" }))).retryAfter, 0);
});
