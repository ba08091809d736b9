// Whether the microphone hears the loudspeaker: then what it hears is, sample by sample, what was
// played, later by one and the same delay. How loud anything is does not matter, nor the rhythm of
// speech, which is alike in a voice and in what it was converted to.
// Source: Knapp and Carter, "The generalized correlation method for estimation of time delay" (1976).

// All at 8 kHz, half the rate, where most of speech is.
const HEARD = 8192; // samples that are compared: 1 s
const LATEST = 6144; // samples by which they may have been played earlier: 0.77 s
const EARLIEST = 80; // samples that sound takes at least
const PLAYED = HEARD + LATEST;
const SIZE = 16384; // of the transform
const EVERY = 4000; // samples from one comparison to the next
const APART = 2000; // samples by which the two may run apart
const ALIKE = 0.05; // share of their spectra that is in step
const WIDE = 20; // samples around the best delay, beyond which a tone alone fits nearly as well
const ALONE = 1.4; // times as well as any other
const NEAR = 8; // samples by which the delay may differ between comparisons
const LOOKS = 5; // comparisons, of which
const ENOUGH = 3; // have to agree
const PATIENCE = 8; // comparisons without a sign after which it has ended
const SILENT = 1e-3; // root mean square

/** Follows what one microphone hears and what is played meanwhile. */
export class Feedback {
  /** Whether the microphone hears the loudspeaker. */
  isHeard = false;
  #heard = new Line(HEARD);
  #played = new Line(PLAYED + APART);
  #next = HEARD;
  #delays = []; // of the last comparisons; null where none fits
  #misses = 0;

  /** Samples (n,) from the microphone, n even. */
  hear(samples) {
    this.#heard.add(samples);
    if (this.#heard.end < this.#next) return;
    this.#next = this.#heard.end + EVERY;
    this.#compare();
  }

  /** Samples (n,) for the loudspeaker, n even. */
  play(samples) {
    const { end } = this.#heard;
    if (Math.abs(this.#played.end - end) > APART) this.#played.restart(end);
    this.#played.add(samples);
  }

  #compare() {
    const { end } = this.#heard;
    const found = likeness(this.#heard.last(end, HEARD), this.#played.last(end, PLAYED));
    if (!found) return;
    const delay = found.share >= ALIKE ? found.delay : null;
    this.#delays = [...this.#delays, delay].slice(-LOOKS);
    const alike = this.#delays.filter((one) => one !== null && Math.abs(one - delay) <= NEAR);
    const isSign = delay !== null && alike.length >= ENOUGH;
    this.#misses = isSign ? 0 : this.#misses + 1;
    if (isSign) this.isHeard = true;
    else if (this.#misses >= PATIENCE) this.isHeard = false;
  }
}

/** Where what was heard (8192,) fits best to what was played (14336,), of which the last sample is
 * as old: {share, delay}, delay in samples. null where one of them is silent. */
export function likeness(heard, played) {
  if (power(heard) < SILENT ** 2 || power(played) < SILENT ** 2) return null;
  // Both in one transform, as the real and the imaginary part.
  const re = sharpened(heard);
  const im = sharpened(played);
  transform(re, im);
  const count = crossed(re, im);
  transform(re, im);
  const end = LATEST - EARLIEST;
  const best = highest(re, 0, end);
  const others = [highest(re, 0, best - WIDE), highest(re, best + WIDE, end)];
  const isAlone = others.every((other) => re[best] >= ALONE * (re[other] ?? 0));
  return { share: isAlone ? re[best] / count : 0, delay: LATEST - best };
}

/** Where the highest of values [from, to) is. */
function highest(values, from, to) {
  let best = from;
  for (let i = from + 1; i < to; i++) if (values[i] > values[best]) best = i;
  return from < to ? best : -1;
}

/** Samples at half the rate, at places that have numbers; the newest ones are kept. */
class Line {
  end = 0;
  #data;

  constructor(size) {
    this.#data = new Float32Array(size);
  }

  add(samples) {
    for (let i = 0; i + 1 < samples.length; i += 2) {
      this.#data[this.end++ % this.#data.length] = (samples[i] + samples[i + 1]) / 2;
    }
  }

  /** Forgets all; the next sample has this number. */
  restart(end) {
    this.#data.fill(0);
    this.end = end;
  }

  /** `count` samples before number `end`; silence where they are not known. */
  last(end, count) {
    const { length } = this.#data;
    const out = new Float32Array(count);
    const first = Math.max(0, this.end - length, end - count);
    for (let at = first; at < Math.min(end, this.end); at++) out[at - end + count] = this.#data[at % length];
    return out;
  }
}

function power(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return sum / samples.length;
}

/** Samples with their high tones raised, as speech has few, filled up to the transform's size. */
function sharpened(samples) {
  const out = new Float64Array(SIZE);
  for (let i = 1; i < samples.length; i++) out[i] = samples[i] - 0.9 * samples[i - 1];
  return out;
}

/** From the transform of two real signals a and b, as re + i im, to that of their correlation, each
 * frequency of the same weight and its conjugate, so that another transform leads back. Returns the
 * sum of the weights. */
function crossed(re, im) {
  const products = new Float64Array(SIZE);
  const turned = new Float64Array(SIZE);
  let sum = 0;
  for (let k = 0; k < SIZE; k++) {
    const m = (SIZE - k) % SIZE;
    const ar = (re[k] + re[m]) / 2;
    const ai = (im[k] - im[m]) / 2;
    const br = (im[k] + im[m]) / 2;
    const bi = (re[m] - re[k]) / 2;
    products[k] = ar * br + ai * bi;
    turned[k] = ar * bi - ai * br;
    sum += Math.hypot(products[k], turned[k]);
  }
  const floor = (1e-4 * sum) / SIZE; // what is nothing but rounding has no say
  let weights = 0;
  for (let k = 0; k < SIZE; k++) {
    const size = Math.hypot(products[k], turned[k]);
    const weight = size / (size + floor);
    weights += weight;
    re[k] = size ? (products[k] / size) * weight : 0;
    im[k] = size ? (-turned[k] / size) * weight : 0;
  }
  return weights;
}

const COSINES = Float64Array.from({ length: SIZE / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / SIZE));
const SINES = Float64Array.from({ length: SIZE / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / SIZE));

/** The discrete Fourier transform of SIZE complex numbers, in place. */
function transform(re, im) {
  for (let i = 1, j = 0; i < SIZE; i++) {
    let bit = SIZE >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      swap(re, i, j);
      swap(im, i, j);
    }
  }
  for (let half = 1; half < SIZE; half *= 2) {
    const step = SIZE / (2 * half);
    for (let start = 0; start < SIZE; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const cos = COSINES[k * step];
        const sin = SINES[k * step];
        const a = start + k;
        const b = a + half;
        const real = re[b] * cos + im[b] * sin;
        const imaginary = im[b] * cos - re[b] * sin;
        re[b] = re[a] - real;
        im[b] = im[a] - imaginary;
        re[a] += real;
        im[a] += imaginary;
      }
    }
  }
}

function swap(values, i, j) {
  const kept = values[i];
  values[i] = values[j];
  values[j] = kept;
}
