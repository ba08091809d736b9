// Listening to a room. Knows no page.

import { keepConnected, serverUrl } from "./connect.js";
import { Speaker, openContext } from "./devices.js";
import { Session, SessionError } from "./session.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`. */
export class Listen {
  wire = { up: 0, down: 0 };
  peak = 0;
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
    const hello = { role: "subscribe", output: "pcm", room: this.#room, token: this.#token };
    const session = new Session(serverUrl(), hello, {
      ready: () => {
        worked();
        this.#on.state("listening");
      },
      sound: (samples) => {
        for (const sample of samples) this.peak = Math.max(this.peak, Math.abs(sample));
        this.#speaker.play(samples);
      },
    }, this.wire);
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      const { reason } = await session.ended;
      throw new SessionError(reason, reason);
    } finally {
      this.#speaker.end();
    }
  }
}
