// Does what a button says and tells how it went.
import { wordsOf } from "../core/api.ts";
import { toasts } from "./toasts.svelte.ts";

/** Runs an act; says done when it worked and why when it did not. */
export async function act<T>(run: () => Promise<T>, done: string | ((result: T) => string)): Promise<T | null> {
  try {
    const result = await run();
    const text = typeof done === "string" ? done : done(result);
    if (text !== "") toasts.done(text);
    return result;
  } catch (error) {
    toasts.failed(wordsOf(error));
    return null;
  }
}
