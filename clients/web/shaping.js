// Sound on its way in and out, as a person has it changed: mute, one's own voice, loudness. Nothing
// clicks, and what nobody changed is not touched.

/** Follows what is chosen: {mute, bypass, gain, hear}, the same object for good. */
export class Shaping {
  #choice;
  #factors = { mute: 1, bypass: 0, gain: 1, hear: 1 };
  #last = new Float32Array(0);
  #isBroken = false;

  constructor(choice) {
    this.#choice = choice;
  }

  /** What follows does not go on from what was: another microphone, or something was left out. */
  breakOff() {
    this.#isBroken = true;
  }

  /** Samples (n,) of the microphone -> those to be sent, as 16 bits have them. */
  toSend(samples) {
    const out = Float32Array.from(samples);
    this.#glide(out, "mute", this.#choice.mute ? 0 : 1);
    if (this.#isBroken) this.#join(out);
    for (let i = 0; i < out.length; i++) out[i] = Math.round(out[i] * 32768) / 32768;
    this.#last = out;
    return out;
  }

  /** Samples (n,) that came back, and those `said` in their place -> what others hear. */
  toShare(samples, said) {
    const from = this.#factors.bypass;
    const to = (this.#factors.bypass = this.#choice.bypass ? 1 : 0);
    const out = samples.map((sample, i) => {
      const weight = from + ((to - from) * (i + 1)) / samples.length;
      return sample + weight * (said[i] - sample);
    });
    this.#glide(out, "gain", this.#choice.gain);
    return out;
  }

  /** Samples (n,) that others hear -> what is heard here. */
  toHear(samples) {
    const out = Float32Array.from(samples);
    this.#glide(out, "hear", this.#choice.hear ? 1 : 0);
    return out;
  }

  /** Multiplies by a factor that moves from where it was to `to` meanwhile. */
  #glide(samples, name, to) {
    const from = this.#factors[name];
    this.#factors[name] = to;
    if (from === 1 && to === 1) return;
    for (let i = 0; i < samples.length; i++) {
      const value = samples[i] * (from + ((to - from) * (i + 1)) / samples.length);
      samples[i] = Math.max(-1, Math.min(1, value));
    }
  }

  /** Lets what was before go on backwards, under a fade. */
  #join(samples) {
    this.#isBroken = false;
    const count = Math.min(samples.length, this.#last.length);
    for (let i = 0; i < count; i++) {
      const weight = (i + 1) / count;
      samples[i] = weight * samples[i] + (1 - weight) * this.#last[this.#last.length - 1 - i];
    }
  }
}
