// The codec itself: the C steps of the project as WebAssembly, with the model that the server has.
// What is not computed there is in loudness.js and talker.js. Runs in a worker, or anywhere.

import { fromHalf } from "./half.js";
import { Loudness } from "./loudness.js";
import { Talker } from "./talker.js";

export const HOP = 200;
export const LAYERS = 6;
const TIMBRE = 256;
const ABSENT = -1;
const ALIGNED = 64;
const AT_ONCE = 4; // parts of the model fetched side by side
const PITCHES = -2; // of an encoder's pointers, and the last one: what was heard of the talker
const MOMENTS = -1;
const WHOLE = 8; // bytes of a whole number in C
// A module that adds two vectors.
const USES_VECTORS = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253,
  15, 253, 98, 11,
]);

/** Whether this browser computes with vectors, without which the codec is too slow. */
export function isSupported() {
  return typeof WebAssembly === "object" && WebAssembly.validate(USES_VECTORS);
}

/** A model in memory, for any number of streams. */
export class Codec {
  identity;
  /** Samples that the encoder and the decoder are late: {encoder, decoder}. */
  latency;
  /** How far a conversion pushes its voice from the talker's. */
  steer;
  #steps; #about; #base;

  /** Fetches steps and model. `place`: the address of the model's description; `token`: for the
   * server, if it asks for one. Raises Error where that fails or they do not fit each other. */
  static async load(place, token) {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const get = async (address) => {
      let answer = await fetch(address, { headers });
      while (answer.status === 202) { // a busy server is still making it
        await new Promise((next) => setTimeout(next, 1000));
        answer = await fetch(address, { headers });
      }
      if (!answer.ok) throw new Error(`${answer.status} for ${address}`);
      return answer;
    };
    const [about, { instance }] = await Promise.all([
      get(place).then((answer) => answer.json()),
      WebAssembly.instantiateStreaming(fetch(new URL("codec.wasm", import.meta.url))),
    ]);
    const data = await fetchParts(about.parts.map((part) => new URL(part, place)), get);
    return new Codec(instance.exports, about, data);
  }

  constructor(steps, about, data) {
    this.identity = about.identity;
    this.latency = about.latency;
    this.steer = about.steer;
    this.#steps = steps;
    this.#about = about;
    this.#check();
    this.#base = this.#take(about.bytes);
    this.#fill(data);
  }

  encoder() {
    return new Encoder(this.#open("encoder", HOP, LAYERS), this.#steps);
  }

  decoder() {
    return new Decoder(this.#open("decoder", LAYERS, HOP), this.#steps);
  }

  #take(bytes) {
    const at = this.#steps.aligned_alloc(ALIGNED, padded(bytes));
    if (!at) throw new Error("no memory for the codec");
    return at;
  }

  /** Steps and model must mean the same structures and sizes. */
  #check() {
    const { sizes, constants } = this.#about;
    const expect = (call, expected) => {
      for (const [name, value] of Object.entries(expected)) {
        const at = this.#take(name.length + 1);
        const text = new Uint8Array(this.#steps.memory.buffer, at, name.length + 1);
        text.set([...name, "\0"].map((letter) => letter.charCodeAt(0)));
        const found = Number(call(at));
        this.#steps.free(at);
        if (found !== value) throw new Error(`expected ${name} ${value} of the steps, got ${found}`);
      }
    };
    expect(this.#steps.facodec_size, sizes);
    expect(this.#steps.facodec_constant, constants);
  }

  #fill(data) {
    const { buffer } = this.#steps.memory;
    const { bytes, runs, addresses } = this.#about;
    new Uint8Array(buffer, this.#base, bytes).fill(0);
    const take = reader(data);
    const wide = Float32Array.from({ length: 65536 }, (_, bits) => fromHalf(bits));
    for (const [kind, at, count, rank, columns] of runs) {
      const there = this.#base + at;
      if (kind === "half") {
        const halves = take(Uint16Array, count);
        const out = new Float32Array(buffer, there, count);
        for (let i = 0; i < count; i++) out[i] = wide[halves[i]];
      } else if (kind === "scaled") {
        const scales = take(Float32Array, count * columns);
        const whole = take(Int8Array, count * rank * columns);
        const out = new Float32Array(buffer, there, whole.length);
        for (let panel = 0, i = 0; panel < count; panel++) {
          const scale = scales.subarray(panel * columns, (panel + 1) * columns);
          for (let k = 0; k < rank; k++) for (let c = 0; c < columns; c++, i++) out[i] = whole[i] * scale[c];
        }
      } else if (kind === "product") {
        const left = take(Float32Array, count * rank);
        const right = take(Float32Array, rank * columns);
        multiply(left, right, rank, new Float32Array(buffer, there, count * columns));
      } else new Uint8Array(buffer, there, count).set(take(Uint8Array, count));
    }
    const words = new DataView(buffer, this.#base);
    for (const at of addresses) words.setUint32(at, words.getUint32(at, true) + this.#base, true);
  }

  /** Memory of one stream: its state, and in front of it what a call is told. */
  #open(direction, inputs, outputs) {
    const { at, bytes, pointers } = this.#about.states[direction];
    const sizes = {
      state: bytes, pointers: 4 * pointers.length, rows: WHOLE,
      input: WHOLE * inputs, timbre: 4 * TIMBRE, output: WHOLE * outputs,
    };
    const start = this.#take(Object.values(sizes).reduce((sum, size) => sum + padded(size), 0));
    const places = { memory: this.#steps.memory, start, constants: this.#base + this.#about[direction] };
    let next = start;
    for (const [name, size] of Object.entries(sizes)) {
      places[name] = next;
      next += padded(size);
    }
    const all = new Uint8Array(this.#steps.memory.buffer);
    all.fill(0, start, next);
    all.copyWithin(places.state, this.#base + at, this.#base + at + bytes);
    places.tensors = pointers.map((pointer) => places.state + pointer);
    new Uint32Array(all.buffer, places.pointers, pointers.length).set(places.tensors);
    return places;
  }
}

/** Sound to codes, and who is talking. */
class Encoder {
  #places; #steps;
  #talker = new Talker();
  #waiting = new Float32Array(0);

  constructor(places, steps) {
    this.#places = places;
    this.#steps = steps;
  }

  /** Samples (n,), any n -> [{codes, voice}] of the hops that became complete: codes (6,), and the
   * talker's timbre (256,) from them on where it has moved, else null. */
  encode(samples) {
    const all = new Float32Array(this.#waiting.length + samples.length);
    all.set(this.#waiting);
    all.set(samples, this.#waiting.length);
    const out = [];
    let at = 0;
    for (; at + HOP <= all.length; at += HOP) {
      const voice = this.#talker.look(() => this.#look());
      out.push({ codes: this.#step(all.subarray(at, at + HOP)), voice });
    }
    this.#waiting = all.slice(at);
    return out;
  }

  /** What is still owed: a last hop, filled up with silence. */
  flush() {
    return this.#waiting.length ? this.encode(new Float32Array(HOP - this.#waiting.length)) : [];
  }

  /** Who is talking, by all that was heard: the running timbre (256,). */
  estimate() {
    return this.#look();
  }

  close() {
    this.#steps.free(this.#places.start);
  }

  #step(hop) {
    const { memory, constants, pointers, rows, input, output } = this.#places;
    new Float32Array(memory.buffer, input, HOP).set(hop);
    check(this.#steps.facodec_encode(constants, pointers, rows, 1n, input, output));
    return Int16Array.from(new BigInt64Array(memory.buffer, output, LAYERS), Number);
  }

  #look() {
    const { memory, constants, tensors, rows, timbre } = this.#places;
    const [pitches, moments] = [tensors.at(PITCHES), tensors.at(MOMENTS)];
    check(this.#steps.facodec_look(constants, pitches, moments, rows, 1n, timbre));
    return new Float32Array(memory.buffer, timbre, TIMBRE).slice();
  }
}

/** Codes to sound. */
class Decoder {
  #places; #steps;
  #loudness = new Loudness();
  #started = false;

  constructor(places, steps) {
    this.#places = places;
    this.#steps = steps;
  }

  /** Speaks in the voice `timbre` (256,) from here on; before, in a neutral one. */
  setVoice(timbre) {
    new Float32Array(this.#places.memory.buffer, this.#places.timbre, TIMBRE).set(timbre);
  }

  /** Codes (3 to 6,) of a frame -> the samples (200,) of the frame before it, null of the first. */
  decode(codes) {
    const { memory, constants, pointers, rows, input, timbre, output } = this.#places;
    const all = new BigInt64Array(memory.buffer, input, LAYERS).fill(BigInt(ABSENT));
    all.set(Array.from(codes, BigInt));
    check(this.#steps.facodec_decode(constants, pointers, rows, 1n, input, timbre, output));
    const samples = new Float32Array(memory.buffer, output, HOP).slice();
    if (!this.#started) {
      this.#started = true;
      return null;
    }
    return this.#loudness.step(codes, samples);
  }

  close() {
    this.#steps.free(this.#places.start);
  }
}

function check(failed) {
  if (failed) throw new Error(failed < 0 ? "no memory for a step" : "expected codes of the codebooks");
}

function padded(bytes) {
  return Math.ceil(bytes / ALIGNED) * ALIGNED;
}

/** Takes numbers of a kind from bytes, one after the other. */
function reader(data) {
  let next = 0;
  return (Kind, count) => {
    const start = next;
    next += count * Kind.BYTES_PER_ELEMENT;
    return new Kind(data.slice(start, next).buffer);
  };
}

/** left (n, rank) times right (rank, columns) -> out (n, columns), all row after row. */
function multiply(left, right, rank, out) {
  const columns = right.length / rank;
  const sum = new Float64Array(columns);
  for (let row = 0; row * columns < out.length; row++) {
    sum.fill(0);
    for (let k = 0; k < rank; k++) {
      const weight = left[row * rank + k];
      for (let i = 0; i < columns; i++) sum[i] += weight * right[k * columns + i];
    }
    out.set(sum, row * columns);
  }
}

async function fetchParts(addresses, get) {
  const parts = new Array(addresses.length);
  let next = 0;
  const work = async () => {
    while (next < addresses.length) {
      const own = next++;
      parts[own] = new Uint8Array(await (await get(addresses[own])).arrayBuffer());
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
