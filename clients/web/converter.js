// Sound to sound in another voice, hop by hop, as a server converts it.

import { HOP } from "./codec.js";
import { Conversion } from "./conversion.js";

export class Converter {
  #encoder; #decoder; #conversion;
  #vector = null;

  /** `target`: timbre (256,); `steer`: see Conversion. */
  constructor(codec, target, steer) {
    this.#encoder = codec.encoder();
    this.#decoder = codec.decoder();
    this.#conversion = new Conversion(target, steer);
  }

  aim(target, steer) {
    this.#conversion.aim(target, steer);
  }

  /** Samples (n,), any n -> {frames, hops, decode}: of each frame that became complete its `codes`
   * (6,), the talker's `voice` where it has moved, what is `sent` (3,) and the `vector` that it is
   * spoken in where that changes, else null; the samples (200,) of each frame but the last one; and the
   * milliseconds that decoding took. */
  convert(samples) {
    const out = { frames: [], hops: [], decode: 0 };
    for (let at = 0; at < samples.length; at += HOP) {
      for (const heard of this.#encoder.encode(samples.subarray(at, at + HOP))) this.#take(heard, out);
    }
    return out;
  }

  close() {
    this.#encoder.close();
    this.#decoder.close();
  }

  #take({ codes, voice }, out) {
    const estimate = this.#conversion.isTimeToLook ? this.#encoder.estimate() : null;
    const sent = this.#conversion.convert(codes, estimate);
    const { vector } = this.#conversion;
    const changes = vector !== this.#vector;
    this.#vector = vector;
    out.frames.push({ codes, voice, sent, vector: changes ? vector : null });
    const began = performance.now();
    if (changes) this.#decoder.setVoice(vector);
    const hop = this.#decoder.decode(sent);
    if (hop) out.hops.push(hop);
    out.decode += performance.now() - began;
  }
}
