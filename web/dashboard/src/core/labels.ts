// The words for what the API says in codes. A state is never colour alone.
import type { CheckState, JobState, Level, Role, Worst } from "./shapes.ts";

/** The tones that the style sheet knows. */
export type Tone = "good" | "low" | "medium" | "high" | "busy" | "quiet";

/** A word and its tone. */
export interface Label { word: string; tone: Tone }

export const VERDICT: Readonly<Record<string, Label>> = {
  well: { word: "Well", tone: "good" },
  degraded: { word: "Degraded", tone: "medium" },
  down: { word: "Down", tone: "high" },
};

export const WORST: Readonly<Record<Worst | "none", Label>> = {
  healthy: { word: "Healthy", tone: "good" },
  low: { word: "Notice", tone: "low" },
  medium: { word: "Warning", tone: "medium" },
  high: { word: "Critical", tone: "high" },
  none: { word: "Not watched", tone: "quiet" },
};

export const JOB: Readonly<Record<JobState, Label>> = {
  queued: { word: "Queued", tone: "busy" },
  scheduled: { word: "Scheduled", tone: "quiet" },
  retrying: { word: "Retrying", tone: "medium" },
  running: { word: "Running", tone: "busy" },
  succeeded: { word: "Succeeded", tone: "good" },
  dead: { word: "Dead", tone: "high" },
  cancelled: { word: "Cancelled", tone: "quiet" },
};

export const JOB_STATES = Object.keys(JOB) as JobState[];

export const CHECK: Readonly<Record<CheckState, Label>> = {
  unknown: { word: "Not asked yet", tone: "quiet" },
  healthy: { word: "Healthy", tone: "good" },
  transient: { word: "Just failed", tone: "low" },
  hidden: { word: "Effect of another", tone: "quiet" },
  problem: { word: "Problem", tone: "high" },
};

export const OUTCOME: Readonly<Record<string, Label>> = {
  running: { word: "Running", tone: "busy" },
  succeeded: { word: "Succeeded", tone: "good" },
  failed: { word: "Failed", tone: "high" },
  missed: { word: "Missed", tone: "medium" },
};

export const LEVEL: Readonly<Record<Level, Label>> = {
  debug: { word: "Debug", tone: "quiet" },
  info: { word: "Info", tone: "busy" },
  warning: { word: "Warning", tone: "medium" },
  error: { word: "Error", tone: "high" },
};

export const ROLE: Readonly<Record<Role, Label>> = {
  user: { word: "Member", tone: "quiet" },
  viewer: { word: "Viewer", tone: "busy" },
  operator: { word: "Operator", tone: "good" },
};

/** The label of a code, also of one that a newer server made up. */
export function labelOf(table: Readonly<Record<string, Label>>, code: string): Label {
  return table[code] ?? { word: code, tone: "quiet" };
}
