// JSON without loss: ids have up to 19 digits, more than a number holds here.

// A string or a number of JSON; strings are matched so that digits in them are
// passed over.
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const wide = /\d{16}/;
const integer = /^-?\d{16,}$/;

/** Parses like JSON.parse, but an integer beyond ±(2^53 − 1) becomes a string. */
export function parse(text: string): unknown {
  if (!wide.test(text)) return JSON.parse(text);
  JSON.parse(text); // a text that is no JSON must not become one below
  return JSON.parse(text.replace(token, (found) => (integer.test(found) && !Number.isSafeInteger(Number(found)) ? `"${found}"` : found)));
}
