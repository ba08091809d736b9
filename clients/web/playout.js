// The playout buffer: turns packets that come when they like into sound without gaps. It decides
// as streaming/playout/buffer.py does, which has the reasons; a test gives both the same traces.

export const DEFAULTS = {
  rate: 16000, reserve: 0.015, growth: 0.015, limit: 0.5, calm: 1.0, forget: 4.0,
  spliceEvery: 0.04, overlap: 0.004, shortestSplice: 0.0025, fade: 0.008,
};

class SampleRing {
  level = 0;
  #data;
  #read = 0;

  constructor(capacity, history) {
    this.capacity = capacity;
    this.history = history;
    this.#data = new Float32Array(capacity + history);
  }

  write(samples) {
    const data = this.#data;
    const count = Math.min(samples.length, this.capacity - this.level);
    let at = (this.#read + this.level) % data.length;
    for (let i = 0; i < count; i++) {
      data[at] = samples[i];
      if (++at === data.length) at = 0;
    }
    this.level += count;
    return count;
  }

  readInto(out) {
    const data = this.#data;
    const count = Math.min(out.length, this.level);
    let at = this.#read % data.length;
    for (let i = 0; i < count; i++) {
      out[i] = data[at];
      if (++at === data.length) at = 0;
    }
    this.#read += count;
    this.level -= count;
    return count;
  }

  /** The last samples read, newest first. */
  backwards(count) {
    const data = this.#data;
    const out = new Float32Array(count);
    const known = Math.min(count, this.#read);
    for (let i = 0; i < known; i++) out[i] = data[(this.#read - 1 - i) % data.length];
    return out;
  }
}

/** One producer calls push(samples, now), one consumer pullInto(out). Times in seconds. */
export class PlayoutBuffer {
  counters = { underruns: 0, concealed: 0, overruns: 0, dropped: 0, cut: 0, repeated: 0 };
  #set; #fade; #ring; #reserve; #ramp;
  #packet = 0;
  #lows;
  #underrunsSeen = 0;
  #relaxAt = -Infinity;
  #nextSplice = -Infinity;
  #cutOff = false;
  #last = 0;
  #ended = false;
  #block = 0;
  #playing = false;
  #waited = 0;
  #starved = false;
  #fadeInDone;
  #tail = null;
  #tailAt = 0;

  constructor(settings = {}) {
    this.#set = { ...DEFAULTS, ...settings };
    this.#fade = this.#samples(this.#set.fade);
    this.#fadeInDone = this.#fade;
    this.#ring = new SampleRing(this.#samples(this.#set.limit), this.#fade);
    this.#reserve = this.#samples(this.#set.reserve);
    this.#lows = new LowWater(this.#set.calm);
    this.#ramp = Float32Array.from({ length: this.#fade }, (_, i) => i / this.#fade);
  }

  get level() {
    return this.#ring.level;
  }

  /** Samples that should wait right after a packet arrived. */
  get target() {
    return Math.min(this.#reserve + this.#packet, this.#ring.capacity);
  }

  /** Takes a packet; returns the seconds until it is heard. */
  push(samples, now) {
    this.#ended = false;
    this.#packet = samples.length;
    this.#watch(now);
    const ahead = this.#ring.level;
    this.#store(this.#adapted(samples, now));
    const waiting = this.#playing ? ahead : Math.max(ahead, this.target - samples.length);
    return waiting / this.#set.rate;
  }

  /** Nothing more will come: emptiness is no underrun. */
  end() {
    this.#ended = true;
  }

  #watch(now) {
    const { underruns } = this.counters;
    if (underruns !== this.#underrunsSeen) {
      this.#underrunsSeen = underruns;
      const ceiling = Math.floor(this.#ring.capacity / 2);
      this.#reserve = Math.min(this.#reserve + this.#samples(this.#set.growth), ceiling);
      this.#relaxAt = now + this.#set.forget;
      this.#lows.restart(now);
    } else if (this.#playing) {
      this.#lows.note(this.#ring.level, now);
      this.#relax(now);
    } else this.#lows.restart(now);
  }

  #adapted(samples, now) {
    const overlap = this.#samples(this.#set.overlap);
    const shortest = this.#samples(this.#set.shortestSplice);
    if (!this.#playing || now < this.#nextSplice || samples.length < overlap + shortest) {
      return samples;
    }
    let changed = samples;
    const low = this.#lows.minimum(now);
    if (low !== null && low >= this.#reserve + shortest) {
      changed = shorten(samples, overlap, shortest, low - this.#reserve);
      this.counters.cut += samples.length - changed.length;
    } else if (this.#ring.level < Math.min(this.#block, this.#reserve)) {
      changed = lengthen(samples, overlap, shortest);
      this.counters.repeated += changed.length - samples.length;
    }
    if (changed.length !== samples.length) {
      this.#nextSplice = now + this.#set.spliceEvery;
      this.#lows.shift(changed.length - samples.length);
    }
    return changed;
  }

  #relax(now) {
    const floor = this.#samples(this.#set.reserve);
    if (this.#reserve > floor && now >= this.#relaxAt) {
      this.#reserve = Math.max(floor, this.#reserve - this.#samples(this.#set.growth));
      this.#relaxAt = now + this.#set.forget;
    }
  }

  #store(samples) {
    const bridged = this.#cutOff ? this.#bridged(samples) : samples;
    const taken = this.#ring.write(bridged);
    if (taken) {
      this.#last = bridged[taken - 1];
      this.#cutOff = false;
    }
    if (taken < bridged.length) {
      this.counters.overruns += 1;
      this.counters.dropped += bridged.length - taken;
      this.#cutOff = true;
    }
  }

  #bridged(samples) {
    const bridged = Float32Array.from(samples);
    const count = Math.min(bridged.length, this.#fade);
    for (let i = 0; i < count; i++) {
      bridged[i] = bridged[i] * this.#ramp[i] + this.#last * (1 - this.#ramp[i]);
    }
    return bridged;
  }

  #samples(seconds) {
    return Math.round(seconds * this.#set.rate);
  }

  /** Fills out with what is to be heard next; copies only, never waits. */
  pullInto(out) {
    this.#block = out.length;
    const got = this.#mayPlay(out.length) ? this.#ring.readInto(out) : 0;
    const count = Math.min(got, this.#fade - this.#fadeInDone);
    for (let i = 0; i < count; i++) out[i] *= this.#ramp[this.#fadeInDone + i];
    if (count > 0) this.#fadeInDone += count;
    this.#addTail(out, 0, got);
    out.fill(0, got);
    if (got < out.length) this.#conceal(out, got);
  }

  #mayPlay(count) {
    if (!this.#playing && this.#ring.level) {
      this.#waited += count;
      const enough = this.#ring.level >= this.target || this.#waited > this.target;
      this.#playing = enough || this.#ended;
    }
    return this.#playing;
  }

  #conceal(out, from) {
    if (this.#playing) {
      this.#playing = false;
      this.#waited = 0;
      this.#starved = !this.#ended;
      this.counters.underruns += this.#starved ? 1 : 0;
      this.#fadeInDone = 0;
      const tail = this.#ring.backwards(this.#fade);
      for (let i = 0; i < this.#fade; i++) tail[i] *= this.#ramp[this.#fade - 1 - i];
      this.#tail = tail;
      this.#tailAt = 0;
    }
    if (this.#starved) this.counters.concealed += out.length - from;
    this.#addTail(out, from, out.length);
  }

  #addTail(out, from, to) {
    if (!this.#tail) return;
    const count = Math.min(to - from, this.#tail.length - this.#tailAt);
    for (let i = 0; i < count; i++) out[from + i] += this.#tail[this.#tailAt + i];
    this.#tailAt += count;
    if (this.#tailAt === this.#tail.length) this.#tail = null;
  }
}

/** Lowest level over the last one to one and a half windows. */
class LowWater {
  #window; #since; #turn; #lows;

  constructor(window) {
    this.#window = window;
    this.restart(Infinity);
  }

  restart(now) {
    this.#since = now;
    this.#turn = now;
    this.#lows = [null, null, null];
  }

  note(level, now) {
    this.#since = Math.min(this.#since, now);
    if (now - this.#turn >= this.#window / 2 || this.#turn === Infinity) {
      this.#lows = [null, this.#lows[0], this.#lows[1]];
      this.#turn = now;
    }
    this.#lows[0] = this.#lows[0] === null ? level : Math.min(this.#lows[0], level);
  }

  minimum(now) {
    const known = this.#lows.filter((low) => low !== null);
    return known.length && now - this.#since >= this.#window ? Math.min(...known) : null;
  }

  shift(change) {
    this.#lows = this.#lows.map((low) => (low === null ? null : low + change));
  }
}

function shorten(samples, overlap, shortest, most) {
  const longest = Math.min(most, samples.length - overlap);
  if (longest < shortest) return samples;
  const lag = bestLag(samples, 0, 1, overlap, shortest, longest);
  const out = new Float32Array(samples.length - lag);
  crossfade(out, 0, samples, 0, lag, overlap);
  out.set(samples.subarray(lag + overlap), overlap);
  return out;
}

function lengthen(samples, overlap, shortest) {
  const seam = samples.length - overlap;
  if (seam < shortest) return samples;
  const lag = bestLag(samples, samples.length - 1, -1, overlap, shortest, seam);
  const out = new Float32Array(samples.length + lag);
  out.set(samples.subarray(0, seam));
  crossfade(out, seam, samples, seam, seam - lag, overlap);
  out.set(samples.subarray(seam - lag + overlap), seam + overlap);
  return out;
}

/** Where the sound, from start on in one direction, is most like its beginning. */
function bestLag(samples, start, step, overlap, shortest, longest) {
  let best = -Infinity;
  let found = shortest;
  let pattern = 0;
  for (let i = 0; i < overlap; i++) pattern += samples[start + step * i] ** 2;
  for (let lag = shortest; lag <= longest; lag++) {
    let energy = 0;
    let product = 0;
    for (let i = 0; i < overlap; i++) {
      const other = samples[start + step * (lag + i)];
      energy += other * other;
      product += other * samples[start + step * i];
    }
    const likeness = product / Math.max(Math.sqrt(energy * pattern), 1e-9);
    if (likeness >= best) {
      best = likeness;
      found = lag;
    }
  }
  return found;
}

function crossfade(out, at, samples, old, next, count) {
  for (let i = 0; i < count; i++) {
    const weight = count > 1 ? i / (count - 1) : 0;
    out[at + i] = samples[old + i] * (1 - weight) + samples[next + i] * weight;
  }
}
