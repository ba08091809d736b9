// The last seconds as codes, and files of them: docs/files.md of the project.

import { blake2b } from "./blake2.js";
import { packCodes } from "./codes.js";
import { pack } from "./msgpack.js";
import { HOP, RATE } from "./session.js";
import { halves } from "./timbre.js";

const MAGIC = [...letters("FACODEC"), 3];
const MARK = letters("FBLK");
const BITS = 10;
const BLOCK_FRAMES = 160;
const SEAL = 8; // bytes; of a block's first fields half as many
const FIELDS = 22;

/** Keeps the last `seconds` of frames, which have numbers. A voice is {timbre, exact}: 256 numbers,
 * and whether somebody chose them. */
export class FrameHistory {
  #frames;

  constructor(seconds = 20) {
    this.#frames = new Array((seconds * RATE) / HOP).fill(null);
  }

  put(number, codes, voice) {
    this.#frames[number % this.#frames.length] = { number, codes, voice };
  }

  /** The frames of [from, to) that are kept, in their order: [{number, codes, voice}]. */
  get(from, to) {
    const isThere = (frame) => frame && frame.number >= from && frame.number < to;
    return this.#frames.filter(isThere).sort((one, other) => one.number - other.number);
  }
}

/** A file of such frames, as a Blob: a recording of [from, to), in which frames may be missing, by the
 * model of that identity. */
export function fac(frames, from, to, identity) {
  const parts = [header(identity)];
  const add = (kind, detail, count, at, content) => {
    parts.push(block(parts.length - 1, kind, detail, count, (at - from) * HOP, content));
  };
  for (const run of runsOf(frames)) {
    const [{ number, codes, voice, isNew }] = run;
    if (isNew) add("V", voice.exact ? 1 : 0, 0, number, timbreBytes(voice));
    add("F", codes.length, run.length, number, packCodes(run.flatMap((frame) => [...frame.codes])));
  }
  add("E", 0, 0, to, new Uint8Array(0));
  return new Blob(parts, { type: "application/octet-stream" });
}

/** Frames as they share a block; `isNew`: the voice of the first one is another than before. */
function runsOf(frames) {
  const runs = [];
  let last = null;
  for (const frame of frames) {
    const isNew = frame.voice !== null && frame.voice !== last?.voice;
    const follows = last?.number === frame.number - 1 && last.codes.length === frame.codes.length;
    if (follows && !isNew && runs.at(-1).length < BLOCK_FRAMES) runs.at(-1).push(frame);
    else runs.push([{ ...frame, isNew }]);
    last = frame;
  }
  return runs;
}

function header(identity) {
  const [model] = identity.split("@");
  const map = pack({ model, identity, rate: RATE, hop: HOP, bits: BITS });
  const size = new Uint8Array(Uint32Array.of(map.length).buffer);
  return sealed(joined(MAGIC, size, map), SEAL);
}

function block(number, kind, detail, frames, start, content) {
  const view = new DataView(new ArrayBuffer(FIELDS));
  const fields = new Uint8Array(view.buffer);
  fields.set(MARK);
  view.setUint32(4, number, true);
  fields.set(letters(kind), 8);
  view.setUint8(9, detail);
  view.setUint16(10, frames, true);
  view.setUint16(12, content.length, true);
  view.setBigUint64(14, BigInt(start), true);
  return sealed(joined(sealed(fields, SEAL / 2), content), SEAL);
}

function timbreBytes({ timbre, exact }) {
  return exact ? new Uint8Array(Float32Array.from(timbre).buffer) : halves(timbre);
}

function sealed(bytes, size) {
  return joined(bytes, blake2b(bytes, size));
}

function joined(...parts) {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function letters(word) {
  return [...word].map((letter) => letter.charCodeAt(0));
}
