import assert from "node:assert/strict";
import test from "node:test";
import { fetchTicket, TicketRefused } from "../index.js";

function answering(status: number, body: string, headers: Record<string, string> = {}) {
  const calls: { url: string; init: RequestInit | undefined }[] = [];
  const fetch = (url: unknown, init?: RequestInit) => {
    calls.push({ url: String(url), init });
    return Promise.resolve(new Response(body, { status, headers }));
  };
  return { calls, fetch: fetch as typeof globalThis.fetch };
}

test("a ticket is asked for with the access token", async () => {
  const { calls, fetch } = answering(201, '{"ticket":"abc","expires_in":30}');
  assert.equal(await fetchTicket("https://api.example.com/", "secret", fetch), "abc");
  assert.equal(calls[0]?.url, "https://api.example.com/api/v1/realtime/ticket/");
  assert.equal(calls[0]?.init?.method, "POST");
  assert.deepEqual(calls[0]?.init?.headers, { Authorization: "Bearer secret" });
});

test("a refusal tells its status and when to return", async () => {
  for (const [status, headers, wait] of [
    [401, {}, 0],
    [503, { "Retry-After": "7" }, 7000],
    [429, { "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT" }, 0],
  ] as const) {
    await assert.rejects(fetchTicket("https://x.example", "t", answering(status, "{}", headers).fetch), (error) => {
      assert.ok(error instanceof TicketRefused);
      assert.deepEqual([error.status, error.retryAfter], [status, wait]);
      return true;
    });
  }
});

test("an answer without a ticket is an error, not a ticket", async () => {
  for (const body of ["{}", "[]", '{"ticket":1}', "<html>"]) {
    await assert.rejects(fetchTicket("https://x.example", "t", answering(201, body).fetch), body);
  }
});
