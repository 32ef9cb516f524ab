import assert from "node:assert/strict";
import test from "node:test";
import { decode } from "../events.js";
import { parse } from "../json.js";

test("parse loses no digit of an integer", () => {
  for (const [text, want] of [
    ["9007199254740991", 9007199254740991],
    ["9007199254740992", "9007199254740992"],
    ["-9223372036854775808", "-9223372036854775808"],
    ['{"n":382707615316054016}', { n: "382707615316054016" }],
    ["[1,382707615316054016,2]", [1, "382707615316054016", 2]],
    // Not integers: as JSON.parse has them.
    ["0.12345678901234567890", 0.12345678901234568],
    ["1.5e20", 1.5e20],
    ["1234567890123456789e2", 1234567890123456789e2],
    // Digits in strings stay what they are, whatever stands around them.
    ['{"a":"1234567890123456789","b\\"1234567890123456789":1}', { a: "1234567890123456789", 'b"1234567890123456789': 1 }],
    ['["\\\\",1234567890123456789]', ["\\", "1234567890123456789"]],
    ['"\\u0022,1234567890123456789"', '",1234567890123456789'],
  ] as const) {
    assert.deepEqual(parse(text), want, text);
  }
});

test("parse gives ids one type", () => {
  assert.deepEqual(parse('{"id":1,"user_id":17,"thread_id":null,"count":3,"paid":4,"sender":{"id":382707609385308160}}'), {
    id: "1",
    user_id: "17",
    thread_id: null,
    count: 3,
    paid: 4,
    sender: { id: "382707609385308160" },
  });
});

test("parse refuses what is no JSON", () => {
  for (const text of ["", "{", "{1234567890123456789:1}", "01234567890123456789", "[1234567890123456789"]) {
    assert.throws(() => parse(text), SyntaxError, text);
  }
});

test("parse takes long strings", () => {
  const long = "x".repeat(1 << 20) + "\\n".repeat(1 << 18);
  const value = parse(`{"text":"${long}","id":1234567890123456789}`) as { text: string; id: string };
  assert.equal(value.text.length, (1 << 20) + (1 << 18));
  assert.equal(value.id, "1234567890123456789");
});

test("decode knows the documented events", () => {
  const cases: [string, object][] = [
    [
      '{"type":"mentor.reply","task_id":"a-b","session_id":382707615316054016,"mode":"chat_mentor","reply":"Hi","position":"p1"}',
      { type: "mentor.reply", task_id: "a-b", session_id: "382707615316054016", mode: "chat_mentor", reply: "Hi" },
    ],
    ['{"type":"mentor.failed","task_id":"a-b","detail":"no"}', { type: "mentor.failed", task_id: "a-b", detail: "no" }],
    ['{"type":"session.revoked","session":"s"}', { type: "session.revoked", session: "s" }],
    [
      '{"type":"gift.received","id":1,"quantity":2}',
      { type: "gift.received", id: "1", data: { type: "gift.received", id: "1", quantity: 2 } },
    ],
    [
      '{"type":"presence","user_id":5,"thread_id":null,"status":"typing","timestamp":"2026-11-23T00:59:33Z"}',
      { type: "presence", user_id: "5", thread_id: null, status: "typing", timestamp: "2026-11-23T00:59:33Z" },
    ],
    // Members that are missing or wrong: nothing is claimed about them.
    [
      '{"type":"mentor.reply","task_id":"a-b"}',
      { type: "unknown", name: "mentor.reply", data: { type: "mentor.reply", task_id: "a-b" } },
    ],
    ['{"type":"unknown"}', { type: "unknown", name: "unknown", data: { type: "unknown" } }],
    ['{"type":"toString"}', { type: "unknown", name: "toString", data: { type: "toString" } }],
  ];
  for (const [text, want] of cases) {
    const frame = decode(parse(text));
    assert.ok(frame?.kind === "event", text);
    assert.deepEqual(frame.event, want, text);
  }
  for (const text of ["1", "null", "[]", "{}", '{"type":1}']) assert.equal(decode(parse(text)), undefined, text);
});
