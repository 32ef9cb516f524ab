// Acts on jobs. Each says beforehand what it will do, with the number.
import { wordsOf } from "../../core/api.ts";
import { count, plural } from "../../core/format.ts";
import { inWords } from "../../core/jobfilter.ts";
import type { Query } from "../../core/route.ts";
import type { Bulk } from "../../core/shapes.ts";
import { ask } from "../../state/ask.svelte.ts";
import { api } from "../../state/session.svelte.ts";
import { toasts } from "../../state/toasts.svelte.ts";

export type JobAct = "retry" | "cancel" | "delete";

export const WORDS: Readonly<Record<JobAct, { verb: string; past: string; effect: string; danger: boolean }>> = {
  retry: { verb: "Retry", past: "Retried", effect: "Each is queued again at once, with all its attempts.", danger: false },
  cancel: { verb: "Cancel", past: "Cancelled", effect: "None of them runs any more; one that runs now is told to stop.", danger: true },
  delete: { verb: "Delete", past: "Deleted", effect: "Their arguments, results and errors are gone for good.", danger: true },
};

/** Asks, then acts on one job; true when it was done. */
export async function onOne(what: JobAct, id: string, kind: string): Promise<boolean> {
  const words = WORDS[what];
  if (what !== "retry" && !(await ask({ title: `${words.verb} this job?`, text: [kind, words.effect], act: `${words.verb} the job`, danger: words.danger }))) return false;
  return (await each(what, [id])) > 0;
}

/** Asks, then acts on the chosen jobs one by one; true when any was done. */
export async function onChosen(what: JobAct, ids: readonly string[]): Promise<boolean> {
  const words = WORDS[what];
  if (!(await ask({ title: `${words.verb} ${plural(ids.length, "job")}?`, text: [words.effect], act: `${words.verb} ${plural(ids.length, "job")}`, danger: words.danger }))) return false;
  return (await each(what, ids)) > 0;
}

async function each(what: JobAct, ids: readonly string[]): Promise<number> {
  let done = 0;
  let why = "";
  const left = [...ids];
  const worker = async () => {
    for (let id = left.shift(); id !== undefined; id = left.shift()) {
      try {
        await api.post(`jobs/${encodeURIComponent(id)}/${what}`);
        done++;
      } catch (error) {
        why = wordsOf(error);
      }
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  if (done > 0) toasts.done(`${WORDS[what].past} ${plural(done, "job")}.`);
  if (done < ids.length) toasts.failed(ids.length === 1 ? why : `${plural(ids.length - done, "job")} of ${count(ids.length)} could not be changed: ${why}`);
  return done;
}

/** Counts what matches, asks with that number, then acts until nothing is left; true when any was done. */
export async function onMatching(what: JobAct, filter: Query): Promise<boolean> {
  const words = WORDS[what];
  let done = 0;
  try {
    const { matching } = await api.post<Bulk>("jobs/bulk", { action: what, filter, dry_run: true });
    if (matching === 0) {
      toasts.done("Nothing matches any more.");
      return true;
    }
    const jobs = plural(matching, "job");
    if (!(await ask({ title: `${words.verb} ${jobs}?`, text: [`These are ${inWords(filter)}.`, words.effect], act: `${words.verb} ${jobs}`, danger: words.danger }))) return false;
    for (let more = true; more; ) {
      const part = await api.post<Bulk>("jobs/bulk", { action: what, filter, dry_run: false });
      done += part.done;
      more = part.more && part.done > 0;
    }
    toasts.done(`${words.past} ${plural(done, "job")}.`);
  } catch (error) {
    toasts.failed(done > 0 ? `${words.past} ${plural(done, "job")}, then it failed: ${wordsOf(error)}` : wordsOf(error));
  }
  return done > 0;
}
