// A link is one connection to the server, whatever carries it.
import type { Environment, SocketLike, SourceLike } from "./environment.js";
import { isObject, parse } from "./json.js";

/** How events travel. */
export type Transport = "websocket" | "sse";

/** One connection. */
export interface Link {
  /** Sends a frame if the transport can and the connection stands. */
  send(text: string): void;
  /** Ends the connection; afterwards nothing is told to the listener. */
  close(): void;
}

/** Whoever owns a link. */
export interface LinkListener {
  /** A frame came, with the position that its transport gives it. */
  frame(text: string, position: string | undefined): void;
  /** A stream's heartbeat came, with the position that holds by now. */
  heartbeat(position: string): void;
  /** The connection ended, once, with 1006 when the server did not say why. */
  ended(code: number, reason: string): void;
}

/** What a browser says when no close code came. */
export const NO_CODE = 1006;

const SOCKET_OPEN = 1; // WebSocket.OPEN, which a replaced class may lack

/** Opens url by WebSocket. */
export function openSocket(Socket: NonNullable<Environment["WebSocket"]>, url: string, owner: LinkListener): Link {
  const socket: SocketLike = new Socket(url);
  const mute = () => {
    socket.onmessage = socket.onclose = socket.onerror = null;
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") owner.frame(data, undefined);
  };
  socket.onclose = ({ code, reason }) => {
    mute();
    owner.ended(code, reason);
  };
  return {
    send(text) {
      if (socket.readyState === SOCKET_OPEN) socket.send(text);
    },
    close() {
      mute();
      socket.close(1000);
    },
  };
}

/**
 * Opens url as a stream of server-sent events. The browser's own reconnect is
 * never let happen: it would come with the same ticket, which works once.
 */
export function openSource(Source: NonNullable<Environment["EventSource"]>, url: string, owner: LinkListener): Link {
  const source: SourceLike = new Source(url);
  let over = false;
  let last = "";
  const close = () => {
    over = true;
    source.close();
  };
  const end = (code: number, reason: string) => {
    if (over) return;
    close();
    owner.ended(code, reason);
  };
  source.onmessage = ({ data, lastEventId }) => {
    if (over) return;
    // An event without an id shows that of the one before it.
    const fresh = lastEventId !== last;
    last = lastEventId;
    owner.frame(data, fresh ? lastEventId : undefined);
  };
  source.onerror = () => end(NO_CODE, "");
  source.addEventListener("ping", ({ lastEventId }) => {
    if (over) return;
    last = lastEventId;
    owner.heartbeat(lastEventId);
  });
  source.addEventListener("close", ({ data }) => {
    const told = closing(data);
    end(told.code, told.reason);
  });
  return { send: () => undefined, close };
}

/** Reads why a stream of server-sent events ends. */
function closing(data: string): { code: number; reason: string } {
  try {
    const told = parse(data);
    if (isObject(told) && typeof told.code === "number") {
      return { code: told.code, reason: typeof told.reason === "string" ? told.reason : "" };
    }
  } catch {
    // Not JSON: it ends all the same.
  }
  return { code: NO_CODE, reason: "" };
}
