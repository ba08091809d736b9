// Messages to bytes and back, in either version of the protocol.

import { unpackCodes } from "./codes.js";
import { pack, unpack } from "./msgpack.js";

const MSGPACK = 0x80; // first byte from which on a message is msgpack
const STAMPED = 0x8000; // beside a sequence number: stamps follow
const STAMP_BYTES = 5;

/** Version 1: all is msgpack. */
export class Framing {
  version = 1;

  pack(message) {
    return pack(message);
  }

  unpack(buffer) {
    return unpack(buffer);
  }
}

/** Version 2: codes in few bytes, the rest in msgpack. */
export class CodedFraming extends Framing {
  version = 2;
  #next = 0;
  #layers = 6;

  pack(message) {
    if (message.type !== "codes") return super.pack(message);
    const { seq, n, data } = message;
    const bytes = new Uint8Array(3 + data.length);
    bytes[0] = n;
    new DataView(bytes.buffer).setUint16(1, seq % STAMPED, true);
    bytes.set(data, 3);
    return bytes;
  }

  unpack(buffer) {
    const bytes = new Uint8Array(buffer);
    if (bytes[0] >= MSGPACK) {
      const message = super.unpack(buffer);
      if (message.type === "ready" && message.received === undefined) {
        this.#next = message.first ?? 0;
        this.#layers = message.layers;
      }
      return message;
    }
    const n = bytes[0];
    const number = new DataView(buffer).getUint16(1, true);
    const end = bytes.length - (number & STAMPED ? STAMP_BYTES : 0);
    const seq = this.#next + ((((number - this.#next) % STAMPED) + STAMPED) % STAMPED);
    this.#next = seq + n;
    return { type: "codes", seq, frames: unpackCodes(bytes.subarray(3, end), this.#layers, n) };
  }
}
