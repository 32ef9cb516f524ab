// Keyboard shortcuts: "g" then a letter goes to a page, single keys act.

/** What keys ask for. */
export type Command = { go: string } | { act: "help" | "filter" | "theme" };

/** The letters after "g", by page. */
export const LETTERS: Readonly<Record<string, string>> = {
  o: "overview", j: "jobs", s: "schedules", r: "realtime", d: "database",
  b: "broker", m: "mentor", f: "storage", q: "search", y: "payments", l: "logs", p: "people", c: "settings",
};

/** "g" waits this long for its letter, in milliseconds. */
const PATIENCE = 1500;

/** What a listener of keys knows of an event. */
export interface Key {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  /** Whether the person writes into a field. */
  writing: boolean;
  at: number;
}

/** Remembers a "g" until its letter comes. */
export class Keys {
  #since = Number.NEGATIVE_INFINITY;

  /** What this key asks for, if anything. */
  press(key: Key): Command | null {
    if (key.ctrlKey || key.metaKey || key.altKey || key.writing) return null;
    const waiting = key.at - this.#since < PATIENCE;
    this.#since = Number.NEGATIVE_INFINITY;
    if (waiting) {
      const page = LETTERS[key.key.toLowerCase()];
      return page === undefined ? null : { go: page };
    }
    switch (key.key) {
      case "g":
        this.#since = key.at;
        return null;
      case "?": return { act: "help" };
      case "/": return { act: "filter" };
      case "t": return { act: "theme" };
      default: return null;
    }
  }
}
