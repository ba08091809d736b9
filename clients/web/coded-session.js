// A session whose sound is encoded and decoded in this page, so that only codes travel. To who opens
// it, it is a session of sound as any other.

import { codecOfPage } from "./codec-thread.js";
import { serverUrl } from "./connect.js";
import { HOP, Session, SessionError } from "./session.js";
import { halves, timbreOf } from "./timbre.js";

const AT_ONCE = 4; // frames a packet: a quarter of the work for all, and 37 ms more for listeners
const MOST_ENCODING = 40; // blocks, half a second: a codec that is behind would stay behind
const MOST_DECODING = 160; // packets; playout catches up with what comes late

/** A session of sound as `Session` has it, with the codec in this page where it is there. `plain`:
 * leaves the codec to the server all the same. */
export function openSession(hello, on, wire, plain = false) {
  const codec = plain ? null : codecOfPage();
  if (!codec) return new Session(serverUrl(), hello, on, wire);
  return new CodedSession(codec, hello, on, wire);
}

class CodedSession {
  computes = "browser";
  dropped = 0;
  ended;
  #on; #session; #encoder; #decoder;
  #encoding = 0;
  #decoding = 0;
  #packet = []; // frames that wait for others

  constructor(codec, hello, on, wire) {
    this.#on = on;
    this.#encoder = hello.input ? codec.encoder() : null;
    this.#decoder = hello.output ? codec.decoder() : null;
    const coded = {
      ...hello,
      input: hello.input && "codes",
      output: hello.output && "codes",
      identity: hello.identity ?? codec.identity,
      frames_per_packet: AT_ONCE,
    };
    this.#session = new Session(serverUrl(), coded, {
      ...on,
      sound: undefined,
      voice: ({ data }) => this.#decoder?.setVoice(timbreOf(data)),
      codes: (frames, seq) => this.#decode(frames, seq),
    }, wire);
    this.ended = this.#session.ended;
    const free = () => {
      this.#encoder?.close();
      this.#decoder?.close();
    };
    this.ended.then(free, free);
  }

  get ready() {
    return this.#session.ready;
  }

  /** Samples (n,), of which the last was heard at `heard`; dropped where network or codec are too
   * slow. */
  sendSound(samples, heard = null) {
    const isBehind = this.#session.isBehind || this.#encoding >= MOST_ENCODING;
    if (heard !== null && isBehind) {
      this.dropped += samples.length;
      return false;
    }
    this.#send(this.#encoder.encode(samples));
    return true;
  }

  /** Nothing more will be sent. */
  end() {
    if (!this.#encoder) this.#session.end();
    else {
      this.#send(this.#encoder.flush()).then(() => {
        this.#flush();
        this.#session.end();
      });
    }
  }

  close() {
    this.#session.close();
  }

  async #send(encoded) {
    this.#encoding++;
    try {
      const { frames } = await encoded;
      this.#encoding--;
      for (const { codes, voice } of frames) {
        if (voice) {
          this.#flush();
          this.#session.sendVoice(halves(voice));
        }
        this.#packet.push(codes);
        if (this.#packet.length === AT_ONCE) this.#flush();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #flush() {
    if (this.#packet.length) this.#session.sendCodes(this.#packet.splice(0));
  }

  async #decode(frames, seq) {
    if (this.#decoding >= MOST_DECODING) return;
    this.#decoding++;
    try {
      const { hops } = await this.#decoder.decode(frames);
      this.#decoding--;
      if (!hops.length) return;
      const samples = new Float32Array(HOP * hops.length);
      hops.forEach((hop, i) => samples.set(hop, HOP * i));
      // What sounds belongs to the frame before the one that was decoded.
      this.#on.sound?.(samples, seq - 1 + frames.length - hops.length);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    this.#session.close(new SessionError("lost", error.message));
  }
}
