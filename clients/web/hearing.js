// What talking and listening share: a loudspeaker that stays while connections come and go.

import { keepConnected } from "./connect.js";
import { Speaker, openContext } from "./devices.js";

/** `on`: calls for `state(name, error, seconds)`, `context(state)`. `context` and `speaker` are
 * there while it runs. */
export class Hearing {
  context = null;
  speaker = null;
  #on;

  constructor(on) {
    this.#on = on;
  }

  get underruns() {
    return this.speaker?.counters.underruns ?? 0;
  }

  /** Lets a context that the browser has halted go on; from a click. */
  resume() {
    return this.context?.resume();
  }

  /** Keeps connected with `once` until `signal`. `open`: opens what else is needed, once there is
   * a context; `close`: closes it, however this ends. Raises SessionError or what `open` raises.
   * Call it from a click. */
  async run(signal, once, { open, close } = {}) {
    this.#on.state("starting");
    try {
      this.context = await openContext();
      this.context.onstatechange = () => this.#on.context(this.context.state);
      this.speaker = new Speaker(this.context);
      await open?.();
      this.#on.context(this.context.state);
      const tell = (error, seconds) => this.#on.state("reconnecting", error, seconds);
      await keepConnected(signal, once, tell);
    } finally {
      close?.();
      await this.speaker?.close();
      if (this.context) this.context.onstatechange = null;
      await this.context?.close();
      this.#on.state("stopped");
    }
  }
}
