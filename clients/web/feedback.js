// Whether the microphone hears the loudspeaker, by how loud both are over time. Knows no page.
//
// While something is played, people pause now and then: the microphone then falls back to the noise
// of the room, unless it hears what is played.

export const FRAME = 0.02; // seconds
export const FRAMES = 400; // that are looked at: 8 s
const LAGS = 16; // frames by which the microphone may hear later what was played: 0.3 s
const PLAYED = -45; // dB of full scale from which on something is played
const ENOUGH = 120; // frames of it, and of quiet
const QUIET = 0.1; // share of the frames below the level that counts
const ABOVE = 10; // dB above the noise of the room that are no chance
const FLOOR = -100;

/** Level of samples in dB of full scale. */
export function level(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length ? Math.max(FLOOR, 10 * Math.log10(sum / samples.length + 1e-12)) : FLOOR;
}

/** Whether `heard` has in it what was `played`: levels in dB of the same frames, FRAME s each. */
export function isFeedback(heard, played) {
  const quiet = heard.filter((_, i) => isQuiet(played, i));
  if (quiet.length < ENOUGH / 4) return false;
  const noise = quantile(quiet, QUIET);
  for (let lag = 0; lag < LAGS; lag++) {
    const during = heard.filter((_, i) => i >= lag && played[i - lag] > PLAYED);
    if (during.length >= ENOUGH && quantile(during, QUIET) > noise + ABOVE) return true;
  }
  return false;
}

/** Nothing was played that could be heard in frame i. */
function isQuiet(played, i) {
  for (let lag = 0; lag < LAGS; lag++) if (i - lag >= 0 && played[i - lag] > PLAYED) return false;
  return true;
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
  hear(time, samples, rate) {
    this.#heard.put(time, samples, rate);
  }

  /** Samples (n,) whose first will be played at `time`. */
  play(time, samples, rate) {
    this.#played.put(time, samples, rate);
  }

  /** Whether the microphone hears the loudspeaker, looked at from `time` back. */
  isHeard(time) {
    const end = Math.floor(time / FRAME);
    return isFeedback(this.#heard.until(end), this.#played.until(end));
  }
}

/** The loudest level of each frame, for the last ones. */
class Levels {
  #frames = new Map();

  put(time, samples, rate) {
    const size = Math.round(FRAME * rate);
    for (let at = 0; at < samples.length; at += size) {
      const frame = Math.floor((time + at / rate) / FRAME);
      const there = this.#frames.get(frame) ?? FLOOR;
      this.#frames.set(frame, Math.max(there, level(samples.subarray(at, at + size))));
    }
    while (this.#frames.size > 2 * FRAMES) this.#frames.delete(this.#frames.keys().next().value);
  }

  until(end) {
    return Array.from({ length: FRAMES }, (_, i) => this.#frames.get(end - FRAMES + i) ?? FLOOR);
  }
}
