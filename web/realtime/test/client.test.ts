// What a connection promises while it stands and when it comes back.
import assert from "node:assert/strict";
import test from "node:test";
import { connect } from "../index.js";
import { Rig, settle } from "./rig.js";

const gift = (id: number) => ({ type: "gift.received", id, position: `p${id}` });
const ids = (rig: Rig) => rig.told.map((told) => (typeof told === "object" && told.type === "gift.received" ? told.id : told));

test("it connects by ticket and delivers events in order", async () => {
  const rig = new Rig({ channels: ["post:17", "comment:3", "post:17"] });
  assert.equal(rig.connection.state, "connecting");
  await settle();
  const { url } = rig.socket;
  assert.equal(url.origin + url.pathname, "wss://api.example.com/ws");
  assert.deepEqual(Object.fromEntries(url.searchParams), { ticket: "t1", positions: "1", channels: "post:17,comment:3" });
  rig.socket.ack({ channels: ["user:5", "broadcast", "post:17"] });
  assert.deepEqual(rig.info, { transport: "websocket", channels: ["user:5", "broadcast", "post:17"] });
  rig.socket.frame(gift(1));
  rig.socket.frame({ type: "later", thing: 1, position: "p2" });
  rig.socket.frame({ type: "presence", user_id: 5, thread_id: null, status: "online", timestamp: "2026" });
  assert.deepEqual(
    rig.told.map((told) => (typeof told === "object" ? told.type : told)),
    ["gift.received", "unknown", "presence"],
  );
  assert.equal(rig.connection.position, "p2");
  assert.deepEqual(rig.states, ["connecting", "open"]);
});

test("it goes on where it was, with a new ticket", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.frame(gift(1));
  rig.socket.end(1011, "server error");
  assert.equal(rig.connection.state, "waiting");
  await rig.pass(500);
  assert.deepEqual(Object.fromEntries(rig.socket.url.searchParams), { ticket: "t2", positions: "1", since: "p1" });
  rig.socket.ack({ recovered: true, position: "p3" });
  rig.socket.frame(gift(2));
  rig.socket.frame(gift(3));
  assert.deepEqual(ids(rig), ["1", "recovered", "2", "3"]);
});

test("cut again before what it missed came, it asks for all of it once more", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.frame(gift(1));
  rig.socket.end();
  await rig.pass(500);
  rig.socket.ack({ recovered: true, position: "p9" });
  rig.socket.end();
  await rig.pass(1000);
  assert.equal(rig.socket.url.searchParams.get("since"), "p1");
});

test("it says when something is lost, before what comes next", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.end();
  await rig.pass(500);
  rig.socket.ack({ recovered: false, position: "p8" });
  assert.equal(rig.connection.position, "p8");
  rig.socket.frame(gift(9));
  assert.deepEqual(ids(rig), ["lost", "9"]);
});

test("a server without positions loses everything between two connections", async () => {
  const rig = new Rig();
  await settle();
  rig.socket.frame({ type: "ack", message: "connected" });
  rig.socket.end();
  await rig.pass(500);
  assert.equal(rig.socket.url.searchParams.has("since"), false);
  rig.socket.frame({ type: "ack", message: "connected" });
  assert.deepEqual(rig.told, ["lost"]);
});

test("it goes on from a stored position", async () => {
  const rig = new Rig({ since: "p7" });
  await settle();
  assert.equal(rig.socket.url.searchParams.get("since"), "p7");
  rig.socket.ack({ recovered: false });
  assert.deepEqual(rig.told, ["lost"]);
});

test("what an abandoned connection still says is not heard", async () => {
  const rig = new Rig();
  await rig.open();
  const old = rig.socket;
  const late = old.onmessage;
  rig.page.fire("online");
  await settle();
  assert.notEqual(rig.socket, old);
  assert.equal(old.closedWith, 1000);
  assert.equal(old.onmessage, null);
  late?.({ data: JSON.stringify(gift(1)) });
  assert.deepEqual(rig.told, []);
  assert.equal(rig.connection.position, "p0");
});

test("answers to pings and broken frames are no events", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.frame({ type: "ack", message: "ignored" });
  rig.socket.frame("{");
  rig.socket.frame("[]");
  rig.socket.onmessage?.({ data: new ArrayBuffer(1) });
  assert.deepEqual(rig.told, []);
  assert.equal(rig.connection.state, "open");
  assert.equal(rig.reported.length, 1);
});

test("an application that throws loses nothing", async () => {
  const seen: string[] = [];
  const rig = new Rig({
    onEvent: (event) => {
      seen.push(event.type);
      throw new Error("mine");
    },
    onState: () => {
      throw new Error("mine too");
    },
  });
  await rig.open();
  rig.socket.frame(gift(1));
  rig.socket.frame(gift(2));
  assert.deepEqual(seen, ["gift.received", "gift.received"]);
  assert.equal(rig.connection.position, "p2");
  assert.equal(rig.reported.length, 4);
});

test("a close leaves nothing behind, whenever it comes", async () => {
  for (const at of ["connecting", "open", "waiting", "paused"] as const) {
    const rig: Rig = new Rig({
      pauseWhenHidden: true,
      onState: (state) => {
        if (state === at) rig.connection.close();
      },
    });
    rig.page.isHidden = at === "paused";
    await settle();
    if (at === "open" || at === "waiting") rig.socket.ack();
    if (at === "waiting") rig.socket.end();
    await settle();
    assert.equal(rig.tickets, at === "connecting" || at === "paused" ? 0 : 1, at);
    assert.equal(rig.connection.state, "closed", at);
    assert.equal(rig.timers, 0, at);
    assert.equal(rig.page.count, 0, at);
    rig.connection.close();
    rig.connection.channels(["post:1"]);
    await rig.pass(600_000);
    assert.ok(rig.tickets <= 1, at);
  }
});

test("a close forgets what was about to happen", async () => {
  const rig = new Rig({ pauseWhenHidden: true });
  await rig.open();
  rig.page.isHidden = true;
  rig.page.fire("visibilitychange");
  rig.connection.channels(["post:1"]);
  rig.connection.close();
  assert.equal(rig.timers, 0);
  await rig.pass(60_000);
  assert.equal(rig.connection.state, "closed");
});

test("a close before the first attempt makes none", async () => {
  const rig = new Rig();
  rig.connection.close();
  await rig.pass(60_000);
  assert.equal(rig.tickets, 0);
  assert.deepEqual(rig.states, ["closed"]);
});

test("a ticket that comes after the close opens nothing", async () => {
  const rig = new Rig();
  await Promise.resolve();
  rig.connection.close();
  await rig.pass(60_000);
  assert.equal(rig.sockets.length, 0);
});

test("changes of the channels lead to one new connection, and none when nothing changed", async () => {
  const rig = new Rig({ channels: ["post:1"] });
  await rig.open();
  rig.socket.frame(gift(1));
  rig.connection.channels(["post:1"]);
  await rig.pass(1000);
  assert.equal(rig.sockets.length, 1);
  rig.connection.channels(["post:1", "post:2"]);
  rig.connection.channels(["post:2", "post:3"]);
  await rig.pass(100);
  assert.equal(rig.sockets.length, 2);
  const query = rig.socket.url.searchParams;
  assert.deepEqual([query.get("channels"), query.get("since")], ["post:2,post:3", "p1"]);
});

test("a reconnect for another reason takes the new channels along", async () => {
  const rig = new Rig();
  await rig.open();
  rig.connection.channels(["post:1"]);
  rig.page.fire("online");
  await settle();
  rig.socket.ack({ recovered: true });
  await rig.pass(1000);
  assert.equal(rig.sockets.length, 2);
  assert.equal(rig.socket.url.searchParams.get("channels"), "post:1");
});

test("channels changed while it waits are those of the next attempt", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.end(1012, "service restart");
  rig.connection.channels(["post:2"]);
  await rig.pass(4_999);
  assert.equal(rig.sockets.length, 1, "it comes back no earlier for it");
  await rig.pass(1);
  assert.equal(rig.socket.url.searchParams.get("channels"), "post:2");
});

test("wrong options are refused at once", () => {
  const options = { url: "https://x.example", ticket: () => Promise.resolve("t"), onEvent: () => undefined };
  assert.throws(() => connect({ ...options, url: "x.example" }), TypeError);
  assert.throws(() => connect({ ...options, url: "ftp://x.example" }), TypeError);
  assert.throws(() => connect({ ...options, environment: { WebSocket: undefined, EventSource: undefined } }), TypeError);
  const many = Array.from({ length: 21 }, (_, i) => `post:${i}` as const);
  assert.throws(() => connect({ ...options, channels: many, environment: { WebSocket: class {} as never } }), RangeError);
});

test("a path before the API is kept", async () => {
  const rig = new Rig({ url: "http://127.0.0.1:8000/selflink/?x#y" });
  await settle();
  assert.equal(rig.socket.url.href.split("?")[0], "ws://127.0.0.1:8000/selflink/ws");
});
