// Listening to a room. Knows no page.

import { awaitCodec } from "./codec-thread.js";
import { openSession } from "./coded-session.js";
import { keepConnected } from "./connect.js";
import { Speaker, openContext } from "./devices.js";
import { SessionError } from "./session.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`. */
export class Listen {
  wire = { up: 0, down: 0 };
  peak = 0;
  /** Who decodes. */
  computes = null;
  #isForeign = false; // whether the room speaks codes of another model than the page has
  #on; #room; #token;
  #stop = new AbortController();
  #context = null;
  #speaker = null;

  constructor(on, room, token) {
    this.#on = on;
    this.#room = room;
    this.#token = token;
  }

  get underruns() {
    return this.#speaker?.counters.underruns ?? 0;
  }

  /** Until stop(); raises SessionError. Call it from a click. */
  async run() {
    this.#on.state("starting");
    try {
      this.#context = await openContext();
      this.#context.onstatechange = () => this.#on.context(this.#context.state);
      this.#speaker = new Speaker(this.#context);
      this.#on.context(this.#context.state);
      await keepConnected(
        this.#stop.signal,
        (signal, worked) => this.#once(signal, worked),
        (error, seconds) => this.#on.state("reconnecting", error, seconds),
      );
    } finally {
      this.#speaker?.close();
      if (this.#context) this.#context.onstatechange = null;
      await this.#context?.close();
      this.#on.state("stopped");
    }
  }

  stop() {
    this.#stop.abort();
  }

  resume() {
    return this.#context?.resume();
  }

  async #once(signal, worked) {
    this.#on.state("waiting");
    await awaitCodec(signal);
    const hello = { role: "subscribe", output: "pcm", room: this.#room, token: this.#token };
    const session = openSession(hello, {
      ready: () => {
        worked();
        this.#on.state("listening");
      },
      sound: (samples) => {
        for (const sample of samples) this.peak = Math.max(this.peak, Math.abs(sample));
        this.#speaker.play(samples);
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
      throw new SessionError("unknown-room", error.message);
    } finally {
      this.#speaker.end();
    }
  }
}
