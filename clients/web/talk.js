// Talking: microphone -> server -> loudspeaker and, if wished, on to a room. Knows no page.

import { awaitCodec } from "./codec-thread.js";
import { openSession } from "./coded-session.js";
import { keepConnected } from "./connect.js";
import { Microphone } from "./devices.js";
import { Hearing } from "./hearing.js";
import { History } from "./history.js";
import { Ledger } from "./ledger.js";
import { openConversion } from "./local-session.js";
import { FrameHistory } from "./recording.js";
import { HOP, RATE, SessionError, now } from "./session.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`, `room(name, error)`. */
export class Talk {
  said = new History();
  sent = new History();
  /** What of it was computed in this page, as codes, and by which model. */
  codes = { said: new FrameHistory(), sent: new FrameHistory(), identity: null };
  ledger = new Ledger();
  wire = { up: 0, down: 0 };
  peak = 0;
  /** Who encodes and decodes: "browser" or "server". */
  computes = null;
  #on; #choice; #devices; #token; #hearing;
  #microphone = null;
  #session = null;
  #publisher = null;
  #room = null;
  #stop = null;
  #base = 0;
  #level = { mute: 1, bypass: 0, gain: 1, hear: 1 };

  /** `choice`: {voice, identity, shift, mute, bypass, gain, hear}; `devices`: {device, echo,
   * noise}. */
  constructor(on, choice, devices, token) {
    this.#on = on;
    this.#choice = { ...choice };
    this.#devices = { ...devices };
    this.#token = token;
    this.#hearing = new Hearing(on);
  }

  get underruns() {
    return this.#hearing.underruns;
  }

  /** Until stop(); raises SessionError or what getUserMedia raises. Call it from a click. */
  async run() {
    this.#stop = new AbortController();
    await this.#hearing.run(this.#stop.signal, (signal, worked) => this.#once(signal, worked), {
      open: () => this.#openMicrophone(),
      close: () => this.#microphone?.close(),
    });
  }

  stop() {
    this.#stop?.abort();
    this.#session?.close();
    this.stopBroadcast();
  }

  /** Lets a context that the browser has halted go on; from a click. */
  resume() {
    return this.#hearing.resume();
  }

  /** Changes any of the choice while talking. */
  choose(change) {
    const voiceChanges = ["voice", "shift"].some((key) => key in change && change[key] !== this.#choice[key]);
    Object.assign(this.#choice, change);
    if (voiceChanges) this.#sendVoice();
  }

  /** Another microphone, or other processing of it. */
  async chooseDevices(change) {
    Object.assign(this.#devices, change);
    if (this.#microphone) await this.#openMicrophone();
  }

  async #openMicrophone() {
    this.#microphone?.close();
    this.#microphone = await Microphone.open(this.#hearing.context, this.#devices, {
      block: (samples, heard) => this.#hear(samples, heard),
      lost: () => this.#onLostMicrophone(),
      paused: (is) => this.#on.state(is ? "microphone-paused" : this.#session ? "talking" : "connecting"),
    });
    if (this.#stop.signal.aborted) this.#microphone.close();
  }

  async #onLostMicrophone() {
    try {
      this.#on.state("microphone-changed");
      await this.chooseDevices({ device: null });
    } catch (error) {
      this.#on.state("microphone-lost", error);
    }
  }

  async #once(signal, worked) {
    this.#on.state("connecting");
    this.ledger.clear();
    await awaitCodec(signal);
    const { voice, identity, shift } = this.#choice;
    const hello = { role: "convert", input: "pcm", output: "pcm", voice, identity, token: this.#token };
    const session = openConversion(hello, {
      ready: () => {
        worked();
        this.#base = this.said.end;
        this.#session = session;
        this.#on.state("talking");
      },
      sound: (samples, seq, times) => this.#come(session, samples, seq, times),
      frame: (seq, said, sent) => this.#note(session, seq, said, sent),
    }, this.wire);
    this.computes = session.computes;
    if (shift) session.sendVoice(voice, identity, shift);
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      const done = await session.ended;
      throw new SessionError(done.reason === "shutdown" ? "shutdown" : "lost", done.reason);
    } finally {
      this.#session = null;
      this.#hearing.speaker.end();
    }
  }

  #sendVoice() {
    const { voice, identity, shift } = this.#choice;
    this.#session?.sendVoice(voice, identity, shift);
  }

  /** A block from the microphone. */
  #hear(samples, heard) {
    const block = Float32Array.from(samples);
    this.#glide(block, "mute", this.#choice.mute ? 0 : 1);
    for (let i = 0; i < block.length; i++) {
      this.peak = Math.max(this.peak, Math.abs(block[i]));
      block[i] = Math.round(block[i] * 32768) / 32768; // as it is sent
    }
    if (this.#session?.sendSound(block, heard)) this.said.put(this.said.end, block);
  }

  /** A packet from the server: frame seq of what comes belongs to frame seq of what went. */
  #come(session, samples, seq, times) {
    if (session !== this.#session) return;
    const at = this.#base + seq * HOP;
    const as = this.said.get(at, at + samples.length);
    const from = this.#level.bypass;
    const to = (this.#level.bypass = this.#choice.bypass ? 1 : 0);
    const out = samples.map((sample, i) => {
      const weight = from + ((to - from) * (i + 1)) / samples.length;
      return sample + weight * (as[i] - sample);
    });
    this.#glide(out, "gain", this.#choice.gain);
    this.sent.put(at, out);
    this.#publisher?.sendSound(out, now());
    const heard = Float32Array.from(out);
    this.#glide(heard, "hear", this.#choice.hear ? 1 : 0);
    this.#hearing.speaker.play(heard);
    if (times) this.#account(session, times);
  }

  /** A frame as codes: as it was said, and in the other voice. */
  #note(session, seq, said, sent) {
    if (session !== this.#session) return;
    const number = this.#base / HOP + seq;
    const out = this.#choice.bypass ? said : sent;
    this.codes.said.put(number, said.codes, said.voice);
    this.codes.sent.put(number, out.codes, out.voice);
    this.codes.identity = session.identity;
  }

  #account({ ready }, times) {
    const { encoder, decoder } = ready.latency;
    this.ledger.add({
      ...times,
      "look-ahead": (encoder + decoder) / RATE,
      playout: this.#hearing.speaker.wait,
    });
  }

  /** Multiplies by a factor that moves from where it was to `to` over the block, without a click. */
  #glide(samples, name, to) {
    const from = this.#level[name];
    this.#level[name] = to;
    if (from === 1 && to === 1) return;
    for (let i = 0; i < samples.length; i++) {
      const value = samples[i] * (from + ((to - from) * (i + 1)) / samples.length);
      samples[i] = Math.max(-1, Math.min(1, value));
    }
  }

  // ------------------------------------------------------------------------------------- rooms

  /** Sends on what is heard here to a room, until stopBroadcast(). */
  async broadcast(room) {
    this.stopBroadcast();
    const stop = (this.#room = new AbortController());
    let resume;
    try {
      await keepConnected(stop.signal, async (signal, worked) => {
        const hello = { role: "publish", input: "pcm", room, resume, token: this.#token };
        const session = openSession(hello, {
          ready: (ready) => {
            worked();
            resume = ready.resume;
            this.#publisher = session;
            this.#on.room("live");
          },
        }, this.wire);
        signal.addEventListener("abort", () => session.end(), { once: true });
        try {
          const { reason } = await session.ended;
          if (!signal.aborted) throw new SessionError(reason === "replaced" ? "replaced" : "lost", reason);
        } finally {
          if (this.#publisher === session) this.#publisher = null;
        }
      }, (error) => this.#on.room("reconnecting", error));
      this.#on.room("stopped");
    } catch (error) {
      this.#on.room("failed", error);
    }
  }

  stopBroadcast() {
    this.#room?.abort();
    this.#publisher = this.#room = null;
  }
}
