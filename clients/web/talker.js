// When an estimate of who is talking is worth telling: facodec/streams/talkers.py has the same rule.

import { fromHalf, toHalf } from "./half.js";

const LOOK_EVERY = 8; // frames
const MOVED = 0.1; // of its length, from the last one told

/** Follows the running timbre of one encoder. */
export class Talker {
  #frames = 0;
  #told = null;

  /** Before each frame. `estimate()` -> the running timbre (256,). Returns it as it is to be told,
   * rounded to 16 bits, where it has moved; else null. */
  look(estimate) {
    if (this.#frames++ % LOOK_EVERY) return null;
    const now = estimate().map((number) => fromHalf(toHalf(number)));
    if (this.#told && !hasMoved(this.#told, now)) return null;
    return (this.#told = now);
  }
}

/** Whether a timbre (256,) is so far from the one last taken that it is worth telling. */
export function hasMoved(taken, now) {
  return distance(now, taken) > MOVED * distance(now, null);
}

function distance(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += (one[i] - (other ? other[i] : 0)) ** 2;
  return Math.sqrt(sum);
}
