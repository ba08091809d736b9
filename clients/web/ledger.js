// Where the milliseconds go, and what goes over the wire, of the last seconds.

import { now } from "./session.js";

export const STAGES = ["capture", "look-ahead", "encode", "network", "queue", "decode", "playout"];
const KEPT = 2; // seconds
const RATE_OVER = 2; // seconds

/** Durations by stage: medians of the last two seconds. */
export class Ledger {
  #stages = new Map(STAGES.map((stage) => [stage, []]));

  /** Takes the durations of one packet, which came at `at` (s). */
  add(times, at = now()) {
    for (const [stage, seconds] of Object.entries(times)) {
      const kept = this.#stages.get(stage);
      kept.push({ at, seconds });
      while (kept[0].at < at - KEPT) kept.shift();
    }
  }

  clear() {
    for (const kept of this.#stages.values()) kept.length = 0;
  }

  /** {stage: milliseconds} of the stages that were seen; empty before the first packet. */
  medians() {
    const seen = [...this.#stages].filter(([, kept]) => kept.length);
    return Object.fromEntries(seen.map(([stage, kept]) => [stage, 1000 * median(kept.map(({ seconds }) => seconds))]));
  }
}

/** Kilobits a second from a running count of bytes. */
export class Rate {
  #marks = [];

  /** The rate, with `bytes` counted at `time` (s). */
  at(time, bytes) {
    this.#marks.push([time, bytes]);
    while (this.#marks.length > 2 && time - this.#marks[1][0] >= RATE_OVER) this.#marks.shift();
    const [since, before] = this.#marks[0];
    return time > since ? (0.008 * (bytes - before)) / (time - since) : 0;
  }
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
