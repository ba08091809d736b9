// Loudness of speech as its codes say. facodec/bundled/loudness.py computes the same and has the
// reasons.

const LEVELS = 8; // of a prosody code: pitch * 8 + level; pitch 0 is no voice
const MIN_LAYERS = 3;
const MEMORY = 160; // frames over which powers are compared
const PRIOR = 3; // frames for which nothing is wrong, to begin with
const DETAIL_MEMORY = 24; // both, with detail codes
const DETAIL_PRIOR = 10;
const RIGHT = 5; // dB that may be wrong with detail codes, and from which on all of it is put right
const WRONG = 8;
const MOST = 24; // dB of gain
const BOUND = 10 ** (RIGHT / 10);
const SILENCE = 1e-9;
// Mean square of the samples by level: the middle of a step of 8 dB, in a window.
const POWERS = Array.from({ length: LEVELS }, (_, level) => 10 ** ((-66 + 8 * (level - 0.5) - 0.7) / 10) / 0.375);
const NONE = { coded: 0, spoken: 0, frames: 0 };

/** Follows one decoder. */
export class Loudness {
  #bare = NONE;
  #detailed = NONE;
  #gain = 1;

  /** Samples (200,), changed in place, that became complete with codes (3 to 6,); returns them. */
  step(codes, samples) {
    const before = this.#gain;
    const hasDetail = codes.length > MIN_LAYERS && codes[MIN_LAYERS] >= 0;
    this.#hear(codes[0], samples, hasDetail);
    if (before === 1 && this.#gain === 1) return samples;
    for (let i = 0; i < samples.length; i++) {
      samples[i] *= before + ((this.#gain - before) * (i + 1)) / samples.length;
    }
    return samples;
  }

  #hear(code, samples, hasDetail) {
    const level = code % LEVELS;
    const hasVoice = code >= LEVELS;
    if (!hasDetail) {
      if (!hasVoice) return;
      this.#bare = heard(this.#bare, POWERS[level], samples, MEMORY);
      this.#gain = gainOf(wrong(this.#bare, PRIOR));
      return;
    }
    this.#gain = 1;
    if (!hasVoice || level === 0) {
      this.#detailed = faded(this.#detailed, DETAIL_MEMORY);
      return;
    }
    const now = (this.#detailed = heard(this.#detailed, POWERS[level], samples, DETAIL_MEMORY));
    if (now.spoken <= now.coded * BOUND && now.coded <= now.spoken * BOUND) return;
    const lacking = wrong(now, DETAIL_PRIOR) * (1 + DETAIL_PRIOR / DETAIL_MEMORY);
    const share = Math.min(Math.max(Math.abs(lacking) - RIGHT, 0) / (WRONG - RIGHT), 1);
    this.#gain = gainOf(share * lacking);
  }
}

function faded({ coded, spoken, frames }, memory) {
  const share = 1 - 1 / memory;
  return { coded: coded * share, spoken: spoken * share, frames: frames * share };
}

function heard(powers, coded, samples, memory) {
  const { coded: was, spoken, frames } = faded(powers, memory);
  let energy = 0;
  for (const sample of samples) energy += sample * sample;
  return { coded: was + coded, spoken: spoken + energy / samples.length + SILENCE, frames: frames + 1 };
}

/** dB that what was spoken lacks. */
function wrong({ coded, spoken, frames }, prior) {
  return (10 * Math.log10(coded / spoken) * frames) / (frames + prior);
}

function gainOf(decibel) {
  return 10 ** (Math.min(Math.max(decibel, -MOST), MOST) / 20);
}
