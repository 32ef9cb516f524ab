// What an application sees of the client.
import type { Environment } from "./environment.js";
import type { RealtimeEvent } from "./events.js";
import type { Transport } from "./links.js";

/** A post or a comment whose events a connection gets besides those of its user. */
export type Channel = `post:${string}` | `comment:${string}`;

/** The most channels of posts and comments that one connection may have. */
export const MAX_CHANNELS = 20;

/**
 * What a connection is doing:
 *
 * - `connecting`: it gets a ticket and opens a transport;
 * - `open`: events come;
 * - `waiting`: it will come back by itself, after {@link StateInfo.retryIn};
 * - `paused`: the page is hidden, and it comes back when it is seen;
 * - `signed-out`: no ticket is given any more, sign in and connect anew;
 * - `failed`: the server does not understand this client;
 * - `closed`: the application closed it.
 *
 * The last three are final.
 */
export type State = "connecting" | "open" | "waiting" | "paused" | "signed-out" | "failed" | "closed";

/** More about a state. */
export interface StateInfo {
  /** What carries the connection, or carried it last. */
  transport: Transport;
  /** For `waiting`: milliseconds until the next attempt. */
  retryIn?: number;
  /** For `waiting`, `signed-out` and `failed`: what went wrong. */
  error?: Error;
  /** For `open`: the channels that the server gave, without those that the user may not see. */
  channels?: string[];
}

/** What {@link connect} is to do. */
export interface Options {
  /** Where the appliance is: `https://api.example.com`. */
  url: string;
  /** Posts and comments to hear of, at most {@link MAX_CHANNELS}. */
  channels?: readonly Channel[];
  /**
   * Gives a new ticket at every attempt, see fetchTicket. When it fails with an
   * error whose `status` is 401 the connection stops in the state `signed-out`;
   * any other failure is tried again, after `retryAfter` milliseconds if the
   * error has that.
   */
  ticket: () => Promise<string>;
  /** A position of an earlier connection ({@link Connection.position}) to go on from. */
  since?: string;
  /** Called with every event, in order and once. */
  onEvent: (event: RealtimeEvent) => void;
  /** The connection is back and nothing was missed: what came meanwhile follows. */
  onRecovered?: () => void;
  /**
   * The connection is back but what came meanwhile is lost: read by REST what
   * is shown. Events that come from now on are complete again.
   */
  onLost?: () => void;
  /** Called at every change of the state. */
  onState?: (state: State, info: StateInfo) => void;
  /** `auto`, the default: WebSocket, and server-sent events where that does not open. */
  transport?: Transport | "auto";
  /** Whether to disconnect while the page is hidden. Nothing is missed by it. */
  pauseWhenHidden?: boolean;
  /** Replaces parts of the surroundings, for tests and for Node. */
  environment?: Partial<Environment>;
}

/** A connection that keeps itself up. */
export interface Connection {
  /** Ends it for good. */
  close(): void;
  /** Changes the channels. The server knows no such frame: it connects anew. */
  channels(list: readonly Channel[]): void;
  readonly state: State;
  /** The position of the last event given to onEvent, to go on from after a reload. */
  readonly position: string | undefined;
}
