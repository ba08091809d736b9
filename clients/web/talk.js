// Talking: microphone -> server -> loudspeaker and, if wished, on to a room. Knows no page.

import { awaitCodec } from "./codec-thread.js";
import { openSession } from "./coded-session.js";
import { keepConnected } from "./connect.js";
import { Microphone } from "./devices.js";
import { Feedback } from "./feedback.js";
import { Hearing } from "./hearing.js";
import { History } from "./history.js";
import { Ledger } from "./ledger.js";
import { openConversion } from "./local-session.js";
import { FrameHistory } from "./recording.js";
import { HOP, RATE, SessionError, now } from "./session.js";
import { Shaping } from "./shaping.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`, `room(name, error)`,
 * `feedback(isHeard)`. */
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
  #on; #choice; #devices; #token; #hearing; #shaping;
  #microphone = null;
  #opening = null; // the last microphone that was asked for, a promise
  #isDeaf = false; // whether the microphone is lost and there was no other
  #session = null;
  #publisher = null;
  #room = null;
  #stop = null;
  #feedback = new Feedback();
  #places = [{ seq: 0, at: 0 }]; // where in what was said frames of the session from seq on lie

  /** `choice`: {voice, identity, shift, mute, bypass, gain, hear}; `devices`: {device, echo,
   * noise}. */
  constructor(on, choice, devices, token) {
    this.#on = on;
    this.#choice = { ...choice };
    this.#shaping = new Shaping(this.#choice);
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
    try {
      await this.#hearing.run(this.#stop.signal, (signal, worked) => this.#once(signal, worked), {
        open: () => this.#openMicrophone(),
        close: () => this.#microphone?.close(),
      });
    } finally {
      this.stop();
    }
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
    if (this.#opening) await this.#openMicrophone();
  }

  /** Takes a microphone that was plugged in, where the last was lost. */
  async lookForMicrophone() {
    if (!this.#isDeaf) return;
    await this.#onLostMicrophone();
    if (!this.#isDeaf) this.#on.state(this.#session ? "talking" : "connecting");
  }

  /** One after the other, as there is one microphone. */
  #openMicrophone() {
    const open = () => this.#openNext();
    return (this.#opening = this.#opening?.then(open, open) ?? open());
  }

  async #openNext() {
    if (this.#stop.signal.aborted) return;
    this.#microphone?.close();
    this.#shaping.breakOff();
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
      this.#isDeaf = false;
    } catch (error) {
      this.#isDeaf = true;
      this.#on.state("microphone-lost", error);
    }
  }

  async #once(signal, worked) {
    this.#on.state("connecting");
    this.ledger.clear();
    await awaitCodec(signal);
    const { voice, identity, shift } = this.#choice;
    const hello = {
      role: "convert", input: "pcm", output: "pcm", voice, identity, token: this.#token, replay: "newest",
    };
    const session = openConversion(hello, {
      ready: () => {
        worked();
        this.#places = [{ seq: 0, at: this.said.end }];
        this.#session = session;
        this.#on.state("talking");
      },
      away: (error, seconds) => this.#on.state("coming-back", error, seconds),
      back: (seq, skipped) => {
        this.#places.unshift({ seq, at: this.#places.at(-1).at + skipped });
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
    this.#watchFeedback(samples);
    const block = this.#shaping.toSend(samples);
    for (const sample of block) this.peak = Math.max(this.peak, Math.abs(sample));
    if (this.#session?.sendSound(block, heard)) this.said.put(this.said.end, block);
    else this.#shaping.breakOff();
  }

  #watchFeedback(samples) {
    const before = this.#feedback.isHeard;
    this.#feedback.hear(samples);
    if (this.#feedback.isHeard !== before) this.#on.feedback(!before);
  }

  /** A packet from the server: frame seq of what comes belongs to frame seq of what went. */
  #come(session, samples, seq, times) {
    if (session !== this.#session) return;
    const at = this.#place(seq);
    const out = this.#shaping.toShare(samples, this.said.get(at, at + samples.length));
    this.sent.put(at, out);
    this.#publisher?.sendSound(out, now());
    const played = this.#shaping.toHear(out);
    this.#feedback.play(played);
    this.#hearing.speaker.play(played);
    if (times) this.#account(session, times);
  }

  #place(frame) {
    const { at } = this.#places.find(({ seq }) => seq <= frame);
    return at + frame * HOP;
  }

  /** A frame as codes: as it was said, and in the other voice. */
  #note(session, seq, said, sent) {
    if (session !== this.#session) return;
    const number = this.#place(seq) / HOP;
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

  // ------------------------------------------------------------------------------------- rooms

  /** Sends on what is heard here to a room, until stopBroadcast(). */
  async broadcast(room) {
    this.stopBroadcast();
    const stop = (this.#room = new AbortController());
    // One that was stopped has nothing to tell: perhaps there is another by now.
    const tell = (state, error) => stop === this.#room && this.#on.room(state, error);
    let resume;
    try {
      await keepConnected(stop.signal, async (signal, worked) => {
        const hello = {
          role: "publish", input: "pcm", room, resume, token: this.#token, replay: "newest",
        };
        const session = openSession(hello, {
          ready: (ready) => {
            worked();
            if (signal.aborted) return;
            resume = ready.resume;
            this.#publisher = session;
            tell("live");
          },
          away: (error) => tell("reconnecting", error),
          back: () => tell("live"),
        }, this.wire);
        signal.addEventListener("abort", () => session.end(), { once: true });
        try {
          const { reason } = await session.ended;
          if (!signal.aborted) throw new SessionError(reason === "replaced" ? "replaced" : "lost", reason);
        } finally {
          if (this.#publisher === session) this.#publisher = null;
        }
      }, (error) => tell("reconnecting", error));
    } catch (error) {
      tell("failed", error);
    }
  }

  stopBroadcast() {
    this.#room?.abort();
    this.#publisher = this.#room = null;
  }
}
