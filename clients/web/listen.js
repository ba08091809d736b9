// Listening to a room. Knows no page.

import { serverUrl } from "./connect.js";
import { Hearing } from "./hearing.js";
import { Session, SessionError } from "./session.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`. */
export class Listen {
  wire = { up: 0, down: 0 };
  peak = 0;
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
    const hello = { role: "subscribe", output: "pcm", room: this.#room, token: this.#token };
    const session = new Session(serverUrl(), hello, {
      ready: () => {
        worked();
        this.#on.state("listening");
      },
      sound: (samples) => {
        for (const sample of samples) this.peak = Math.max(this.peak, Math.abs(sample));
        this.#hearing.speaker.play(samples);
      },
    }, this.wire);
    signal.addEventListener("abort", () => session.close(), { once: true });
    try {
      const { reason } = await session.ended;
      throw new SessionError(reason, reason);
    } finally {
      this.#hearing.speaker.end();
    }
  }
}
