// The codec in a thread of its own. What it is told and tells: codec-thread.js.

import { Codec, HOP } from "./codec.js";
import { Converter } from "./converter.js";

const TRIED = 16; // hops timed together
const FAST = 3; // ms a hop, with which trying ends
const LONGEST = 3000; // ms of trying: browsers compile their best only for what they run often
const streams = new Map();
let codec = null;

const calls = {
  async load({ place, token }) {
    codec = await Codec.load(place, token);
    return { identity: codec.identity, latency: codec.latency, pace: pace() };
  },

  open({ stream, kind, target }) {
    if (kind === "converter") streams.set(stream, new Converter(codec, target.timbre, steer(target)));
    else streams.set(stream, kind === "encoder" ? codec.encoder() : codec.decoder());
  },

  close({ stream }) {
    streams.get(stream)?.close();
    streams.delete(stream);
  },

  encode({ stream, samples }) {
    return { frames: streams.get(stream)?.encode(samples) ?? [] };
  },

  flush({ stream }) {
    return { frames: streams.get(stream)?.flush() ?? [] };
  },

  voice({ stream, timbre }) {
    streams.get(stream)?.setVoice(timbre);
  },

  aim({ stream, target }) {
    streams.get(stream)?.aim(target.timbre, steer(target));
  },

  convert({ stream, samples }) {
    return streams.get(stream)?.convert(samples) ?? { frames: [], hops: [], decode: 0 };
  },

  decode({ stream, frames }) {
    const decoder = streams.get(stream);
    const heard = decoder ? frames.map((codes) => decoder.decode(codes)) : [];
    return { hops: heard.filter((hop) => hop !== null) };
  },
};

/** What several voices of nobody have in common would tell who was talking. */
function steer({ isNobody }) {
  return isNobody ? null : codec.steer;
}

/** Milliseconds that a hop takes, encoded and decoded: the median of the best so many in a row. */
function pace() {
  const encoder = codec.encoder();
  const decoder = codec.decoder();
  const end = performance.now() + LONGEST;
  let best = Infinity;
  while (best > FAST && performance.now() < end) {
    const times = Array.from({ length: TRIED }, () => {
      const hop = Float32Array.from({ length: HOP }, () => 0.2 * (Math.random() - 0.5));
      const began = performance.now();
      for (const { codes } of encoder.encode(hop)) decoder.decode(codes);
      return performance.now() - began;
    });
    best = Math.min(best, times.sort((a, b) => a - b)[TRIED / 2]);
  }
  encoder.close();
  decoder.close();
  return best;
}

self.onmessage = async ({ data }) => {
  const { call, number } = data;
  try {
    const result = await calls[call](data);
    if (result) self.postMessage({ number, result });
  } catch (error) {
    self.postMessage({ number, error: String(error.message ?? error) });
  }
};
