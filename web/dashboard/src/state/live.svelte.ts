// The stream of the current page, its state, and the verdict that every stream
// carries.
import { Link, type LinkState, type Surroundings } from "../core/live.ts";
import type { Overview, Verdict } from "../core/shapes.ts";
import { api, session } from "./session.svelte.ts";

/** The browser around a link. */
export const browser: Surroundings = {
  open: (url) => new EventSource(url),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
  now: () => Date.now(),
  random: () => Math.random(),
  hidden: () => document.hidden,
  onVisibility(listener) {
    document.addEventListener("visibilitychange", listener);
    return () => document.removeEventListener("visibilitychange", listener);
  },
};

class Live {
  state = $state<LinkState>("connecting");
  verdict = $state.raw<Verdict | null>(null);
  /** The server did not answer for a while: what is shown is old. */
  away = $state(false);
  /** Whether the person stopped the updates. */
  held = $state(false);
  #topic = "";
  #link: Link | null = null;
  #takers = new Map<(data: unknown) => void, string>();

  /** Follows a topic; the one before ends. */
  follow(topic: string): void {
    if (topic === this.#topic && this.#link !== null) return;
    this.stop();
    this.#topic = topic;
    this.#link = new Link(api.url("live", { topic }), [topic, "verdict", "gone"], {
      state: (state) => {
        this.state = state;
        if (state === "live" || state === "paused") this.away = false;
      },
      event: (type, data) => this.#event(type, data),
      // An EventSource does not say why it failed: a session that ended looks
      // like a server that is gone. Ask, but not at every attempt.
      lost: (failed) => {
        if (failed >= 2) this.away = true;
        if (failed <= 2 || failed % 5 === 0) void check();
      },
    }, browser);
    if (this.held) this.#link.hold();
  }

  /** Calls taker with every event of a topic, while it is followed, until the returned function is called. */
  listen(topic: string, taker: (data: unknown) => void): () => void {
    this.#takers.set(taker, topic);
    return () => this.#takers.delete(taker);
  }

  /** Asks for the verdict, where no stream has brought it yet. */
  async ask(): Promise<void> {
    try {
      const now = await api.get<Overview>("overview");
      this.verdict ??= { ...now.verdict, problems: now.problems.length };
    } catch {
      // The stream will bring it, or the page says what is wrong.
    }
  }

  /** Stops or resumes the updates. */
  toggle(): void {
    this.held = !this.held;
    if (this.held) this.#link?.hold();
    else this.#link?.release();
  }

  stop(): void {
    this.#link?.close();
    this.#link = null;
  }

  #event(type: string, data: unknown): void {
    if (type === "verdict") this.verdict = data as Verdict;
    else if (type === "gone") session.ended((data as { detail?: string }).detail ?? "Your session ended.");
    else for (const [taker, topic] of this.#takers) if (topic === type) taker(data);
  }
}

async function check(): Promise<void> {
  try {
    const now = await api.get<{ state: string }>("session");
    if (now.state === "signed_out") session.ended("Your session ended. Sign in to go on where you were.");
  } catch {
    // The server is away: the link keeps trying.
  }
}

/** The one live stream. */
export const live = new Live();
