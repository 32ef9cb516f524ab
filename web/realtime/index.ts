export { MAX_CHANNELS } from "./api.js";
export type { Channel, Connection, Options, State, StateInfo } from "./api.js";
export { connect } from "./client.js";
export type { Environment, Page, SocketLike, SourceLike } from "./environment.js";
export type {
  GiftReceived,
  KnownEvent,
  MentorFailed,
  MentorReply,
  Presence,
  RealtimeEvent,
  SessionRevoked,
  UnknownEvent,
} from "./events.js";
export { parse } from "./json.js";
export type { Id, Json, JsonObject } from "./json.js";
export type { Transport } from "./links.js";
export { fetchTicket, TicketRefused } from "./ticket.js";
