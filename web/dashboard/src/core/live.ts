// One stream of server-sent events that stays up: it returns after failures
// with back-off and jitter, and rests while nobody can see the page.
import { parse } from "./json.ts";

/** What a link uses of an EventSource. */
export interface Source {
  onopen: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => unknown): void;
  close(): void;
}

/** What a link uses of its surroundings. */
export interface Surroundings {
  open(url: string): Source;
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  now(): number;
  /** At least 0 and less than 1. */
  random(): number;
  hidden(): boolean;
  /** Calls listener when hidden() may have changed, until the returned function is called. */
  onVisibility(listener: () => void): () => void;
}

/** "paused": nobody looks, or the person asked for it. */
export type LinkState = "connecting" | "live" | "reconnecting" | "paused" | "closed";

/** What a link tells. */
export interface Listener {
  state(state: LinkState): void;
  /** One event, its data decoded from JSON. */
  event(type: string, data: unknown): void;
  /** A stream ended that had been up, or never came up: ask whether the session still stands. */
  lost?(failed: number): void;
}

const BASE = 500;
const CAP = 30_000;
/** A stream that stood this long starts the back-off anew. */
const LASTED = 10_000;

/** The wait before the next attempt: a random part, at least half, of a limit that doubles. */
export function wait(failed: number, random: () => number): number {
  const limit = Math.min(CAP, BASE * 2 ** Math.min(failed, 16));
  return limit / 2 + (random() * limit) / 2;
}

/** A stream of one address and the events of the named types. */
export class Link {
  readonly #url: string;
  readonly #types: readonly string[];
  readonly #listener: Listener;
  readonly #around: Surroundings;
  readonly #unlisten: () => void;
  #source: Source | null = null;
  #timer: unknown = null;
  #openedAt = 0;
  #failed = 0;
  #held = false;
  #closed = false;

  /** Opens the stream, now or as soon as somebody can see the page. */
  constructor(url: string, types: readonly string[], listener: Listener, around: Surroundings) {
    this.#url = url;
    this.#types = types;
    this.#listener = listener;
    this.#around = around;
    this.#unlisten = around.onVisibility(() => this.#look());
    this.#look();
  }

  /** Rests until release is called. */
  hold(): void {
    this.#held = true;
    this.#look();
  }

  /** Ends the rest that hold began. */
  release(): void {
    this.#held = false;
    this.#look();
  }

  /** Ends the link for good. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unlisten();
    this.#drop();
    this.#listener.state("closed");
  }

  #look(): void {
    if (this.#closed) return;
    if (this.#held || this.#around.hidden()) {
      this.#drop();
      this.#failed = 0;
      this.#listener.state("paused");
    } else if (this.#source === null && this.#timer === null) {
      this.#connect();
    }
  }

  #connect(): void {
    this.#listener.state(this.#failed === 0 ? "connecting" : "reconnecting");
    const source = this.#around.open(this.#url);
    this.#source = source;
    this.#openedAt = 0;
    source.onopen = () => {
      if (this.#source !== source) return;
      this.#openedAt = this.#around.now();
      this.#listener.state("live");
    };
    // The browser's own return knows no back-off: end it and come back by hand.
    source.onerror = () => {
      if (this.#source !== source) return;
      const lasted = this.#openedAt > 0 && this.#around.now() - this.#openedAt >= LASTED;
      this.#drop();
      this.#failed = lasted ? 1 : this.#failed + 1;
      this.#listener.state("reconnecting");
      this.#timer = this.#around.setTimeout(() => {
        this.#timer = null;
        this.#connect();
      }, wait(this.#failed - 1, this.#around.random));
      this.#listener.lost?.(this.#failed);
    };
    for (const type of this.#types) {
      source.addEventListener(type, (event) => {
        if (this.#source !== source) return;
        let data: unknown;
        try {
          data = parse(event.data);
        } catch {
          return; // half an event of a stream that was cut
        }
        this.#listener.event(type, data);
      });
    }
  }

  #drop(): void {
    if (this.#timer !== null) this.#around.clearTimeout(this.#timer);
    this.#timer = null;
    this.#source?.close();
    this.#source = null;
  }
}
