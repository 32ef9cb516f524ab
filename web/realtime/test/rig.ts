// The surroundings of a client under test: a clock that only the test moves,
// and connections whose other end the test plays.
import assert from "node:assert/strict";
import type { Environment, Page, SocketLike, SourceLike } from "../environment.js";
import { connect, type Connection, type Options, type RealtimeEvent, type State, type StateInfo } from "../index.js";

/** Lets everything happen that waits for no timer. */
export const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

export class FakeSocket implements SocketLike {
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  readyState = 0;
  readonly url: URL;
  readonly sent: string[] = [];
  closedWith: number | undefined;

  constructor(url: string) {
    this.url = new URL(url);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(code?: number): void {
    this.readyState = 3;
    this.closedWith = code;
  }

  /** The server's end: a frame. */
  frame(frame: object | string): void {
    this.readyState = 1;
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }

  ack(members: object = {}): void {
    this.frame({ type: "ack", message: "connected", channels: ["user:5", "broadcast"], position: "p0", ...members });
  }

  /** The server's end: it is over, without a word unless a code is given. */
  end(code = 1006, reason = ""): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}

export class FakeSource implements SourceLike {
  onmessage: SourceLike["onmessage"] = null;
  onerror: ((event: never) => unknown) | null = null;
  readonly url: URL;
  closed = false;
  #listeners = new Map<string, (event: { data: string; lastEventId: string }) => unknown>();

  constructor(url: string) {
    this.url = new URL(url);
  }

  addEventListener(type: "close" | "ping", listener: (event: { data: string; lastEventId: string }) => unknown): void {
    this.#listeners.set(type, listener);
  }

  close(): void {
    this.closed = true;
  }

  frame(frame: object, lastEventId: string): void {
    this.onmessage?.({ data: JSON.stringify(frame), lastEventId });
  }

  ack(members: object = {}, lastEventId = "p0"): void {
    this.frame({ type: "ack", message: "connected", channels: ["user:5", "broadcast"], ...members }, lastEventId);
  }

  end(): void {
    (this.onerror as (() => unknown) | null)?.();
  }

  endWith(data: string): void {
    this.#listeners.get("close")?.({ data, lastEventId: "" });
  }

  ping(lastEventId: string): void {
    this.#listeners.get("ping")?.({ data: "{}", lastEventId });
  }
}

class FakePage implements Page {
  isHidden = false;
  readonly listeners = new Map<string, Set<() => void>>();

  hidden(): boolean {
    return this.isHidden;
  }

  listen(type: string, listener: () => void): () => void {
    const all = this.listeners.get(type) ?? new Set();
    this.listeners.set(type, all.add(listener));
    return () => void all.delete(listener);
  }

  fire(type: "online" | "offline" | "visibilitychange"): void {
    for (const listener of this.listeners.get(type) ?? []) listener();
  }

  get count(): number {
    return [...this.listeners.values()].reduce((sum, all) => sum + all.size, 0);
  }
}

/** A client and everything around it. */
export class Rig {
  readonly sockets: FakeSocket[] = [];
  readonly sources: FakeSource[] = [];
  readonly page = new FakePage();
  readonly states: State[] = [];
  readonly infos: StateInfo[] = [];
  /** What the application was told, in order: events, "recovered" and "lost". */
  readonly told: (RealtimeEvent | "recovered" | "lost")[] = [];
  readonly reported: unknown[] = [];
  tickets = 0;
  /** Replaced by a test to refuse tickets. */
  ticket: () => Promise<string> = () => Promise.resolve(`t${this.tickets}`);
  /** What random gives: by default all of every wait. */
  random = 1;
  time = 1_000_000;
  /** What the clock is set wrong by; timers don't mind. */
  skew = 0;
  #timers = new Map<number, { at: number; run: () => void }>();
  #timer = 0;
  readonly connection: Connection;

  constructor(options: Partial<Options> = {}, environment: Partial<Environment> = {}) {
    const { sockets, sources } = this;
    this.connection = connect({
      url: "https://api.example.com/",
      ticket: () => (this.tickets++, this.ticket()),
      onEvent: (event) => this.told.push(event),
      onRecovered: () => this.told.push("recovered"),
      onLost: () => this.told.push("lost"),
      onState: (state, info) => (this.states.push(state), this.infos.push(info)),
      ...options,
      environment: {
        setTimeout: (run, ms) => (this.#timers.set(++this.#timer, { at: this.time + ms, run }), this.#timer),
        clearTimeout: (timer) => void this.#timers.delete(timer as number),
        now: () => this.time + this.skew,
        random: () => this.random,
        WebSocket: class extends FakeSocket {
          constructor(url: string) {
            super(url);
            sockets.push(this);
          }
        },
        EventSource: class extends FakeSource {
          constructor(url: string) {
            super(url);
            sources.push(this);
          }
        },
        page: this.page,
        report: (error) => this.reported.push(error),
        ...environment,
      },
    });
  }

  /** Lets time pass; every timer runs at its time. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const [id, due] = [...this.#timers].sort(([, a], [, b]) => a.at - b.at)[0] ?? [];
      if (id === undefined || due === undefined || due.at > end) break;
      this.#timers.delete(id);
      this.time = Math.max(this.time, due.at);
      due.run();
    }
    this.time = end;
    await settle();
  }

  /** Lets time pass without running a timer, as when the machine sleeps or the page is throttled. */
  sleep(ms: number): void {
    this.time += ms;
  }

  get timers(): number {
    return this.#timers.size;
  }

  get socket(): FakeSocket {
    return newest(this.sockets);
  }

  get source(): FakeSource {
    return newest(this.sources);
  }

  get info(): StateInfo {
    return newest(this.infos);
  }

  /** Waits for the first attempt and accepts it. */
  async open(ack: object = {}): Promise<void> {
    await settle();
    this.socket.ack(ack);
    assert.equal(this.connection.state, "open");
  }

  /** A connection by server-sent events, after WebSocket failed to open twice. */
  async fallBack(): Promise<void> {
    await settle();
    this.socket.end();
    await this.pass(500);
    this.socket.end();
    await this.pass(1000);
    assert.deepEqual([this.sockets.length, this.sources.length], [2, 1]);
  }
}

function newest<T>(list: T[]): T {
  const last = list.at(-1);
  assert.ok(last !== undefined, "there is none yet");
  return last;
}
