// Conversion of codes into another voice, and what is known of who is talking meanwhile.
// facodec/streams/conversion.py has the same rules and the reasons.

import { hasMoved } from "./talker.js";

const LOOK_EVERY = 8; // frames
const LAYERS = 3; // that say nothing of who is talking
const LEVELS = 8; // of a prosody code: pitch * 8 + level; pitch 0 is no voice
const PITCHES = 128;
const LOWEST = 55; // Hz
const HIGHEST = 450;
const STEP = Math.log(HIGHEST / LOWEST) / (PITCHES - 2);
const REFERENCE = 150; // Hz, from which octaves are counted
const PAUSE = 24; // frames
const GAP = 8;
const SETTLED = 120;
const ENOUGH = 8;
const GLIDE_SHARE = 0.1;
const GLIDE_MOST = 0.15 / 12;
const HOLD = 8;
const HELD = 0.5;
const GUESS_LOWEST = 110;
const GUESS_HIGHEST = 240;
const ONSET = 1 / 12;
const NOTHING_HEARD = 0.02;
const STRANGER = 0.88;
const SEMITONES = 12;
const LARGEST = 1e4;

/** The timbre of somebody alike who speaks so many semitones higher. */
export function raised(timbre, semitones) {
  const higher = Float32Array.from(timbre);
  const last = higher.length - 1;
  higher[last] = Math.max(-LARGEST, Math.min(LARGEST, higher[last] + semitones / SEMITONES));
  return higher;
}

/** Conversion of one stream. `vector`: the timbre (256,) to decode with, the same array until it
 * changes. */
export class Conversion {
  vector;
  #target; #steer;
  #source = null;
  #pitch = new SourcePitch();
  #frames = 0;

  /** `target`: timbre (256,). `steer`: how far it is pushed from the talker's; null where his must not
   * show in it. */
  constructor(target, steer) {
    this.aim(target, steer);
  }

  /** Another target from the next frame on. */
  aim(target, steer) {
    this.#target = Float32Array.from(target);
    this.#steer = steer;
    this.vector = this.#steered();
  }

  /** Whether an estimate of who is talking counts before the next frame. */
  get isTimeToLook() {
    return this.#frames % LOOK_EVERY === 0;
  }

  /** Codes (6,) -> (3,). `estimate`: timbre (256,) of who is talking, where it is time to look. */
  convert(codes, estimate) {
    this.#frames++;
    if (estimate) this.#hear(estimate);
    const kept = codes.slice(0, LAYERS);
    if (this.#source === null) return kept;
    const octaves = Math.fround(this.#target.at(-1) - Math.fround(this.#pitch.follow(codes[0])));
    const pitch = Math.floor(codes[0] / LEVELS);
    if (pitch === 0) return kept;
    const moved = pitch + Math.round((octaves * Math.LN2) / STEP);
    kept[0] = Math.max(1, Math.min(PITCHES - 1, moved)) * LEVELS + (codes[0] % LEVELS);
    return kept;
  }

  #hear(estimate) {
    this.#pitch.hear(estimate);
    this.#source = estimate;
    const steered = this.#steered();
    if (hasMoved(this.vector, steered)) this.vector = steered;
  }

  /** The target, its learned part pushed away from the source's and of unit length again. */
  #steered() {
    const pushed = Float32Array.from(this.#target);
    if (this.#source === null || this.#steer === null) return pushed;
    const last = pushed.length - 1;
    let square = 0;
    for (let i = 0; i < last; i++) {
      pushed[i] += this.#steer * (pushed[i] - this.#source[i]);
      square += pushed[i] ** 2;
    }
    const length = Math.sqrt(square) || 1;
    for (let i = 0; i < last; i++) pushed[i] /= length;
    return pushed;
  }
}

/** The typical pitch of who is talking, in octaves: it moves in pauses alone. */
class SourcePitch {
  #octaves = null;
  #voice = null;
  #estimate = null;
  #silent = PAUSE;
  #voiced = 0;
  #held = 0;
  #recent = [];
  #settled = false;
  #known = false;

  hear(estimate) {
    this.#estimate = estimate;
    this.#known ||= Math.abs(estimate.at(-1)) > NOTHING_HEARD;
    const sure = this.#settled && this.#voiced >= SETTLED;
    if (sure && areStrangers(this.#voice, estimate)) {
      this.#settled = false;
      this.#voiced = this.#held = 0;
    }
  }

  /** Octaves that a frame with this prosody code is moved from. */
  follow(code) {
    const pitch = Math.floor(code / LEVELS);
    const heard = this.#known && this.#estimate ? this.#estimate : null;
    if (pitch === 0) {
      this.#silent++;
      this.#recent = [];
      if (heard) this.#move(heard);
      return this.#octaves ?? 0;
    }
    if (this.#octaves === null && heard) this.#octaves = heard.at(-1);
    else if (this.#octaves === null || (!this.#known && this.#silent >= PAUSE)) this.#octaves = guess(pitch);
    this.#silent = 0;
    this.#voiced++;
    this.#recent = [...this.#recent, pitch].slice(-HOLD);
    const isStill = Math.max(...this.#recent) - Math.min(...this.#recent) <= 1;
    if (this.#recent.length === HOLD && isStill) this.#held++;
    return this.#octaves;
  }

  #move(estimate) {
    if (this.#octaves === null || this.#voiced < ENOUGH) return;
    if (this.#settled) {
      if (this.#silent !== PAUSE) return;
      const step = GLIDE_SHARE * (estimate.at(-1) - this.#octaves);
      this.#octaves += Math.max(-GLIDE_MOST, Math.min(GLIDE_MOST, step));
    } else if (this.#silent === GAP) {
      if (this.#held < HELD * this.#voiced) this.#octaves = estimate.at(-1);
      this.#settled = this.#voiced >= SETTLED;
      this.#voice = estimate;
    }
  }
}

function areStrangers(one, other) {
  let alike = 0;
  for (let i = 0; i < one.length - 1; i++) alike += one[i] * other[i];
  return alike < STRANGER;
}

/** Typical pitch by one voiced class. */
function guess(pitch) {
  const hertz = LOWEST * Math.exp((pitch - 1) * STEP);
  return Math.log2(Math.max(GUESS_LOWEST, Math.min(GUESS_HIGHEST, hertz)) / REFERENCE) - ONSET;
}
