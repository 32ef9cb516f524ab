// What the client uses of its surroundings. Tests bring their own.

/** What the client uses of a WebSocket. */
export interface SocketLike {
  onmessage: ((event: { data: unknown }) => unknown) | null;
  onclose: ((event: { code: number; reason: string }) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  readonly readyState: number;
  send(text: string): void;
  close(code?: number): void;
}

/** What the client uses of an EventSource. */
export interface SourceLike {
  onmessage: ((event: { data: string; lastEventId: string }) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  addEventListener(type: "close" | "ping", listener: (event: { data: string; lastEventId: string }) => unknown): void;
  close(): void;
}

/** The page that the client runs in. */
export interface Page {
  /** Whether nobody can see the page. */
  hidden(): boolean;
  /** Calls listener at every such event until the returned function is called. */
  listen(type: "online" | "offline" | "visibilitychange", listener: () => void): () => void;
}

/** What the client uses of its surroundings: functions that need no `this`. */
export interface Environment {
  setTimeout(callback: () => void, ms: number): unknown;
  /** Called with what setTimeout gave, or with undefined. */
  clearTimeout(timer: unknown): void;
  /** Milliseconds since some moment; it may jump when the machine slept. */
  now(): number;
  /** At least 0 and less than 1. */
  random(): number;
  WebSocket: (new (url: string) => SocketLike) | undefined;
  EventSource: (new (url: string) => SourceLike) | undefined;
  /** Undefined where there is no page, as in Node. */
  page: Page | undefined;
  /** Takes what a callback of the application threw. */
  report(error: unknown): void;
}

/** The surroundings of a browser, a worker or Node, as far as they are there. */
export function surroundings(): Environment {
  // Node's types and older browsers lack some of these.
  const here = globalThis as unknown as {
    WebSocket?: new (url: string) => SocketLike;
    EventSource?: new (url: string) => SourceLike;
    document?: Document;
    addEventListener?: EventTarget["addEventListener"];
    reportError?: (error: unknown) => void;
  };
  return {
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (timer) => clearTimeout(timer as Parameters<typeof clearTimeout>[0]),
    now: () => Date.now(),
    random: () => Math.random(),
    WebSocket: here.WebSocket,
    EventSource: here.EventSource,
    page: here.addEventListener === undefined ? undefined : browserPage(here.document),
    report: (error) => (here.reportError === undefined ? console.error(error) : here.reportError(error)),
  };
}

function browserPage(document: Document | undefined): Page {
  return {
    hidden: () => document?.visibilityState === "hidden",
    listen(type, listener) {
      const target: EventTarget = type === "visibilitychange" && document !== undefined ? document : globalThis;
      target.addEventListener(type, listener);
      return () => target.removeEventListener(type, listener);
    },
  };
}
