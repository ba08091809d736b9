// Conversion without a server: the page encodes, converts and decodes. To who opens it, it is a session
// as any other.

import { codecOfPage } from "./codec-thread.js";
import { serverUrl } from "./connect.js";
import { raised } from "./conversion.js";
import { HOP, Session, SessionError, now } from "./session.js";
import { isNobody, timbreOf, voiceNamed } from "./timbre.js";

const MOST_WAITING = 40; // blocks, half a second: a codec that is behind would stay behind
const AT_ONCE = 20 * HOP; // samples converted at once, while somebody may be talking

/** A session that converts sound, in this page where it has the codec. */
export function openConversion(hello, on, wire) {
  const codec = codecOfPage();
  return codec ? new LocalSession(codec, hello, on) : new Session(serverUrl(), hello, on, wire);
}

/** Samples (n,) in a voice {voice, identity, shift}, without the last frame. Raises SessionError. */
export async function convertHere(codec, samples, choice, token) {
  const converter = codec.converter(await targetOf(codec, choice, token));
  try {
    const parts = [];
    for (let at = 0; at < samples.length; at += AT_ONCE) {
      parts.push(...(await converter.convert(samples.slice(at, at + AT_ONCE))).hops);
    }
    return joined(parts);
  } finally {
    converter.close();
  }
}

class LocalSession {
  computes = "browser";
  dropped = 0;
  ready = null;
  ended;
  #codec; #token; #on; #settle;
  #converter = null;
  #aims = 0;
  #waiting = 0;
  #frames = 0;
  #hops = 0;
  #voices = { said: null, sent: null };
  #isOver = false;

  /** `on`: calls for `ready`, `sound` as a Session's, and `frame(seq, said, sent)`: a frame in codes,
   * {codes, voice}, before and after. */
  constructor(codec, { voice, identity, token }, on) {
    this.#codec = codec;
    this.#token = token;
    this.#on = on;
    this.ended = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.ended.catch(() => {});
    this.sendVoice(voice, identity);
  }

  /** Whose codes these are. */
  get identity() {
    return this.#codec.identity;
  }

  /** From here on another voice, as soon as it is known. */
  async sendVoice(voice, identity, shift = 0) {
    const number = ++this.#aims;
    try {
      const target = await targetOf(this.#codec, { voice, identity, shift }, this.#token);
      if (number !== this.#aims || this.#isOver) return;
      if (this.#converter) this.#converter.aim(target);
      else this.#begin(target);
    } catch (error) {
      this.close(error);
    }
  }

  /** Samples (n,), of which the last was heard at `heard`; dropped where the codec is too slow. */
  sendSound(samples, heard) {
    if (!this.#converter || this.#waiting >= MOST_WAITING) {
      this.dropped += samples.length;
      return false;
    }
    this.#convert(samples, heard);
    return true;
  }

  /** Gives it up, over `failure` if there was one. */
  close(failure = new SessionError("closed", "closed")) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#converter?.close();
    this.#settle.reject(failure);
  }

  #begin(target) {
    this.#converter = this.#codec.converter(target);
    this.ready = { latency: this.#codec.latency };
    this.#on.ready?.(this.ready);
  }

  async #convert(samples, heard) {
    const began = now();
    this.#waiting++;
    try {
      const { frames, hops, decode } = await this.#converter.convert(samples);
      this.#waiting--;
      if (this.#isOver) return;
      for (const frame of frames) this.#tell(frame);
      if (!hops.length) return;
      const seq = this.#hops;
      this.#hops += hops.length;
      const times = {
        capture: Math.max(0, began - heard),
        encode: now() - began - decode / 1000,
        decode: decode / 1000,
      };
      this.#on.sound?.(joined(hops), seq, times);
    } catch (error) {
      this.close(new SessionError("lost", error.message));
    }
  }

  #tell({ codes, voice, sent, vector }) {
    if (voice) this.#voices.said = { timbre: voice, exact: false };
    if (vector) this.#voices.sent = { timbre: vector, exact: true };
    const said = { codes, voice: this.#voices.said };
    this.#on.frame?.(this.#frames++, said, { codes: sent, voice: this.#voices.sent });
  }
}

/** What a converter is to aim at: {timbre, isNobody}. */
async function targetOf(codec, { voice, identity, shift }, token) {
  const wanted = typeof voice === "string"
    ? await voiceNamed(voice, token)
    : { timbre: timbreOf(voice), identity };
  if (wanted.identity && wanted.identity !== codec.identity) {
    throw new SessionError("model-mismatch", `expected a voice of ${codec.identity}, got ${wanted.identity}`);
  }
  return { timbre: shift ? raised(wanted.timbre, shift) : wanted.timbre, isNobody: isNobody(voice) };
}

function joined(hops) {
  const samples = new Float32Array(HOP * hops.length);
  hops.forEach((hop, i) => samples.set(hop, HOP * i));
  return samples;
}
