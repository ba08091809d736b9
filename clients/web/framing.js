// Messages to bytes and back, in either version of the protocol.

import { unpackCodes } from "./codes.js";
import { pack, unpack } from "./msgpack.js";

const RATE = 16000;
const MSGPACK = 0x80; // first byte from which on a message is msgpack
const STAMPED = 0x8000; // beside a sequence number: stamps follow
const STAMP_BYTES = 5;
const TICK = 4 / RATE; // seconds
const TICKS = 65536;
const ANSWERS = 16; // of the clock that are remembered
/** Packets of codes of which one carries stamps. */
export const STAMP_EVERY = 4;

/** Version 1: all is msgpack. */
export class Framing {
  version = 1;

  pack(message) {
    return pack(message);
  }

  unpack(buffer) {
    return unpack(buffer);
  }

  /** What comes back of the time `heard` (s, our clock) of a packet; null where none does. */
  stampOf(heard) {
    return heard;
  }

  hearClock() {}
}

/** Version 2: codes in few bytes, the rest in msgpack. */
export class CodedFraming extends Framing {
  version = 2;
  #next = 0;
  #layers = 6;
  #answers = [];
  #packets = 0;

  pack(message) {
    if (message.type !== "codes") return super.pack(message);
    const { seq, n, data, t } = message;
    const stamp = this.#packets++ % STAMP_EVERY ? null : this.stampOf(t);
    const bytes = new Uint8Array(3 + data.length + (stamp === null ? 0 : 2));
    const view = new DataView(bytes.buffer);
    bytes[0] = n;
    view.setUint16(1, (seq % STAMPED) | (stamp === null ? 0 : STAMPED), true);
    bytes.set(data, 3);
    if (stamp !== null) view.setUint16(3 + data.length, stamp, true);
    return bytes;
  }

  unpack(buffer) {
    const bytes = new Uint8Array(buffer);
    if (bytes[0] >= MSGPACK) {
      const message = super.unpack(buffer);
      if (message.type === "ready") {
        this.#next = message.first ?? 0;
        this.#layers = message.layers;
      }
      return message;
    }
    const view = new DataView(buffer);
    const n = bytes[0];
    const number = view.getUint16(1, true);
    const end = bytes.length - (number & STAMPED ? STAMP_BYTES : 0);
    const seq = this.#next + ((((number - this.#next) % STAMPED) + STAMPED) % STAMPED);
    this.#next = seq + n;
    const frames = unpackCodes(bytes.subarray(3, end), this.#layers, n);
    return { type: "codes", seq, frames, stamps: number & STAMPED ? stampsAt(view, end) : null };
  }

  stampOf(heard) {
    if (heard === null || heard === undefined || !this.#answers.length) return null;
    const { offset } = this.#answers.reduce((best, one) => (one.trip < best.trip ? one : best));
    return Math.round((heard + offset) / TICK) % TICKS;
  }

  /** The server's clock said `t1` between `t0` and `now` of ours. */
  hearClock(t0, t1, now) {
    this.#answers.push({ trip: now - t0, offset: t1 - (t0 + now) / 2 });
    if (this.#answers.length > ANSWERS) this.#answers.shift();
  }
}

function stampsAt(view, at) {
  const [queue, encode, decode] = [2, 3, 4].map((i) => duration(view.getUint8(at + i)));
  return { t: view.getUint16(at, true), queue, encode, decode };
}

/** Seconds that one byte means. */
function duration(byte) {
  return (byte < 16 ? byte : (16 + (byte % 16)) * 2 ** ((byte >> 4) - 1)) / RATE;
}
