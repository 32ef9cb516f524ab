// The events of the appliance as types, and their decoding.
import { isObject, type Id, type Json, type JsonObject } from "./json.js";

/** An answer that was asked for in the background is ready. */
export interface MentorReply {
  type: "mentor.reply";
  task_id: string;
  session_id: Id;
  mode: string;
  reply: string;
}

/** An answer that was asked for in the background failed for good. */
export interface MentorFailed {
  type: "mentor.failed";
  task_id: string;
  detail: string;
}

/** A session of this user ended; its own connections are closed as well. */
export interface SessionRevoked {
  type: "session.revoked";
  session: string;
}

/** Somebody sent a gift to a post or a comment. */
export interface GiftReceived {
  type: "gift.received";
  id: Id;
  /** The whole event, as its publisher wrote it. */
  data: JsonObject;
}

/** Somebody whom this user may see came, went or types. It is never repeated. */
export interface Presence {
  type: "presence";
  user_id: Id;
  thread_id: Id | null;
  status: "online" | "offline" | "typing";
  timestamp: string;
}

/**
 * An event of a type that this version of the client does not know, or one of a
 * known type whose members are not what is documented.
 */
export interface UnknownEvent {
  type: "unknown";
  /** What the event itself calls its type. */
  name: string;
  data: JsonObject;
}

/** The events that this version of the client knows. */
export type KnownEvent = MentorReply | MentorFailed | SessionRevoked | GiftReceived | Presence;

/** What onEvent gets; its `type` tells which one it is. */
export type RealtimeEvent = KnownEvent | UnknownEvent;

type Decoders = { [T in KnownEvent["type"]]: (data: JsonObject) => Extract<KnownEvent, { type: T }> | undefined };

const decoders: Decoders = {
  "mentor.reply": ({ task_id, session_id, mode, reply }) =>
    text(task_id) && text(session_id) && text(mode) && text(reply)
      ? { type: "mentor.reply", task_id, session_id, mode, reply }
      : undefined,
  "mentor.failed": ({ task_id, detail }) =>
    text(task_id) && text(detail) ? { type: "mentor.failed", task_id, detail } : undefined,
  "session.revoked": ({ session }) => (text(session) ? { type: "session.revoked", session } : undefined),
  "gift.received": (data) => (text(data.id) ? { type: "gift.received", id: data.id, data } : undefined),
  presence: ({ user_id, thread_id, status, timestamp }) =>
    text(user_id) &&
    (thread_id === null || text(thread_id)) &&
    (status === "online" || status === "offline" || status === "typing") &&
    text(timestamp)
      ? { type: "presence", user_id, thread_id, status, timestamp }
      : undefined,
};

function text(value: Json | undefined): value is string {
  return typeof value === "string";
}

/** The first frame of a connection. */
export interface Acknowledgement {
  message: string;
  channels: string[];
  recovered: boolean | undefined;
}

/** A frame as the client uses it. */
export type Frame = { position: string | undefined } & (
  | { kind: "ack"; ack: Acknowledgement }
  | { kind: "event"; event: RealtimeEvent }
);

/**
 * Says what a frame is, or undefined when it is nothing that the protocol has:
 * not an object, or one without a type.
 */
export function decode(frame: Json): Frame | undefined {
  if (!isObject(frame) || !text(frame.type)) return undefined;
  const { position: at, ...data } = frame;
  const position = text(at) ? at : undefined;
  const name = frame.type;
  if (name === "ack") {
    const message = text(data.message) ? data.message : "";
    const channels = Array.isArray(data.channels) ? data.channels.filter(text) : [];
    const recovered = typeof data.recovered === "boolean" ? data.recovered : undefined;
    return { kind: "ack", position, ack: { message, channels, recovered } };
  }
  const known = Object.hasOwn(decoders, name) ? decoders[name as KnownEvent["type"]](data) : undefined;
  return { kind: "event", position, event: known ?? { type: "unknown", name, data } };
}
