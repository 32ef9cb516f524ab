// When a connection comes back, by which transport, and when it does not.
import assert from "node:assert/strict";
import test from "node:test";
import { TicketRefused } from "../index.js";
import { afterClose, backOff } from "../retry.js";
import { Rig, settle } from "./rig.js";

test("the back-off doubles up to its cap and is random in all of its length", () => {
  const limits = Array.from({ length: 9 }, (_, failed) => backOff(failed, () => 1));
  assert.deepEqual(limits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
  assert.equal(backOff(5000, () => 1), 30000);
  assert.equal(backOff(3, () => 0), 0);
  assert.equal(backOff(3, () => 0.25), 1000);
});

test("each close code has its wait", () => {
  for (const [code, least, most] of [
    [1000, 0, 500],
    [1001, 0, 500],
    [1006, 0, 500],
    [1008, 10_000, 10_500],
    [1011, 0, 500],
    [1012, 0, 5_000],
    [1013, 0, 500],
    [4401, 0, 500],
  ] as const) {
    assert.deepEqual(afterClose(code, "", 0, () => 0), { after: least }, `${code}`);
    assert.deepEqual(afterClose(code, "", 0, () => 1), { after: most }, `${code}`);
  }
  for (const code of [1002, 1007, 1009]) assert.ok("giveUp" in afterClose(code, "why", 0, () => 0), `${code}`);
});

test("attempts that fail come at growing distances", async () => {
  const rig = new Rig({ transport: "websocket" });
  await settle();
  for (const wait of [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]) {
    rig.socket.end();
    assert.equal(rig.info.retryIn, wait);
    await rig.pass(wait);
    assert.equal(rig.connection.state, "connecting");
  }
  assert.equal(rig.tickets, 9);
});

test("only a connection that lasted starts the back-off anew", async () => {
  const rig = new Rig();
  for (const wait of [500, 1000, 2000]) {
    await rig.open();
    await rig.pass(9_999);
    rig.socket.end(1011);
    assert.equal(rig.info.retryIn, wait);
    await rig.pass(wait);
  }
  await rig.open();
  await rig.pass(10_000);
  rig.socket.end(1011);
  assert.equal(rig.info.retryIn, 500);
});

test("a client that is not understood gives up", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.end(1009, "frame too big");
  assert.equal(rig.connection.state, "failed");
  assert.match(String(rig.info.error), /1009 frame too big/);
  assert.equal(rig.timers, 0);
  await rig.pass(600_000);
  assert.equal(rig.tickets, 1);
});

test("after 4401 a new ticket decides", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.end(4401, "auth_failed");
  assert.equal(rig.connection.state, "waiting");
  await rig.pass(500);
  assert.equal(rig.socket.url.searchParams.get("ticket"), "t2");
  rig.socket.ack({ recovered: true });
  assert.equal(rig.connection.state, "open");

  rig.socket.end(4401, "auth_failed");
  rig.ticket = () => Promise.reject(new TicketRefused(401));
  await rig.pass(1000);
  assert.equal(rig.connection.state, "signed-out");
  assert.ok(rig.info.error instanceof TicketRefused);
  assert.equal(rig.timers + rig.page.count, 0);
  await rig.pass(600_000);
  assert.equal(rig.tickets, 3);
});

test("any other refusal of a ticket is tried again, as late as the server asks", async () => {
  const rig = new Rig();
  rig.ticket = () => Promise.reject(new TicketRefused(503, 7000));
  await settle();
  assert.equal(rig.info.retryIn, 7500);
  rig.ticket = () => Promise.reject(new TypeError("fetch failed"));
  await rig.pass(7500);
  assert.equal(rig.info.retryIn, 1000);
  rig.ticket = () => {
    throw new Error("not even a promise");
  };
  await rig.pass(1000);
  assert.equal(rig.info.retryIn, 2000);
  rig.ticket = () => Promise.resolve("good");
  await rig.pass(2000);
  rig.socket.ack();
  assert.equal(rig.connection.state, "open");
  assert.equal(rig.sources.length, 0, "no transport was to blame");
});

test("a ticket that never comes and a connection that never opens have limits", async () => {
  const rig = new Rig();
  rig.ticket = () => new Promise(() => undefined);
  await rig.pass(20_000);
  assert.equal(rig.connection.state, "waiting");
  rig.ticket = () => Promise.resolve("good");
  await rig.pass(500);
  assert.equal(rig.connection.state, "connecting");
  await rig.pass(15_000);
  assert.equal(rig.connection.state, "waiting");
  assert.equal(rig.socket.closedWith, 1000);
});

test("the server is pinged, and silence is death", async () => {
  const rig = new Rig();
  await rig.open();
  await rig.pass(25_000);
  assert.deepEqual(rig.socket.sent, ['{"type":"ping"}']);
  rig.socket.frame({ type: "ack", message: "ignored" });
  await rig.pass(59_999);
  assert.equal(rig.connection.state, "open");
  assert.equal(rig.socket.sent.length, 3);
  await rig.pass(1);
  assert.equal(rig.connection.state, "waiting");
  assert.match(String(rig.info.error), /silent/);
});

test("a page whose timers are late is not dead", async () => {
  const rig = new Rig();
  await rig.open();
  for (let minute = 0; minute < 5; minute++) {
    rig.sleep(60_000); // every timer is late
    await rig.pass(0);
    assert.equal(rig.connection.state, "open");
    rig.socket.frame({ type: "ack", message: "ignored" });
  }
  rig.sleep(60_000);
  await rig.pass(0);
  rig.sleep(60_000); // asked a minute ago, and no answer
  await rig.pass(0);
  assert.equal(rig.connection.state, "waiting");
});

test("a clock that is set back does not make a dead connection immortal", async () => {
  const rig = new Rig();
  await rig.open();
  await rig.pass(1_000);
  rig.skew = -3_600_000;
  await rig.pass(130_000);
  assert.equal(rig.sockets.length > 1, true);
});

test("WebSocket that fails to open twice in a row leaves it to server-sent events", async () => {
  const rig = new Rig({ channels: ["post:1"], since: "p4" });
  await rig.fallBack();
  const { url } = rig.source;
  assert.equal(url.origin + url.pathname, "https://api.example.com/api/v1/events/stream/");
  assert.deepEqual(Object.fromEntries(url.searchParams), { ticket: "t3", positions: "1", channels: "post:1", since: "p4" });
  rig.source.ack({ recovered: true }, "p9");
  assert.deepEqual([rig.connection.state, rig.info.transport], ["open", "sse"]);
  rig.source.frame({ type: "presence", user_id: 1, thread_id: null, status: "online", timestamp: "" }, "p9");
  assert.equal(rig.connection.position, "p4", "an id that is not the event's own is no position");
  rig.source.frame({ type: "gift.received", id: 5 }, "p5");
  assert.equal(rig.connection.position, "p5");
});

test("a stream that ends is opened anew with a new ticket, never by the browser", async () => {
  const rig = new Rig();
  await rig.fallBack();
  rig.source.ack();
  rig.source.frame({ type: "gift.received", id: 5 }, "p5");
  const old = rig.source;
  old.end();
  assert.ok(old.closed);
  await rig.pass(rig.info.retryIn ?? 0);
  assert.equal(rig.sources.length, 2);
  assert.deepEqual([rig.source.url.searchParams.get("since"), rig.source.url.searchParams.get("ticket")], ["p5", "t4"]);
});

test("a stream may say why it ends", async () => {
  const rig = new Rig();
  await rig.fallBack();
  rig.source.ack();
  rig.source.endWith('{"code":1012,"reason":"service restart"}');
  assert.equal(rig.info.retryIn, 5000);
  await rig.pass(5000);
  rig.source.ack();
  rig.source.endWith("what?");
  assert.equal(rig.connection.state, "waiting");
  await rig.pass(rig.info.retryIn ?? 0);
  rig.source.ack();
  rig.source.endWith('{"code":1009,"reason":"frame too big"}');
  assert.equal(rig.connection.state, "failed");
});

test("a stream that does not beat is dead, and its beats keep the position young", async () => {
  const rig = new Rig();
  await rig.fallBack();
  rig.source.ack();
  await rig.pass(80_000);
  rig.source.ping("p7");
  await rig.pass(89_999);
  assert.equal(rig.connection.state, "open");
  assert.equal(rig.connection.position, "p7");
  await rig.pass(1);
  assert.equal(rig.connection.state, "waiting");
  assert.match(String(rig.info.error), /silent/);
});

test("the answer to a ping keeps the position young", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.frame({ type: "ack", message: "ignored", position: "p9" });
  assert.equal(rig.connection.position, "p9");
});

test("WebSocket gets another chance five minutes later", async () => {
  const rig = new Rig();
  await rig.fallBack();
  rig.source.ack();
  rig.source.frame({ type: "gift.received", id: 5 }, "p5");
  for (let beats = 0; beats < 14; beats++) {
    await rig.pass(20_000);
    rig.source.ping("p5");
  }
  await rig.pass(19_000);
  rig.source.end();
  await rig.pass(2000);
  assert.equal(rig.sockets.length, 3);
  assert.equal(rig.socket.url.searchParams.get("since"), "p5");
  rig.socket.end();
  await rig.pass(4000);
  assert.deepEqual([rig.sockets.length, rig.sources.length], [3, 2], "one failure is enough this time");
  rig.source.ack({ recovered: true });
  for (let beats = 0; beats < 15; beats++) {
    await rig.pass(20_000);
    rig.source.ping("p5");
  }
  rig.source.end();
  await rig.pass(rig.info.retryIn ?? 0);
  assert.equal(rig.sockets.length, 4);
  rig.socket.ack({ recovered: true });
  for (const sockets of [5, 6]) {
    rig.socket.end();
    await rig.pass(rig.info.retryIn ?? 0);
    assert.deepEqual([rig.sockets.length, rig.sources.length], [sockets, 2], "WebSocket is as good as before");
  }
});

test("when neither opens, both are tried in turn", async () => {
  const rig = new Rig();
  await rig.fallBack();
  for (const [sockets, sources] of [
    [3, 1],
    [3, 2],
    [4, 2],
    [4, 3],
  ]) {
    if (rig.info.transport === "sse") rig.source.end();
    else rig.socket.end();
    await rig.pass(rig.info.retryIn ?? 0);
    assert.deepEqual([rig.sockets.length, rig.sources.length], [sockets, sources]);
  }
});

test("a server that closes with a word is no reason to leave WebSocket", async () => {
  const rig = new Rig();
  await settle();
  for (let i = 0; i < 4; i++) {
    rig.socket.end(1012, "service restart");
    await rig.pass(5000);
  }
  assert.deepEqual([rig.sockets.length, rig.sources.length], [5, 0]);
});

test("a transport that was asked for is kept", async () => {
  const sse = new Rig({ transport: "sse" });
  await settle();
  for (let i = 0; i < 3; i++) {
    sse.source.end();
    await sse.pass(sse.info.retryIn ?? 0);
  }
  assert.deepEqual([sse.sockets.length, sse.sources.length], [0, 4]);
  const without = new Rig({}, { WebSocket: undefined });
  await settle();
  assert.equal(without.sources.length, 1);
});

test("a WebSocket that can't even be made is one that fails to open", async () => {
  const rig = new Rig(
    {},
    {
      WebSocket: class {
        constructor() {
          throw new Error("mixed content");
        }
      } as never,
    },
  );
  await rig.pass(500 + 1000);
  assert.equal(rig.sources.length, 1);
});

test("a change of the network means at once", async () => {
  const rig = new Rig();
  await rig.open();
  rig.socket.frame({ type: "gift.received", id: 1, position: "p1" });
  rig.page.fire("offline");
  await settle();
  assert.equal(rig.sockets.length, 2);
  assert.equal(rig.socket.url.searchParams.get("since"), "p1");
  for (const wait of [500, 1000, 2000, 4000]) {
    rig.ticket = () => Promise.reject(new TypeError("fetch failed"));
    await rig.pass(wait);
    rig.socket.end();
  }
  assert.equal(rig.connection.state, "waiting");
  rig.ticket = () => Promise.resolve("good");
  rig.page.fire("online");
  await settle();
  assert.equal(rig.connection.state, "connecting");
  rig.socket.end();
  assert.equal(rig.info.retryIn, 500, "and the back-off begins anew");
});

test("a hidden page pauses when asked to, after a while", async () => {
  const rig = new Rig({ pauseWhenHidden: true });
  await rig.open();
  rig.socket.frame({ type: "gift.received", id: 1, position: "p1" });
  rig.page.isHidden = true;
  rig.page.fire("visibilitychange");
  await rig.pass(9_999);
  rig.page.isHidden = false;
  rig.page.fire("visibilitychange");
  await rig.pass(20_000);
  assert.equal(rig.connection.state, "open", "it was hidden too shortly");
  rig.page.isHidden = true;
  rig.page.fire("visibilitychange");
  await rig.pass(10_000);
  assert.equal(rig.connection.state, "paused");
  assert.equal(rig.socket.closedWith, 1000);
  assert.equal(rig.timers, 0);
  rig.page.fire("online");
  await rig.pass(600_000);
  assert.equal(rig.tickets, 1);
  rig.page.isHidden = false;
  rig.page.fire("visibilitychange");
  await settle();
  assert.equal(rig.socket.url.searchParams.get("since"), "p1");
  rig.socket.ack({ recovered: true });
  assert.deepEqual(rig.told.slice(1), ["recovered"]);
});

test("a hidden page does not pause unless asked to", async () => {
  const rig = new Rig();
  await rig.open();
  rig.page.isHidden = true;
  rig.page.fire("visibilitychange");
  await rig.pass(20_000);
  assert.equal(rig.connection.state, "open");
});
