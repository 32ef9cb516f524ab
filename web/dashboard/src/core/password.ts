// What a password needs before it is worth sending.

/** The shortest that the server takes. */
export const SHORTEST = 8;
/** From here on a guesser has little hope. */
const GOOD = 14;

/** What to tell about a password while it is written. */
export function hint(password: string): { text: string; ok: boolean } {
  const length = [...password].length;
  if (length === 0) return { text: "Three or four random words make a good one.", ok: false };
  if (length < SHORTEST) return { text: `${SHORTEST - length} more ${SHORTEST - length === 1 ? "character" : "characters"}, at least.`, ok: false };
  if (new Set(password).size < 4) return { text: "Long, but too few different characters.", ok: false };
  if (length < GOOD) return { text: "It will do. Longer is better: length counts more than odd signs.", ok: true };
  return { text: "Good and long.", ok: true };
}
