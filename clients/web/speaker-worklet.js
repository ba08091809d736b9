// Plays what the page sends, by the rules of the playout buffer.

import { PlayoutBuffer } from "./playout.js";

const TELL_EVERY = 8; // packets

class Speaker extends AudioWorkletProcessor {
  #buffer = new PlayoutBuffer({ rate: sampleRate });
  #packets = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data === "end") this.#buffer.end();
      else this.#take(data);
    };
  }

  #take(samples) {
    const wait = this.#buffer.push(samples, currentTime);
    if (++this.#packets % TELL_EVERY === 1) {
      this.port.postMessage({ wait, counters: this.#buffer.counters });
    }
  }

  process(_, [output]) {
    this.#buffer.pullInto(output[0]);
    for (const channel of output.slice(1)) channel.set(output[0]);
    return true;
  }
}

registerProcessor("speaker", Speaker);
