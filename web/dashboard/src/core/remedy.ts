// A remedy is prose with a command in it. The page shows the prose and lets
// the command be copied.

/** A remedy in its parts. */
export interface Remedy {
  text: string;
  /** The command to run; empty when the remedy names none. */
  command: string;
}

/**
 * Finds the command: what stands in back quotes, or the last line or sentence
 * part that begins with a program an operator runs.
 */
export function split(remedy: string): Remedy {
  const quoted = /`([^`]+)`/.exec(remedy);
  if (quoted?.[1] !== undefined) return { text: remedy.replaceAll("`", ""), command: quoted[1].trim() };
  const run = /(?:^|\n|:\s+|\b[Rr]un\s+)((?:sudo |selflink |systemctl |journalctl |apt-get )[^\n]*?)(?:[.;]?(?:\s*$|\n)|[.;]\s)/.exec(remedy);
  const command = run?.[1]?.trim() ?? "";
  // A command at the very end is shown once, as the command.
  const end = command === "" ? -1 : remedy.trimEnd().replace(/[.;]$/, "").endsWith(command) ? remedy.lastIndexOf(command) : -1;
  return { text: end < 0 ? remedy : remedy.slice(0, end).trimEnd(), command };
}
