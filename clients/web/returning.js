// Coming back to a session over another connection: when to try, and what the server may lack.
// docs/protocol.md, Coming back.

const WITHIN = 30; // seconds that a server keeps a session
const FIRST = 0.25; // seconds, of the second wait between two tries; the first try is made at once
const LONGEST = 2;
const NEWEST = 8000; // samples of live sound that are sent again
const COUNTED = new Set(["audio", "codes", "voice", "noise", "end", "done"]);

/** Whether a message counts, on both sides. */
export function counts({ type }) {
  return COUNTED.has(type);
}

/** Times at which a connection that was `lost` (s) is tried for again. */
export class Tries {
  #until;
  #wait = 0;

  constructor(lost) {
    this.#until = lost + WITHIN;
  }

  /** Seconds until the next try; null where it would be too late. */
  wait(now) {
    const wait = this.#wait;
    this.#wait = Math.min(LONGEST, Math.max(FIRST, 2 * wait));
    return now + wait < this.#until ? wait : null;
  }
}

/** Messages that count, as {message, samples}, of which the server may not have the last ones.
 * `samples`: those that are in it, at 16 kHz. */
export class SentMessages {
  #first = 0; // number of the first one that is kept
  #start = 0; // samples before it
  #kept = [];
  #asked = new Map(); // by the time that a clock was sent: how many were sent before it

  add(one) {
    this.#kept.push(one);
  }

  /** A clock with the time `t0` is sent. */
  ask(t0) {
    this.#asked.set(t0, this.#first + this.#kept.length);
  }

  /** It was answered: the server has all that was sent before it. */
  answered(t0) {
    const count = this.#asked.get(t0);
    if (count === undefined) return;
    for (const [asked, earlier] of this.#asked) if (earlier <= count) this.#asked.delete(asked);
    this.#drop(count);
  }

  /** The server has `taken` so many, and the other connection none of those that follow: returns
   * {start, lacking}, the samples in those that it has, and the others. */
  restart(taken) {
    this.#drop(taken);
    const lacking = this.#kept;
    this.#kept = [];
    this.#asked.clear();
    this.#first = taken;
    return { start: this.#start, lacking };
  }

  #drop(count) {
    const dropped = this.#kept.splice(0, Math.max(0, count - this.#first));
    this.#first += dropped.length;
    for (const { samples } of dropped) this.#start += samples;
  }
}

/** The newest of messages: of sound half a second, and the voice that it is in. */
export function newest(messages) {
  let samples = 0;
  let from = messages.length;
  while (from > 0 && samples + messages[from - 1].samples <= NEWEST) samples += messages[--from].samples;
  const before = messages.slice(0, from).filter(({ message }) => message.type === "voice");
  return [...before.slice(-1), ...messages.slice(from)];
}
