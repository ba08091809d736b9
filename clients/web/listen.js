// Listening to a room. Knows no page.

import { awaitCodec } from "./codec-thread.js";
import { openSession } from "./coded-session.js";
import { Hearing } from "./hearing.js";
import { SessionError } from "./session.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`. */
export class Listen {
  wire = { up: 0, down: 0 };
  peak = 0;
  /** Who decodes: "browser" or "server". */
  computes = null;
  #isForeign = false; // whether the room speaks codes of another model than the page has
  #on; #room; #token; #hearing;
  #stop = new AbortController();

  constructor(on, room, token) {
    this.#on = on;
    this.#room = room;
    this.#token = token;
    this.#hearing = new Hearing(on);
  }

  get underruns() {
    return this.#hearing.underruns;
  }

  /** Until stop(); raises SessionError. Call it from a click. */
  run() {
    return this.#hearing.run(this.#stop.signal, (signal, worked) => this.#once(signal, worked));
  }

  stop() {
    this.#stop.abort();
  }

  resume() {
    return this.#hearing.resume();
  }

  async #once(signal, worked) {
    this.#on.state("waiting");
    await awaitCodec(signal);
    const hello = {
      role: "subscribe", output: "pcm", room: this.#room, token: this.#token, live: true,
      replay: "newest",
    };
    const session = openSession(hello, {
      ready: () => {
        worked();
        this.#on.state("listening");
      },
      away: (error, seconds) => this.#on.state("coming-back", error, seconds),
      back: () => this.#on.state("listening"),
      presence: ({ publisher }) => this.#on.state(publisher === "away" ? "broadcaster-away" : "listening"),
      sound: (samples) => {
        for (const sample of samples) this.peak = Math.max(this.peak, Math.abs(sample));
        this.#hearing.speaker.play(samples);
      },
    }, this.wire, this.#isForeign);
    this.computes = session.computes;
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      const { reason } = await session.ended;
      throw new SessionError(reason, reason);
    } catch (error) {
      if (error.code !== "model-mismatch" || this.#isForeign) throw error;
      this.#isForeign = true;
      throw new SessionError("unknown-room", error.message); // which is tried again
    } finally {
      this.#hearing.speaker.end();
    }
  }
}
