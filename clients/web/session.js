// One session of the protocol over one WebSocket: docs/protocol.md of the project.

import { packCodes } from "./codes.js";
import { CodedFraming, Framing } from "./framing.js";
import { SentMessages, Tries, counts, newest } from "./returning.js";

export const RATE = 16000;
export const HOP = 200;
const CLOCK_EVERY = 2000;
const SILENT_AFTER = 12000;
const LONGEST = 80 * HOP;
const MOST_WAITING = 64 * 1024; // bytes: two seconds of sound that the network did not take
/** Refusals after which a lost session is still there. */
const PASSING = new Set([
  "overloaded", "too-many-sessions", "too-many-rooms", "room-full", "too-many-attempts",
]);

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
 * `hello`: fields of the message; with `replay` the session outlives its connection. `on`: calls for
 * `ready(message)`, `sound(samples, seq, times)`, `codes(frames, seq)`, `voice(message)`,
 * `presence(message)`; `away(error, seconds)` before each try to connect again, and then
 * `back(seq, skipped)`: frames from seq on have so many samples before them that were not sent.
 * `wire`: bytes and messages are counted in it.
 */
export class Session {
  /** Who computes the codec. */
  computes = "server";
  /** Resolves with `done`; rejects with a SessionError. */
  ended;
  ready = null;
  dropped = 0;
  #url; #hello; #socket; #on; #wire; #settle; #framing;
  #given = 0; // samples that were to be sent
  #sent = 0; // samples that have a number
  #sentAt = new Map();
  #lastSign = now();
  #timer;
  #failure = null;
  #opened = false; // whether there has been a connection
  #isDone = false;
  #isOver = false;
  #waiting = []; // messages for when there is one
  #messages = null; // sent, for when it is another one
  #tries = null; // while the connection is lost
  #nextTry;
  #taken = 0; // messages that count

  constructor(url, hello, on = {}, wire = { up: 0, down: 0 }) {
    this.#url = url;
    this.#hello = hello;
    this.#on = on;
    this.#wire = wire;
    this.ended = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ended.catch(() => {});
    const isCoded = [hello.input, hello.output].includes("codes");
    this.#framing = isCoded ? new CodedFraming() : new Framing();
    this.#messages = hello.replay ? new SentMessages() : null;
    this.#connect();
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
      this.#queue({ type: "audio", data: toPcm(part), t: heard }, part.length);
    }
    if (heard !== null) this.#noteSent(heard);
    return true;
  }

  /** Frames of codes (k,) each. */
  sendCodes(frames) {
    const data = packCodes(frames.flatMap((codes) => [...codes]));
    this.#queue({ type: "codes", n: frames.length, data }, HOP * frames.length);
  }

  /** Whether the network does not take what is sent. */
  get isBehind() {
    return this.#socket.bufferedAmount > MOST_WAITING;
  }

  #noteSent(heard) {
    this.#sentAt.delete(heard); // the newest is the last
    this.#sentAt.set(heard, now());
    if (this.#sentAt.size > 400) this.#sentAt.delete(this.#sentAt.keys().next().value);
  }

  /** From here on another voice: its name or its 1024 bytes; `shift`: semitones higher. */
  sendVoice(data, identity, shift = 0) {
    this.#queue({ type: "voice", data, identity, shift: shift || undefined });
  }

  /** Nothing more will be sent. */
  end() {
    if (this.#tries) this.close();
    else this.#queue({ type: "end" });
  }

  /** Gives the session up, over `failure` if there was one. */
  close(failure = new SessionError("closed", "closed")) {
    this.#finish(this.#failure ?? failure);
  }

  #connect() {
    const socket = (this.#socket = new WebSocket(this.#url, `facodec.v${this.#framing.version}`));
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#greet();
    socket.onmessage = ({ data }) => this.#take(data);
    socket.onclose = ({ wasClean }) => this.#closed(wasClean);
    this.#lastSign = now();
  }

  #greet() {
    this.#opened = true;
    this.#lastSign = now();
    const again = this.#tries && { resume: this.ready.resume, received: this.#taken };
    const { version } = this.#framing;
    this.#send({ type: "hello", version, pcm: "s16", ...this.#hello, ...again });
    if (again) return;
    this.#askClock();
    for (const one of this.#waiting.splice(0)) this.#pass(one);
  }

  /** Sends a message with so many samples in it now, or when there is a connection. */
  #queue(message, samples = 0) {
    this.#given += samples;
    if (this.#opened && !this.#tries) this.#pass({ message, samples });
    else this.#waiting.push({ message, samples });
    if (this.#tries) this.#waiting = newest(this.#waiting);
  }

  #pass(one) {
    const { message, samples } = one;
    if (samples) message.seq = Math.floor(this.#sent / HOP);
    this.#sent += samples;
    this.#messages?.add(one);
    this.#send(message);
  }

  #askClock() {
    const t0 = now();
    this.#messages?.ask(t0);
    this.#send({ type: "clock", t0 });
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
    if (counts(message)) this.#taken++;
    if (message.type === "audio") {
      this.#on.sound?.(fromPcm(message.data), message.seq, this.#times(message.stamps));
    } else if (message.type === "codes") {
      this.#on.codes?.(message.frames, message.seq);
    } else if (message.type === "voice") this.#on.voice?.(message);
    else if (message.type === "presence") this.#on.presence?.(message);
    else if (message.type === "ready" && this.#tries) this.#comeBack(message);
    else if (message.type === "ready") {
      this.ready = message;
      this.#on.ready?.(message);
    } else if (message.type === "clock") {
      this.#messages?.answered(message.t0);
    } else if (message.type === "error") {
      this.#failure = new SessionError(message.code, message.message);
    } else if (message.type === "done") {
      this.#isDone = true;
      this.#settle.resolve(message);
    }
  }

  /** The session goes on over another connection. */
  #comeBack({ received }) {
    const { start, lacking } = this.#messages.restart(received);
    this.#sent = start;
    this.#tries = null;
    for (const one of newest([...lacking, ...this.#waiting.splice(0)])) this.#pass(one);
    this.#on.back?.(start / HOP, this.#given - this.#sent);
  }

  /** Seconds that a packet's newest input took, by stage; null where it had no stamps. */
  #times(stamps) {
    if (!stamps || stamps.t === null || stamps.t === undefined) return null;
    const { t, queue, encode, decode } = stamps;
    const at = this.#sentAt.get(t);
    this.#sentAt.delete(t);
    if (at === undefined) return { queue, encode, decode };
    const network = Math.max(0, now() - at - queue - encode - decode);
    return { capture: Math.max(0, at - t), network, queue, encode, decode };
  }

  #look() {
    if (this.#socket.onclose === null) return; // until the next try
    if (now() - this.#lastSign > SILENT_AFTER / 1000) {
      this.#closed(false, "nothing came from the server for 12 s");
    } else if (this.#opened && !this.#tries) this.#askClock();
  }

  /** The connection has ended. `wasClean`: one side has said so. */
  #closed(wasClean, why = "the connection broke") {
    const failure = this.#failure;
    const mayComeBack = this.#tries ? !wasClean || PASSING.has(failure?.code)
      : this.ready?.replay && !wasClean && !failure && !this.#isDone;
    const lost = new SessionError("lost", why);
    if (mayComeBack) this.#tryAgain(lost);
    else if (failure?.code === "unknown-session") this.#finish(lost);
    else this.#finish(failure ?? (this.#opened ? lost : new SessionError("unreachable", "no connection")));
  }

  #tryAgain(lost) {
    this.#hangUp();
    this.#failure = null;
    this.#tries ??= new Tries(now());
    const wait = this.#tries.wait(now());
    if (wait === null) {
      this.#finish(lost);
      return;
    }
    this.#nextTry = setTimeout(() => this.#connect(), 1000 * wait);
    this.#on.away?.(lost, wait);
  }

  #hangUp() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #finish(error) {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    clearTimeout(this.#nextTry);
    this.#hangUp();
    this.#settle.reject(error);
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
