// Copies what the microphone hears to the page, in blocks.

class Microphone extends AudioWorkletProcessor {
  #block;
  #filled = 0;

  constructor({ processorOptions }) {
    super();
    this.#block = new Float32Array(processorOptions.block);
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    let taken = 0;
    while (taken < samples.length) {
      const count = Math.min(samples.length - taken, this.#block.length - this.#filled);
      for (let i = 0; i < count; i++) {
        let sum = 0;
        for (const channel of input) sum += channel[taken + i];
        this.#block[this.#filled + i] = sum / input.length;
      }
      taken += count;
      this.#filled += count;
      if (this.#filled === this.#block.length) {
        const heard = (currentFrame + taken) / sampleRate;
        this.port.postMessage({ samples: this.#block, heard });
        this.#filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
