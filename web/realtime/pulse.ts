// Tells a quiet connection from a dead one. All times are in milliseconds.
import type { Environment } from "./environment.js";

/** How often the server is asked for a sign of life. */
export const PING_EVERY = 25_000;

/** A connection that said nothing for so long is dead, if it was asked meanwhile … */
export const SILENCE = 60_000;

/** … and had this long to answer. Hidden pages get their timers up to a minute late. */
export const ANSWER_LIMIT = 10_000;

/** A stream, which can't be asked but beats every 20 s, is dead after so long. */
export const STREAM_SILENCE = 90_000;

/** Watches one connection. */
export interface Pulse {
  /** Something came. */
  heard(): void;
  /** Ends the watch; dead is not called any more. */
  stop(): void;
}

type Clock = Pick<Environment, "setTimeout" | "clearTimeout" | "now">;

/** Watches a connection that can be asked: the server answers every ping. */
export function askingPulse(clock: Clock, ping: () => void, dead: () => void): Pulse {
  const heard = stopwatch(clock);
  const asked = stopwatch(clock);
  let unanswered = false;
  let beat: unknown;
  let watch: unknown;
  const ask = () => {
    ping();
    asked.reset();
    unanswered = true;
  };
  const onBeat = () => {
    beat = clock.setTimeout(onBeat, PING_EVERY);
    ask();
  };
  const onWatch = () => {
    let left = SILENCE - heard.passed();
    if (left <= 0) {
      // This timer and that of the ping may both be late: who was not asked in
      // time is not dead.
      if (!unanswered) ask();
      left = ANSWER_LIMIT - asked.passed();
      if (left <= 0) return dead();
    }
    watch = clock.setTimeout(onWatch, left);
  };
  beat = clock.setTimeout(onBeat, PING_EVERY);
  watch = clock.setTimeout(onWatch, SILENCE);
  return {
    heard() {
      heard.reset();
      unanswered = false;
    },
    stop() {
      clock.clearTimeout(beat);
      clock.clearTimeout(watch);
    },
  };
}

/** Watches a stream of server-sent events. */
export function waitingPulse(clock: Clock, dead: () => void): Pulse {
  const heard = stopwatch(clock);
  const onWatch = () => {
    const left = STREAM_SILENCE - heard.passed();
    if (left <= 0) return dead();
    watch = clock.setTimeout(onWatch, left);
  };
  let watch = clock.setTimeout(onWatch, STREAM_SILENCE);
  return { heard: () => heard.reset(), stop: () => clock.clearTimeout(watch) };
}

/** Measures times that a clock set back can't make endless. */
function stopwatch({ now }: Clock) {
  let start = now();
  return {
    reset: () => void (start = now()),
    passed: () => now() - (start = Math.min(start, now())),
  };
}
