// One session of the protocol over one WebSocket: docs/protocol.md of the project.

import { packCodes } from "./codes.js";
import { CodedFraming, Framing } from "./framing.js";

export const RATE = 16000;
export const HOP = 200;
const CLOCK_EVERY = 2000;
const SILENT_AFTER = 12000;
const LONGEST = 80 * HOP;
const MOST_WAITING = 64 * 1024; // bytes: two seconds of sound that the network did not take

/** Seconds on this page's own clock. */
export function now() {
  return performance.now() / 1000;
}

/** What is told when a session has ended other than well. `code`: of the protocol, or ours. */
export class SessionError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/**
 * `hello`: fields of the message. `on`: calls for `ready(message)`, `sound(samples, seq, times)`,
 * `codes(frames, seq, times)`, `voice(message)`. `wire`: bytes and messages are counted in it.
 */
export class Session {
  /** Who computes the codec. */
  computes = "server";
  /** Resolves with `done`; rejects with a SessionError. */
  ended;
  ready = null;
  dropped = 0;
  #socket; #on; #wire; #settle; #framing;
  #sent = 0;
  #sentAt = new Map();
  #lastSign = now();
  #timer;
  #failure = null;
  #opened = false;
  #waiting = [];

  constructor(url, hello, on = {}, wire = { up: 0, down: 0 }) {
    this.#on = on;
    this.#wire = wire;
    this.ended = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ended.catch(() => {});
    const isCoded = [hello.input, hello.output].includes("codes");
    this.#framing = isCoded ? new CodedFraming() : new Framing();
    const { version } = this.#framing;
    this.#socket = new WebSocket(url, `facodec.v${version}`);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      this.#opened = true;
      this.#lastSign = now();
      this.#send({ type: "hello", version, pcm: "s16", ...hello });
      this.#send({ type: "clock", t0: now() });
      for (const message of this.#waiting.splice(0)) this.#send(message);
    };
    this.#socket.onmessage = ({ data }) => this.#take(data);
    this.#socket.onclose = () => this.#closed();
    this.#timer = setInterval(() => this.#look(), CLOCK_EVERY);
  }

  /** Samples (n,) at 16 kHz, any n; the last was heard at `heard`. Dropped where the network is
   * too slow: a stream that falls behind would stay behind. */
  sendSound(samples, heard = null) {
    if (heard !== null && this.isBehind) {
      this.dropped += samples.length;
      return false;
    }
    for (let start = 0; start < samples.length; start += LONGEST) {
      const part = samples.subarray(start, start + LONGEST);
      const seq = Math.floor(this.#sent / HOP);
      this.#queue({ type: "audio", seq, data: toPcm(part), t: heard });
      this.#sent += part.length;
    }
    this.#noteSent(heard, 0);
    return true;
  }

  /** A frame of codes (k,) of what was heard at `heard`, `took` seconds of which it took to encode. */
  sendCodes(codes, heard = null, took = 0) {
    const seq = Math.floor(this.#sent / HOP);
    this.#queue({ type: "codes", seq, n: 1, data: packCodes(codes), t: heard });
    this.#sent += HOP;
    this.#noteSent(heard, took);
  }

  /** Whether the network does not take what is sent. */
  get isBehind() {
    return this.#socket.bufferedAmount > MOST_WAITING;
  }

  #noteSent(heard, took) {
    const stamp = this.#framing.stampOf(heard);
    if (stamp === null) return;
    this.#sentAt.delete(stamp); // the newest is the last
    this.#sentAt.set(stamp, { heard, at: now(), took });
    if (this.#sentAt.size > 400) this.#sentAt.delete(this.#sentAt.keys().next().value);
  }

  /** From here on another voice: its name or its 1024 bytes; `shift`: semitones higher. */
  sendVoice(data, identity, shift = 0) {
    this.#queue({ type: "voice", data, identity, shift: shift || undefined });
  }

  /** Nothing more will be sent. */
  end() {
    this.#queue({ type: "end" });
  }

  /** Gives the session up, over `failure` if there was one. */
  close(failure = new SessionError("closed", "closed")) {
    this.#failure ??= failure;
    this.#socket.close();
    this.#closed();
  }

  #queue(message) {
    if (this.#opened) this.#send(message);
    else this.#waiting.push(message);
  }

  #send(message) {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const data = this.#framing.pack(message);
    this.#wire.up += data.length;
    this.#socket.send(data);
  }

  #take(buffer) {
    this.#lastSign = now();
    this.#wire.down += buffer.byteLength;
    const message = this.#framing.unpack(buffer);
    if (message.type === "audio") {
      this.#on.sound?.(fromPcm(message.data), message.seq, this.#times(message.stamps));
    } else if (message.type === "codes") {
      this.#on.codes?.(message.frames, message.seq, this.#times(message.stamps));
    } else if (message.type === "voice") this.#on.voice?.(message);
    else if (message.type === "ready") {
      this.ready = message;
      this.#on.ready?.(message);
    } else if (message.type === "clock") {
      this.#framing.hearClock(message.t0, message.t1, now());
    } else if (message.type === "error") {
      this.#failure = new SessionError(message.code, message.message);
    } else if (message.type === "done") {
      this.#settle.resolve(message);
    }
  }

  /** Seconds that a packet's newest input took, by stage; null where it had no stamps. */
  #times(stamps) {
    if (!stamps || stamps.t === null || stamps.t === undefined) return null;
    const { t, queue, encode, decode } = stamps;
    const sent = this.#sentAt.get(t);
    this.#sentAt.delete(t);
    if (sent === undefined) return { queue, encode, decode };
    const { heard, at, took } = sent;
    const network = Math.max(0, now() - at - queue - encode - decode);
    return { capture: Math.max(0, at - took - heard), network, queue, encode: encode + took, decode };
  }

  #look() {
    if (now() - this.#lastSign > SILENT_AFTER / 1000) {
      this.#failure ??= new SessionError("lost", "nothing came from the server for 12 s");
      this.#socket.close();
      this.#closed();
    } else if (this.#opened) this.#send({ type: "clock", t0: now() });
  }

  #closed() {
    clearInterval(this.#timer);
    const unopened = new SessionError("unreachable", "no connection");
    const broken = new SessionError("lost", "the connection broke");
    this.#settle.reject(this.#failure ?? (this.#opened ? broken : unopened));
  }
}

/** Float samples as 16 bits, little-endian. */
export function toPcm(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  samples.forEach((sample, i) => {
    view.setInt16(2 * i, Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), true);
  });
  return new Uint8Array(view.buffer);
}

function fromPcm(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}
