// A stream that stays up, and rests while nobody looks.
import assert from "node:assert/strict";
import test from "node:test";
import { Link, wait, type LinkState, type Source, type Surroundings } from "../src/core/live.ts";

class FakeSource implements Source {
  onopen: ((event: never) => unknown) | null = null;
  onerror: ((event: never) => unknown) | null = null;
  closed = false;
  readonly listeners = new Map<string, (event: { data: string; lastEventId: string }) => unknown>();
  addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => unknown): void {
    this.listeners.set(type, listener);
  }
  close(): void {
    this.closed = true;
  }
  open(): void {
    this.onopen?.(undefined as never);
  }
  fail(): void {
    this.onerror?.(undefined as never);
  }
  say(type: string, data: string): void {
    this.listeners.get(type)?.({ data, lastEventId: "" });
  }
}

class Rig {
  sources: FakeSource[] = [];
  states: LinkState[] = [];
  events: [string, unknown][] = [];
  lost: number[] = [];
  hidden = false;
  time = 1000;
  timer: { run: () => void; ms: number } | null = null;
  listening = 0;
  #look = () => {};
  readonly link: Link;

  constructor(hidden = false) {
    this.hidden = hidden;
    const around: Surroundings = {
      open: () => {
        const source = new FakeSource();
        this.sources.push(source);
        return source;
      },
      setTimeout: (run, ms) => (this.timer = { run, ms }),
      clearTimeout: () => (this.timer = null),
      now: () => this.time,
      random: () => 1,
      hidden: () => this.hidden,
      onVisibility: (listener) => {
        this.#look = listener;
        this.listening++;
        return () => this.listening--;
      },
    };
    this.link = new Link("/live", ["jobs", "gone"], {
      state: (state) => this.states.push(state),
      event: (type, data) => this.events.push([type, data]),
      lost: (failed) => this.lost.push(failed),
    }, around);
  }
  get source(): FakeSource {
    const last = this.sources.at(-1);
    assert.ok(last);
    return last;
  }
  get state(): LinkState | undefined {
    return this.states.at(-1);
  }
  pass(): void {
    const timer = this.timer;
    assert.ok(timer);
    this.timer = null;
    timer.run();
  }
  look(hidden: boolean): void {
    this.hidden = hidden;
    this.#look();
  }
}

test("the wait doubles up to its cap, and is random in its upper half", () => {
  assert.deepEqual(Array.from({ length: 8 }, (_, failed) => wait(failed, () => 1)), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  assert.equal(wait(2, () => 0), 1000);
  assert.equal(wait(5000, () => 1), 30000);
});

test("events come decoded, half ones not at all", () => {
  const rig = new Rig();
  assert.equal(rig.state, "connecting");
  rig.source.open();
  assert.equal(rig.state, "live");
  rig.source.say("jobs", '{"a":1}');
  rig.source.say("jobs", '{"a":');
  assert.deepEqual(rig.events, [["jobs", { a: 1 }]]);
});

test("a stream that fails comes back at growing distances", () => {
  const rig = new Rig();
  for (const ms of [500, 1000, 2000, 4000]) {
    rig.source.fail();
    assert.equal(rig.state, "reconnecting");
    assert.equal(rig.timer?.ms, ms);
    assert.ok(rig.sources.every((source) => source.closed));
    rig.pass();
  }
  assert.deepEqual(rig.lost, [1, 2, 3, 4]);
  assert.equal(rig.sources.length, 5);
});

test("only a stream that lasted starts the back-off anew", () => {
  const rig = new Rig();
  rig.source.fail();
  rig.pass();
  rig.source.open();
  rig.time += 9_999;
  rig.source.fail();
  assert.equal(rig.timer?.ms, 1000);
  rig.pass();
  rig.source.open();
  rig.time += 10_000;
  rig.source.fail();
  assert.equal(rig.timer?.ms, 500);
});

test("a page that nobody sees has no stream", () => {
  const rig = new Rig(true);
  assert.equal(rig.sources.length, 0);
  assert.equal(rig.state, "paused");
  rig.look(false);
  assert.equal(rig.sources.length, 1);
  rig.source.open();
  rig.look(true);
  assert.ok(rig.source.closed);
  assert.equal(rig.state, "paused");
  rig.look(false);
  assert.equal(rig.sources.length, 2);
});

test("being hidden ends the wait for a return", () => {
  const rig = new Rig();
  rig.source.fail();
  rig.look(true);
  assert.equal(rig.timer, null);
  rig.look(false);
  assert.equal(rig.sources.length, 2);
});

test("who holds the updates gets none, seen or not", () => {
  const rig = new Rig();
  rig.link.hold();
  assert.ok(rig.source.closed);
  rig.look(true);
  rig.look(false);
  assert.equal(rig.sources.length, 1);
  rig.link.release();
  assert.equal(rig.sources.length, 2);
});

test("a stream that was replaced is not listened to any more", () => {
  const rig = new Rig();
  const old = rig.source;
  old.fail();
  rig.pass();
  old.say("jobs", "1");
  old.open();
  old.fail();
  assert.deepEqual(rig.events, []);
  assert.equal(rig.state, "reconnecting");
  assert.equal(rig.timer, null);
});

test("closing is for good and leaves nothing behind", () => {
  const rig = new Rig();
  rig.link.close();
  rig.link.close();
  assert.equal(rig.state, "closed");
  assert.ok(rig.source.closed);
  assert.equal(rig.listening, 0);
  rig.look(false);
  rig.link.release();
  assert.equal(rig.sources.length, 1);
});
