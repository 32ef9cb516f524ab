// JSON of the appliance, with ids of up to 19 digits.

/** Any JSON value, as {@link parse} gives it. */
export type Json = null | boolean | number | string | Json[] | JsonObject;

/** A JSON object, as {@link parse} gives it. */
export type JsonObject = { [member: string]: Json };

/**
 * An id. The appliance writes ids as JSON numbers of up to 19 digits, more than
 * a JavaScript number holds, so they are strings here: equal ids are equal
 * strings, and they fit into URLs as they are.
 */
export type Id = string;

// A string or a number of JSON. Strings are matched so that digits in them are
// passed over; the loop over them is unrolled, since the engine would
// otherwise remember every character of a long text.
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
const wide = /\d{16}/;
const integer = /^-?\d{16,}$/;

/**
 * Parses JSON like `JSON.parse`, but loses no digit of an integer:
 *
 * - an integer beyond ±(2^53 − 1) becomes a string,
 * - an integer of a member named `id` or `…_id` always does, however small, so
 *   that an id has one type and not one that depends on its age.
 *
 * Everything else is as `JSON.parse` gives it. Use it for REST answers too.
 * Throws a SyntaxError when text is not JSON.
 */
export function parse(text: string): Json {
  if (wide.test(text)) {
    JSON.parse(text); // a text that is no JSON must not become one below
    text = text.replace(token, (found) =>
      integer.test(found) && !Number.isSafeInteger(Number(found)) ? `"${found}"` : found,
    );
  }
  return JSON.parse(text, idsAsStrings) as Json;
}

function idsAsStrings(member: string, value: unknown): unknown {
  return Number.isSafeInteger(value) && (member === "id" || member.endsWith("_id")) ? String(value) : value;
}

/** Tells whether value is a JSON object: neither null nor an array. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
