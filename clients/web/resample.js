// Changes the sample rate of a stream: a windowed sinc in as many phases as the rates need.

const CROSSINGS = 12;
const ROLL_OFF = 0.92;

/** push(samples) gives what can be told by now; the last `delay` seconds wait for what follows. */
export class Resampler {
  #up; #down; #half; #taps; #phases;
  #held;
  #place = 0;

  constructor(from, to) {
    const common = divisor(from, to);
    this.#up = to / common;
    this.#down = from / common;
    const scale = Math.min(1, to / from) * ROLL_OFF;
    this.#half = Math.ceil(CROSSINGS / scale);
    this.#taps = 2 * this.#half;
    this.#phases = Array.from({ length: this.#up }, (_, phase) => this.#filter(phase, scale));
    this.#held = new Float32Array(this.#half);
    this.delay = from === to ? 0 : this.#half / from;
  }

  push(samples) {
    if (this.#up === this.#down) return samples;
    const held = new Float32Array(this.#held.length + samples.length);
    held.set(this.#held);
    held.set(samples, this.#held.length);
    const out = [];
    for (;;) {
      const start = Math.floor(this.#place / this.#up);
      if (start + this.#taps > held.length) break;
      const filter = this.#phases[this.#place % this.#up];
      let sum = 0;
      for (let k = 0; k < this.#taps; k++) sum += filter[k] * held[start + k];
      out.push(sum);
      this.#place += this.#down;
    }
    const done = Math.min(held.length, Math.floor(this.#place / this.#up));
    this.#place -= done * this.#up;
    this.#held = held.subarray(done);
    return Float32Array.from(out);
  }

  #filter(phase, scale) {
    const filter = new Float64Array(this.#taps);
    for (let k = 0; k < this.#taps; k++) {
      const x = k - this.#half - phase / this.#up;
      const angle = Math.PI * x * scale;
      const window = Math.cos((Math.PI * x) / (2 * (this.#half + 1))) ** 2;
      filter[k] = scale * window * (x === 0 ? 1 : Math.sin(angle) / angle);
    }
    const sum = filter.reduce((a, b) => a + b, 0);
    return filter.map((value) => value / sum);
  }
}

function divisor(a, b) {
  return b ? divisor(b, a % b) : a;
}
