// The client: one connection that is told what happens, kept up for as long as
// the application wants it.
import { MAX_CHANNELS, type Channel, type Connection, type Options, type State, type StateInfo } from "./api.js";
import { surroundings, type Environment } from "./environment.js";
import { decode, type Acknowledgement } from "./events.js";
import { parse, type Json } from "./json.js";
import { NO_CODE, openSocket, openSource, type Link, type Transport } from "./links.js";
import { askingPulse, waitingPulse, type Pulse } from "./pulse.js";
import { afterClose, backOff, LASTED } from "./retry.js";

// How long things may take, in milliseconds.
const TICKET_LIMIT = 20_000;
const OPEN_LIMIT = 15_000;

/** After server-sent events took over, WebSocket is left alone for so long. */
const SOCKET_BAN = 300_000;
/** WebSocket failing to open so often in a row lets server-sent events take over. */
const SOCKET_FAILURES = 2;

/** A page may be hidden for so long before it is paused: people switch tabs and back. */
const HIDDEN_GRACE = 10_000;
/** Changes of the channels within this time lead to one new connection. */
const CHANNELS_GRACE = 100;

const PING = '{"type":"ping"}';

/** Connects, and stays connected until close() or a final {@link State}. */
export function connect(options: Options): Connection {
  const client = new Client(options);
  // The application gets the connection before its first callback.
  queueMicrotask(() => client.start());
  return client;
}

class Client implements Connection {
  readonly #options: Options;
  readonly #env: Environment;
  readonly #base: string;
  readonly #unlisten: (() => void)[] = [];

  #state: State = "connecting";
  #channels: Channel[];
  #position: string | undefined;
  /** Whether a connection stood before: the next one has something to recover. */
  #before: boolean;

  /** Counts attempts; what belongs to an earlier one is ignored. */
  #attempt = 0;
  #link: Link | undefined;
  #transport: Transport;
  /** When the link was acknowledged. */
  #openedAt: number | undefined;
  /** Failures in a row, for the back-off. */
  #failed = 0;
  #socketFailures = 0;
  #socketBannedUntil: number | undefined;

  #pulse: Pulse | undefined;
  #next: unknown; // the next step: a limit while connecting, a wait otherwise
  #hide: unknown;
  #regroup: unknown;

  constructor(options: Options) {
    const url = new URL(options.url);
    if (url.protocol !== "http:" && url.protocol !== "https:") throw new TypeError("url must begin with http:// or https://");
    this.#options = options;
    this.#env = { ...surroundings(), ...options.environment };
    this.#base = (url.origin + url.pathname).replace(/\/+$/, "");
    this.#channels = checked(options.channels ?? []);
    this.#position = options.since;
    this.#before = options.since !== undefined;
    const { WebSocket, EventSource } = this.#env;
    const wanted = options.transport ?? "auto";
    this.#transport = wanted === "auto" ? (WebSocket === undefined ? "sse" : "websocket") : wanted;
    if ((this.#transport === "sse" ? EventSource : WebSocket) === undefined) {
      throw new TypeError(`nothing here speaks ${this.#transport}`);
    }
  }

  get state(): State {
    return this.#state;
  }

  get position(): string | undefined {
    return this.#position;
  }

  start(): void {
    if (this.#final()) return;
    const page = this.#env.page;
    if (page !== undefined) {
      const network = () => this.#networkChanged();
      this.#unlisten.push(page.listen("online", network), page.listen("offline", network));
      if (this.#options.pauseWhenHidden === true) {
        this.#unlisten.push(page.listen("visibilitychange", () => this.#visibilityChanged()));
        if (page.hidden()) return this.#pause();
      }
    }
    this.#dial();
  }

  close(): void {
    if (!this.#final()) this.#stop("closed");
  }

  channels(list: readonly Channel[]): void {
    const wanted = checked(list);
    if (this.#final() || wanted.join() === this.#channels.join()) return;
    this.#channels = wanted;
    this.#env.clearTimeout(this.#regroup);
    this.#regroup = this.#env.setTimeout(() => {
      if (this.#state === "open" || this.#state === "connecting") this.#dial();
    }, CHANNELS_GRACE);
  }

  /** Drops what there is and makes an attempt at once. */
  #dial(): void {
    this.#drop();
    const attempt = this.#attempt;
    this.#chooseTransport();
    this.#next = this.#env.setTimeout(() => this.#ended(NO_CODE, "no ticket came", false), TICKET_LIMIT);
    this.#set("connecting", {});
    if (attempt !== this.#attempt) return; // the callback changed its mind
    const still = (then: () => void) => {
      if (attempt === this.#attempt) then();
    };
    new Promise<string>((resolve) => resolve(this.#options.ticket())).then(
      (ticket) => still(() => this.#open(ticket)),
      (error: unknown) => still(() => this.#ticketRefused(error)),
    );
  }

  #open(ticket: string): void {
    const attempt = this.#attempt;
    const query = new URLSearchParams({ ticket, positions: "1" });
    if (this.#channels.length > 0) query.set("channels", this.#channels.join());
    if (this.#position !== undefined) query.set("since", this.#position);
    const owner = {
      frame: (text: string, position: string | undefined) => {
        if (attempt === this.#attempt) this.#frame(text, position);
      },
      heartbeat: (position: string) => {
        if (attempt !== this.#attempt) return;
        this.#pulse?.heard();
        this.#position = position;
      },
      ended: (code: number, reason: string) => {
        if (attempt === this.#attempt) this.#ended(code, reason, code === NO_CODE);
      },
    };
    this.#env.clearTimeout(this.#next);
    this.#next = this.#env.setTimeout(() => this.#ended(NO_CODE, "the connection did not open", true), OPEN_LIMIT);
    const { WebSocket, EventSource } = this.#env;
    try {
      if (this.#transport === "websocket" && WebSocket !== undefined) {
        this.#link = openSocket(WebSocket, `${this.#base.replace(/^http/, "ws")}/ws?${query}`, owner);
      } else if (EventSource !== undefined) {
        this.#link = openSource(EventSource, `${this.#base}/api/v1/events/stream/?${query}`, owner);
      }
    } catch (error) {
      // A page may not open ws: from https:, or its policy forbids the address.
      this.#ended(NO_CODE, String(error), true);
    }
  }

  #frame(text: string, transported: string | undefined): void {
    this.#pulse?.heard();
    let json: Json;
    try {
      json = parse(text);
    } catch (error) {
      // Left out rather than asked for again: it would come again as it is.
      this.#env.report(error);
      return;
    }
    const frame = decode(json);
    if (frame === undefined) return;
    if (frame.kind === "ack") {
      if (this.#openedAt === undefined) this.#acknowledged(frame.ack, frame.position ?? transported);
      // The answer to a ping keeps the position of a quiet connection young.
      else this.#position = frame.position ?? this.#position;
      return;
    }
    // Before the callback: the application may store it there, or throw.
    this.#position = frame.position ?? transported ?? this.#position;
    this.#call(() => this.#options.onEvent(frame.event));
  }

  #acknowledged(ack: Acknowledgement, position: string | undefined): void {
    const attempt = this.#attempt;
    const recovering = this.#before;
    const recovered = ack.recovered === true;
    // What was missed is still to come: until then the old position holds.
    if (!recovered) this.#position = position;
    this.#before = true;
    this.#openedAt = this.#env.now();
    if (this.#transport === "websocket") {
      this.#socketFailures = 0;
      this.#socketBannedUntil = undefined;
    }
    this.#env.clearTimeout(this.#next);
    this.#pulse =
      this.#transport === "websocket"
        ? askingPulse(this.#env, () => this.#link?.send(PING), () => this.#ended(NO_CODE, "the server fell silent", false))
        : waitingPulse(this.#env, () => this.#ended(NO_CODE, "the server fell silent", false));
    this.#set("open", { channels: ack.channels });
    if (!recovering || attempt !== this.#attempt) return;
    this.#call(() => (recovered ? this.#options.onRecovered?.() : this.#options.onLost?.()));
  }

  /**
   * The attempt or the connection is over. deaf says that an attempt got no
   * word from the server, which may be its transport's fault.
   */
  #ended(code: number, reason: string, deaf: boolean): void {
    const now = this.#env.now();
    if (this.#openedAt === undefined) {
      if (deaf) this.#transportFailed(now);
    } else if (now - this.#openedAt >= LASTED) {
      this.#failed = 0;
    }
    const verdict = afterClose(code, reason, this.#failed, this.#env.random);
    if ("giveUp" in verdict) return this.#stop("failed", new Error(verdict.giveUp));
    const why = reason === "" ? "the connection ended" : reason;
    this.#wait(verdict.after, new Error(code === NO_CODE ? why : `${why} (${code})`));
  }

  #ticketRefused(thrown: unknown): void {
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    const { status, retryAfter } = error as { status?: unknown; retryAfter?: unknown };
    if (status === 401) return this.#stop("signed-out", error);
    const asked = typeof retryAfter === "number" && retryAfter > 0 ? retryAfter : 0;
    this.#wait(asked + backOff(this.#failed, this.#env.random), error);
  }

  #wait(ms: number, error: Error): void {
    this.#failed++;
    this.#drop();
    this.#next = this.#env.setTimeout(() => this.#dial(), ms);
    this.#set("waiting", { retryIn: ms, error });
  }

  #transportFailed(now: number): void {
    if (!this.#mayChange()) return;
    if (this.#transport === "websocket") {
      if (++this.#socketFailures >= SOCKET_FAILURES) this.#socketBannedUntil = now + SOCKET_BAN;
    } else {
      // Neither opens: nothing is known against WebSocket in particular.
      this.#socketBannedUntil = undefined;
      this.#socketFailures = SOCKET_FAILURES - 1;
    }
  }

  #chooseTransport(): void {
    if (!this.#mayChange()) return;
    if (this.#socketBannedUntil !== undefined && this.#env.now() >= this.#socketBannedUntil) {
      this.#socketBannedUntil = undefined;
      this.#socketFailures = SOCKET_FAILURES - 1; // one more chance
    }
    this.#transport = this.#socketBannedUntil === undefined ? "websocket" : "sse";
  }

  #mayChange(): boolean {
    const { WebSocket, EventSource } = this.#env;
    return (this.#options.transport ?? "auto") === "auto" && WebSocket !== undefined && EventSource !== undefined;
  }

  /** What stood may be dead without knowing, and what failed may work now. */
  #networkChanged(): void {
    if (this.#final() || this.#state === "paused") return;
    this.#failed = 0;
    this.#dial();
  }

  #visibilityChanged(): void {
    this.#env.clearTimeout(this.#hide);
    if (this.#env.page?.hidden() === true) {
      if (this.#state !== "paused") this.#hide = this.#env.setTimeout(() => this.#pause(), HIDDEN_GRACE);
    } else if (this.#state === "paused") {
      this.#failed = 0;
      this.#dial();
    }
  }

  #pause(): void {
    this.#drop();
    this.#set("paused", {});
  }

  #stop(state: "signed-out" | "failed" | "closed", error?: Error): void {
    this.#drop();
    this.#env.clearTimeout(this.#hide);
    for (const unlisten of this.#unlisten.splice(0)) unlisten();
    this.#set(state, error === undefined ? {} : { error });
  }

  /** Ends the link and every timer that belongs to it; what they still say is not heard. */
  #drop(): void {
    this.#attempt++;
    this.#openedAt = undefined;
    this.#env.clearTimeout(this.#next);
    this.#env.clearTimeout(this.#regroup);
    this.#pulse?.stop();
    this.#pulse = undefined;
    const link = this.#link;
    this.#link = undefined;
    link?.close();
  }

  #final(): boolean {
    return this.#state === "signed-out" || this.#state === "failed" || this.#state === "closed";
  }

  /** Always the last deed of a step: the callback may call back. */
  #set(state: State, info: Omit<StateInfo, "transport">): void {
    this.#state = state;
    this.#call(() => this.#options.onState?.(state, { transport: this.#transport, ...info }));
  }

  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#env.report(error);
    }
  }
}

function checked(list: readonly Channel[]): Channel[] {
  const channels = [...new Set(list)];
  if (channels.length > MAX_CHANNELS) throw new RangeError(`at most ${MAX_CHANNELS} channels, not ${channels.length}`);
  return channels;
}
