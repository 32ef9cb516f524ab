// Who is signed in, and the one Api that every page uses.
import { Api, wordsOf } from "../core/api.ts";
import type { Session, SignedIn } from "../core/shapes.ts";

class SessionState {
  /** null: not asked yet. */
  current = $state.raw<Session | null>(null);
  /** Why the session could not be asked for. */
  failure = $state("");
  /** What the sign-in page says, as when a session ended. */
  notice = $state("");

  /** Speaks to the server. */
  readonly api = new Api({
    base: "/dashboard/api/",
    fetch: (url, init) => fetch(url, init),
    signedOut: () => this.ended("Your session ended. Sign in to go on where you were."),
  });

  get user(): SignedIn["user"] | null {
    return this.current?.state === "signed_in" ? this.current.user : null;
  }

  /** Whether the person may act. */
  get operator(): boolean {
    return this.user?.role === "operator";
  }

  /** Asks who is signed in. */
  async load(): Promise<void> {
    this.failure = "";
    try {
      this.take(await this.api.get<Session>("session"));
    } catch (error) {
      this.failure = wordsOf(error);
    }
  }

  /** Takes what the server said about the session. */
  take(session: Session): void {
    this.api.csrf = session.state === "signed_in" ? session.csrf : "";
    if (session.state === "signed_in") this.notice = "";
    this.current = session;
  }

  /** The session has ended: the page keeps its place for who signs in again. */
  ended(notice: string): void {
    if (this.current?.state !== "signed_in") return;
    this.notice = notice;
    this.take({ state: "signed_out", first_run: false });
  }

  async signOut(): Promise<void> {
    await this.api.delete("session");
    this.take({ state: "signed_out", first_run: false });
  }
}

/** The one session. */
export const session = new SessionState();
/** The one way to the server. */
export const api = session.api;
