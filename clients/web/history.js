// The last seconds of sound, by their place in the stream, and wav files.

import { RATE, toPcm } from "./session.js";

/** Keeps the last `seconds` of a stream whose samples have numbers. */
export class History {
  end = 0;
  #data;

  constructor(seconds = 20) {
    this.#data = new Float32Array(seconds * RATE);
  }

  /** Samples from number `at` on; what lies between the end and them is silence. */
  put(at, samples) {
    const size = this.#data.length;
    for (let i = Math.max(this.end, at - size); i < at; i++) this.#data[i % size] = 0;
    for (let i = 0; i < samples.length; i++) this.#data[(at + i) % size] = samples[i];
    this.end = Math.max(this.end, at + samples.length);
  }

  get start() {
    return Math.max(0, this.end - this.#data.length);
  }

  /** Samples [from, to); silence where they are not kept. */
  get(from, to) {
    const out = new Float32Array(Math.max(0, to - from));
    for (let i = Math.max(from, this.start); i < Math.min(to, this.end); i++) {
      out[i - from] = this.#data[i % this.#data.length];
    }
    return out;
  }
}

/** A wav file of 16 kHz samples, as a Blob. */
export function wav(samples) {
  const data = toPcm(samples);
  const head = new DataView(new ArrayBuffer(44));
  const write = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  write(0, "RIFF");
  head.setUint32(4, 36 + data.length, true);
  write(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, RATE, true);
  head.setUint32(28, 2 * RATE, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  write(36, "data");
  head.setUint32(40, data.length, true);
  return new Blob([head, data], { type: "audio/wav" });
}
