// Tickets: what opens a connection instead of an access token in its URL.
import { isObject, parse } from "./json.js";

/** The appliance refused a ticket. */
export class TicketRefused extends Error {
  override readonly name = "TicketRefused";
  /** 401: the access token is not taken, and the client stops. */
  readonly status: number;
  /** How long to stay away, in milliseconds. */
  readonly retryAfter: number;

  constructor(status: number, retryAfter = 0) {
    super(`no ticket: the server answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * Fetches a ticket from the appliance at url with an access token. It throws
 * {@link TicketRefused} when the appliance refuses, and whatever fetch throws
 * when it is not reached.
 *
 * An application that can renew its access token does so on a 401 and calls
 * this again; only when that fails it lets the 401 reach the client.
 */
export async function fetchTicket(url: string, accessToken: string, fetch = globalThis.fetch): Promise<string> {
  const response = await fetch(`${url.replace(/\/+$/, "")}/api/v1/realtime/ticket/`, {
    method: "POST",
    headers: { Authorization: `Bearer ${accessToken}` },
    // Neither cookies nor a cached answer have a part in this.
    credentials: "omit",
    cache: "no-store",
  });
  if (!response.ok) {
    const seconds = Number(response.headers.get("Retry-After"));
    throw new TicketRefused(response.status, seconds > 0 ? seconds * 1000 : 0);
  }
  const answer = parse(await response.text());
  if (!isObject(answer) || typeof answer.ticket !== "string") throw new Error("no ticket in the server's answer");
  return answer.ticket;
}
