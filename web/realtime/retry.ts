// When to come back. All times are in milliseconds.

/** Where the back-off begins: the first wait is a random part of it. */
export const BASE = 500;

/** No wait of the back-off is longer. */
export const CAP = 30_000;

/** A connection that stood this long starts the back-off anew. */
export const LASTED = 10_000;

/** After a restart of the server, its clients come back within this time. */
const RESTART_SPREAD = 5_000;

/** After too many frames, a client stays away this long at least. */
const SLOW_DOWN = 10_000;

/** When to come back, or why not to. */
export type Verdict = { after: number } | { giveUp: string };

/**
 * The wait before an attempt: a random part of a limit that doubles with every
 * attempt that failed, so that clients that were cut together come back apart.
 */
export function backOff(failed: number, random: () => number): number {
  return random() * Math.min(CAP, BASE * 2 ** Math.min(failed, 16));
}

/** What to do after a connection ended with a close code of docs/REALTIME.md. */
export function afterClose(code: number, reason: string, failed: number, random: () => number): Verdict {
  switch (code) {
    case 1002:
    case 1007:
    case 1009:
      // The server did not understand this client. Coming back would not help.
      return { giveUp: `the server refused what this client sent: ${code} ${reason}`.trim() };
    case 1008:
      return { after: SLOW_DOWN + backOff(failed, random) };
    case 1012:
      return { after: random() * RESTART_SPREAD };
    default:
      return { after: backOff(failed, random) };
  }
}
