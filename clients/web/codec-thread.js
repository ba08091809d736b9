// The codec of this page: a worker that computes what the server would otherwise, so that only codes
// travel. Where a browser cannot, or is too slow, the server goes on computing.

import { isSupported } from "./codec.js";

const SLOWEST = 6; // ms a hop of 12.5 ms, encoded and decoded
const PATIENCE = 2000; // ms that somebody who has pressed a button waits for it at most
let loading = null;
let loaded = null;

/** Begins to load the codec in the background. `place`: of the server's description of its model,
 * none where the page cannot compute it. */
export function loadCodec(place, token) {
  if (!place || loading || !isSupported() || navigator.connection?.saveData) return;
  const codec = new CodecThread();
  loading = codec.load(new URL(place, import.meta.url).href, token).then(() => {
    if (codec.pace <= SLOWEST) loaded = codec;
    else codec.stop();
  }).catch(() => codec.stop());
}

/** Waits, for some time, until it is known whether the page has the codec. */
export async function awaitCodec(signal) {
  await Promise.race([loading, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
  signal.throwIfAborted();
}

/** The codec; null where, or as long as, there is none. */
export function codecOfPage() {
  return loaded?.failed ? null : loaded;
}

/** One worker. Calls are answered in their order. */
class CodecThread {
  identity = null;
  latency = null;
  /** Milliseconds that a hop took, encoded and decoded, when it was tried. */
  pace = Infinity;
  failed = false;
  #worker = new Worker(new URL("codec-worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #calls = 0;
  #streams = 0;

  constructor() {
    this.#worker.onmessage = ({ data }) => this.#take(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.stop(new Error(event.message || "the codec stopped"));
    };
  }

  async load(place, token) {
    const { identity, latency, pace } = await this.#ask({ call: "load", place, token });
    this.identity = identity;
    this.latency = latency;
    this.pace = pace;
  }

  /** An encoder: `encode(samples)` and `flush()` -> {frames: [{codes, voice}]}. */
  encoder() {
    const stream = this.#open("encoder");
    return {
      encode: (samples) => this.#ask({ call: "encode", stream, samples }),
      flush: () => this.#ask({ call: "flush", stream }),
      close: () => this.#tell({ call: "close", stream }),
    };
  }

  /** A decoder: `setVoice(timbre)`, and `decode(frames)` -> {hops}, one for each frame but the
   * first. */
  decoder() {
    const stream = this.#open("decoder");
    return {
      setVoice: (timbre) => this.#tell({ call: "voice", stream, timbre }),
      decode: (frames) => this.#ask({ call: "decode", stream, frames }),
      close: () => this.#tell({ call: "close", stream }),
    };
  }

  /** A converter to a target {timbre, isNobody}: `aim(target)` and `convert(samples)` as a Converter
   * has them. */
  converter(target) {
    const stream = this.#open("converter", target);
    return {
      aim: (other) => this.#tell({ call: "aim", stream, target: other }),
      convert: (samples) => this.#ask({ call: "convert", stream, samples }),
      close: () => this.#tell({ call: "close", stream }),
    };
  }

  /** Ends the worker; whoever waits for it gets the error. */
  stop(error = new Error("the codec stopped")) {
    this.failed = true;
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #open(kind, target = null) {
    const stream = this.#streams++;
    this.#tell({ call: "open", stream, kind, target });
    return stream;
  }

  #tell(message) {
    if (!this.failed) this.#worker.postMessage(message);
  }

  #ask(message) {
    if (this.failed) return Promise.reject(new Error("the codec stopped"));
    const number = this.#calls++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject });
      this.#worker.postMessage({ ...message, number });
    });
  }

  #take({ number, result, error }) {
    const waiting = this.#waiting.get(number);
    this.#waiting.delete(number);
    if (!error) waiting?.resolve(result);
    else if (waiting) waiting.reject(new Error(error));
    else this.stop(new Error(error));
  }
}
