// The one way to the server. Every request goes through Api.send: it carries
// the CSRF token, and turns each failure into an ApiError that can be shown.
import { parse } from "./json.ts";
import { filled } from "./route.ts";

/** Why a request failed, in words for the person who asked. */
export class ApiError extends Error {
  /** The status of HTTP; 0 when the server did not answer at all. */
  readonly status: number;
  /** What is wrong with single fields. */
  readonly fields: Readonly<Record<string, string>>;
  /** Seconds to wait before asking again; 0 when the server named none. */
  readonly retryAfter: number;

  constructor(status: number, text: string, fields: Record<string, string> = {}, retryAfter = 0) {
    super(text);
    this.name = "ApiError";
    this.status = status;
    this.fields = fields;
    this.retryAfter = retryAfter;
  }
}

/** What Api uses of fetch. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Filters of a list; empty ones are left out. */
export type Params = Readonly<Record<string, string | undefined>>;

/** How Api is set up. */
export interface ApiOptions {
  /** Where the API lives, with a slash at its end. */
  base: string;
  fetch: Fetch;
  /** Called at every 401: the session has ended. */
  signedOut: () => void;
}

/** Speaks with the dashboard's API. */
export class Api {
  /** The token that unsafe methods carry. GET session brings it. */
  csrf = "";
  readonly #options: ApiOptions;

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /** Reads path. It rejects with an ApiError, or with an AbortError by signal. */
  get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
    return this.#send<T>("GET", this.url(path, params), undefined, signal);
  }

  /** Does something. It rejects with an ApiError. */
  post<T>(path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    return this.#send<T>("POST", this.url(path), body, signal);
  }

  /** Ends something. It rejects with an ApiError. */
  delete(path: string): Promise<void> {
    return this.#send<void>("DELETE", this.url(path));
  }

  /** The address of path, for links and streams. */
  url(path: string, params: Params = {}): string {
    const search = new URLSearchParams(filled(params)).toString();
    return this.#options.base + path + (search === "" ? "" : `?${search}`);
  }

  async #send<T>(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<T> {
    const headers: Record<string, string> = { Accept: "application/json" };
    if (method !== "GET") headers["X-CSRF-Token"] = this.csrf;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response: Response;
    try {
      response = await this.#options.fetch(url, {
        method,
        headers,
        credentials: "same-origin",
        cache: "no-store",
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "The server does not answer. Check that it runs (selflink status) and that you are online.");
    }
    if (!response.ok) {
      const failure = await failureOf(response);
      if (failure.status === 401) this.#options.signedOut();
      throw failure;
    }
    if (response.status === 204) return undefined as T;
    try {
      return parse(await response.text()) as T;
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(response.status, "The server's answer could not be read. Reload the page: it may have been updated.");
    }
  }
}

/** The error of a response, whatever stands between here and the server. */
export async function failureOf(response: Response): Promise<ApiError> {
  let body: unknown = null;
  try {
    body = await response.json();
  } catch {
    // A proxy's page: the status alone has to do.
  }
  const retryAfter = Math.max(0, Number.parseInt(response.headers.get("Retry-After") ?? "", 10) || 0);
  const fields: Record<string, string> = {};
  let text = "";
  if (typeof body === "object" && body !== null) {
    for (const [key, value] of Object.entries(body)) {
      if (key === "detail" && typeof value === "string") text = value;
      else if (Array.isArray(value)) fields[key] = value.filter((part) => typeof part === "string").join(" ");
    }
  }
  if (text === "") {
    const named = Object.entries(fields).map(([key, value]) => `${key.replaceAll("_", " ")}: ${value}`);
    text = named.length > 0 ? named.join(" ") : sentence(response.status);
  }
  if (response.status === 429 && retryAfter > 0) text = `${text} Try again in ${retryAfter} s.`;
  return new ApiError(response.status, text, fields, retryAfter);
}

function sentence(status: number): string {
  switch (status) {
    case 401: return "Sign in.";
    case 403: return "You may not do that.";
    case 404: return "There is no such thing here (any more).";
    case 409: return "Its state does not allow that any more. Reload to see it as it is.";
    case 429: return "Too many requests.";
    case 502:
    case 503:
    case 504: return "The server is not ready. It may be starting: try again in a moment.";
    default: return `The server failed (${status}). Its log says why: look at the page Logs, or on the machine: selflink logs --level error`;
  }
}

/** Whether error only says that the asker itself gave up. */
export function aborted(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** Any error in words. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
