// Whether the microphone hears the loudspeaker, by how loud both are over time. Knows no page.
//
// A microphone that hears what is played is never much quieter than that, a little later; at any
// other time it may be. How loud anything is to how loud else does not matter.

import { RATE, now } from "./session.js";

export const FRAME = 0.02; // seconds
const SIZE = FRAME * RATE; // samples
export const FRAMES = 500; // that are looked at: 10 s
const LATER = 16; // frames by which the microphone may hear later what was played: 0.3 s
const ELSEWHERE = { from: 20, to: 60 }; // frames later, when it has nothing to do with it any more
const PLAYED = -45; // dB of full scale from which on something is played
const ENOUGH = 150; // frames of it: 3 s
const LEAST = 0.05; // share of the frames beneath the difference that counts
const MARGIN = 7; // dB that are no chance
const FLOOR = -100;
const LATE = 0.5; // seconds
const LOOK_EVERY = 2000; // ms

/** Level of samples in dB of full scale. */
export function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.max(FLOOR, 10 * Math.log10(sum / samples.length + 1e-12)) : FLOOR;
}

/** Whether `heard` has in it what was `played`: levels in dB of the same frames, FRAME s each. */
export function isFeedback(heard, played) {
  return evidence(heard, played) > MARGIN;
}

/** dB by which the microphone is less quiet soon after something is played than at other times. */
export function evidence(heard, played) {
  const leasts = (from, to) => {
    const found = [];
    for (let lag = from; lag < to; lag++) {
      const least = leastDifference(heard, played, lag);
      if (least !== null) found.push(least);
    }
    return found;
  };
  const soon = leasts(0, LATER);
  const elsewhere = leasts(ELSEWHERE.from, ELSEWHERE.to);
  if (!soon.length || !elsewhere.length) return 0;
  return Math.max(...soon) - quantile(elsewhere, 0.5);
}

/** How quiet the microphone gets beside what was played so many frames before, dB; null where too
 * little was. */
function leastDifference(heard, played, lag) {
  const differences = [];
  for (let i = lag; i < heard.length; i++) {
    if (played[i - lag] > PLAYED) differences.push(heard[i] - played[i - lag]);
  }
  return differences.length < ENOUGH ? null : quantile(differences, LEAST);
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))];
}

/** Keeps the levels of the last seconds by the time at which they were heard and played. */
export class Feedback {
  #heard = new Levels();
  #played = new Levels();

  /** Samples (n,) whose first was heard at `time`, in seconds. */
  hear(time, samples) {
    this.#heard.put(time, samples);
  }

  /** Samples (n,) whose first will be played at `time`. */
  play(time, samples) {
    this.#played.put(time, samples);
  }

  /** Whether the microphone hears the loudspeaker, looked at from `time` back, but for the newest:
   * a microphone tells late. */
  isHeard(time) {
    const end = Math.floor((time - LATE) / FRAME);
    return isFeedback(this.#heard.until(end), this.#played.until(end));
  }
}

/** Calls `show(whether)` now and then: whether who talks, as `talk()` gives, hears the loudspeaker. */
export function watchFeedback(talk, show) {
  setInterval(() => show(talk()?.feedback.isHeard(now()) ?? false), LOOK_EVERY);
}

/** The loudest level of each frame, for the last ones. */
class Levels {
  #frames = new Map();

  put(time, samples) {
    for (let at = 0; at < samples.length; at += SIZE) {
      const frame = Math.floor((time + at / RATE) / FRAME);
      const there = this.#frames.get(frame) ?? FLOOR;
      this.#frames.set(frame, Math.max(there, level(samples.subarray(at, at + SIZE))));
    }
    while (this.#frames.size > 2 * FRAMES) this.#frames.delete(this.#frames.keys().next().value);
  }

  until(end) {
    return Array.from({ length: FRAMES }, (_, i) => this.#frames.get(end - FRAMES + i) ?? FLOOR);
  }
}
