// The playout buffer: turns packets that come when they like into sound without gaps. It decides
// as streaming/playout/buffer.py does, which has the reasons; a test gives both the same traces.

export const DEFAULTS = {
  rate: 16000, reserve: 0.015, growth: 0.015, limit: 0.5, calm: 1.0, forget: 4.0,
  spliceEvery: 0.04, overlap: 0.004, shortestSplice: 0.0025, fade: 0.008,
  slight: 0.04, settled: 0.5, brief: 0.25, far: 0.15, near: 0.025, hurry: 1.0,
};
const SILENT = 1e-3;
const CAUGHT_UP = 5;
const LONGEST_PERIOD = 0.01;
const MOST_LOWS = 256;

class SampleRing {
  level = 0;
  /** Whether samples were skipped since the last ones were read. */
  skipped = false;
  #data;
  #read = 0;

  constructor(capacity) {
    this.capacity = capacity;
    this.#data = new Float32Array(capacity);
  }

  get space() {
    return this.capacity - this.level;
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
    this.skipped = false;
    return count;
  }

  /** Leaves out the oldest that wait. */
  skip(count) {
    const skipped = Math.min(count, this.level);
    this.#read += skipped;
    this.level -= skipped;
    this.skipped ||= skipped > 0;
  }
}

/** One producer calls push(samples, now), one consumer pullInto(out). Times in seconds. */
export class PlayoutBuffer {
  counters = { underruns: 0, concealed: 0, overruns: 0, dropped: 0, cut: 0, repeated: 0 };
  #set; #fade; #ring; #reserve; #ramp;
  #packet = 0;
  #lows; #settledLows; #briefLows;
  #hurryUntil = -Infinity;
  #underrunsSeen = 0;
  #concealedSeen = 0;
  #relaxAt = -Infinity;
  #nextSplice = -Infinity;
  #ended = false;
  #block = 0;
  #playing = false;
  #waited = 0;
  #starved = false;
  #fadeInDone;
  #tail = null;
  #tailAt = 0;
  #heard;

  constructor(settings = {}) {
    this.#set = { ...DEFAULTS, ...settings };
    this.#fade = this.#samples(this.#set.fade);
    this.#fadeInDone = this.#fade;
    this.#ring = new SampleRing(this.#samples(this.#set.limit));
    this.#heard = new Float32Array(this.#fade);
    this.#reserve = this.#samples(this.#set.reserve);
    this.#lows = new LowWater(this.#set.calm);
    this.#settledLows = new LowWater(this.#set.settled);
    this.#briefLows = new LowWater(this.#set.brief);
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
    if (samples.length) this.#watch(samples.length, now, this.#late()); // else it tells nothing
    const stored = this.#store(samples.length ? this.#adapted(samples, now) : samples);
    const ahead = this.#ring.level - stored;
    const waiting = this.#playing ? ahead : Math.max(ahead, this.target - samples.length);
    return waiting / this.#set.rate;
  }

  /** Nothing more will come: emptiness is no underrun. */
  end() {
    this.#ended = true;
  }

  /** Samples by which what comes now is later than it would have had to be. */
  #late() {
    const { underruns, concealed } = this.counters;
    const isGap = underruns !== this.#underrunsSeen;
    const dry = isGap ? Math.max(1, concealed - this.#concealedSeen) : 0;
    this.#underrunsSeen = underruns;
    this.#concealedSeen = concealed;
    return dry;
  }

  /** A packet of so many samples comes, so late. */
  #watch(count, now, late) {
    const isLonger = count >= 2 * this.#packet;
    this.#packet = count;
    if (late) {
      if (late <= this.#samples(this.#set.slight) && !isLonger) {
        const ceiling = this.#samples(this.#set.reserve + this.#set.growth);
        this.#reserve = Math.min(this.#reserve + this.#samples(this.#set.growth), ceiling);
      }
      this.#relaxAt = now + this.#set.forget;
      this.#hurryUntil = now + this.#set.hurry;
      this.#restartLows(now);
    } else if (this.#playing) {
      for (const lows of this.#allLows) lows.note(this.#ring.level, now);
      this.#relax(now);
    } else {
      this.#restartLows(now);
    }
  }

  get #allLows() {
    return [this.#lows, this.#settledLows, this.#briefLows];
  }

  #restartLows(now) {
    for (const lows of this.#allLows) lows.restart(now, this.#reserve);
  }

  #shiftLows(change) {
    for (const lows of this.#allLows) lows.shift(change);
  }

  #adapted(samples, now) {
    if (!this.#playing) return samples;
    const brief = this.#briefLows.minimum(now);
    let excess = brief === null ? 0 : brief - this.#reserve;
    if (excess >= this.#samples(this.#set.far)) {
      this.#skip(excess);
      this.counters.cut += excess;
      return samples;
    }
    if (now >= this.#hurryUntil) {
      const settled = this.#settledLows.minimum(now);
      excess = settled === null ? 0 : settled - this.#reserve;
    }
    const hurries = excess >= this.#samples(this.#set.near);
    const changed = hurries ? this.#hastened(samples, now, excess) : this.#spliced(samples, now);
    this.#shiftLows(changed.length - samples.length);
    return changed;
  }

  /** Catches up: 25 % faster on average, silence by as much as there is. */
  #hastened(samples, now, excess) {
    const overlap = this.#samples(this.#set.overlap);
    const shortest = this.#samples(this.#set.shortestSplice);
    const isSilent = samples.every((sample) => Math.abs(sample) < SILENT);
    // Packets do not come evenly: the pace holds on average.
    const isEarly = this.#nextSplice - now > samples.length / (2 * this.#set.rate);
    if (samples.length < overlap + shortest || (isEarly && !isSilent)) return samples;
    const changed = isSilent
      ? shorten(samples, overlap, shortest, excess) : this.#shortened(samples, excess);
    const cut = samples.length - changed.length;
    this.counters.cut += cut;
    this.#nextSplice = Math.max(now, this.#nextSplice) + (CAUGHT_UP * cut) / this.#set.rate;
    return changed;
  }

  /** Speech with periods cut out, high voices' more often than low ones', while there is too much. */
  #shortened(samples, excess) {
    const overlap = this.#samples(this.#set.overlap);
    const shortest = this.#samples(this.#set.shortestSplice);
    const size = overlap + this.#samples(LONGEST_PERIOD);
    const out = new Float32Array(samples.length);
    let [at, end, left] = [0, 0, excess];
    while (left >= shortest && samples.length - at >= overlap + shortest) {
      const begin = samples.subarray(at, at + size);
      const seam = shorten(begin, overlap, shortest, left);
      const cut = begin.length - seam.length;
      const piece = Math.max(begin.length, CAUGHT_UP * cut);
      const rest = samples.subarray(at + begin.length, at + piece);
      out.set(seam, end);
      out.set(rest, end + seam.length);
      end += seam.length + rest.length;
      at = Math.min(at + piece, samples.length);
      left -= cut;
    }
    out.set(samples.subarray(at), end);
    return out.subarray(0, end + samples.length - at);
  }

  /** Most that is repeated of a packet at once. */
  #period(samples) {
    return Math.max(this.#samples(LONGEST_PERIOD), Math.floor(samples.length / CAUGHT_UP));
  }

  /** Takes the delay a little nearer to what it should be. */
  #spliced(samples, now) {
    const overlap = this.#samples(this.#set.overlap);
    const shortest = this.#samples(this.#set.shortestSplice);
    if (now < this.#nextSplice || samples.length < overlap + shortest) return samples;
    let changed = samples;
    const low = this.#lows.minimum(now);
    if (low !== null && low >= this.#reserve + shortest) {
      changed = shorten(samples, overlap, shortest, low - this.#reserve);
      this.counters.cut += samples.length - changed.length;
    } else if (this.#ring.level < Math.min(this.#block, this.#reserve)) {
      changed = lengthen(samples, overlap, shortest, this.#period(samples));
      this.counters.repeated += changed.length - samples.length;
    }
    if (changed.length !== samples.length) {
      this.#nextSplice = now + this.#set.spliceEvery;
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

  /** Returns how many samples were stored: the newest, for which the oldest give way. */
  #store(samples) {
    const newest = samples.subarray(Math.max(0, samples.length - this.#ring.capacity));
    const surplus = Math.max(0, newest.length - this.#ring.space);
    if (surplus) this.#skip(surplus);
    const dropped = samples.length - newest.length + surplus;
    if (dropped) {
      this.counters.overruns += 1;
      this.counters.dropped += dropped;
    }
    return this.#ring.write(newest);
  }

  #skip(count) {
    this.#ring.skip(count);
    this.#shiftLows(-count);
  }

  #samples(seconds) {
    return Math.round(seconds * this.#set.rate);
  }

  /** Fills out with what is to be heard next; copies only, never waits. */
  pullInto(out) {
    this.#block = out.length;
    if (this.#playing && this.#ring.skipped) this.#breakOff();
    const got = this.#mayPlay(out.length) ? this.#ring.readInto(out) : 0;
    const count = Math.min(got, this.#fade - this.#fadeInDone);
    for (let i = 0; i < count; i++) out[i] *= this.#ramp[this.#fadeInDone + i];
    if (count > 0) this.#fadeInDone += count;
    this.#addTail(out, 0, got);
    this.#remember(out.subarray(0, got));
    out.fill(0, got);
    if (got < out.length) {
      this.#conceal(out, got);
      this.#remember(out.subarray(got));
    }
  }

  #mayPlay(count) {
    if (!this.#playing && this.#ring.level) {
      const enough = this.#ring.level >= this.target || this.#waited >= this.#reserve;
      this.#playing = enough || this.#ended;
      this.#waited += count;
    }
    return this.#playing;
  }

  #conceal(out, from) {
    if (this.#playing) {
      this.#playing = false;
      this.#waited = 0;
      this.#starved = !this.#ended;
      this.counters.underruns += this.#starved ? 1 : 0;
      this.#breakOff();
    }
    if (this.#starved) this.counters.concealed += out.length - from;
    this.#addTail(out, from, out.length);
  }

  /** Fades out what was just heard, backwards, and in what comes next. */
  #breakOff() {
    this.#fadeInDone = 0;
    const tail = this.#heard.slice().reverse();
    for (let i = 0; i < this.#fade; i++) tail[i] *= this.#ramp[this.#fade - 1 - i];
    this.#tail = tail;
    this.#tailAt = 0;
  }

  #remember(out) {
    const newest = out.subarray(Math.max(0, out.length - this.#fade));
    this.#heard.copyWithin(0, newest.length);
    this.#heard.set(newest, this.#fade - newest.length);
  }

  #addTail(out, from, to) {
    if (!this.#tail) return;
    const count = Math.min(to - from, this.#tail.length - this.#tailAt);
    for (let i = 0; i < count; i++) out[from + i] += this.#tail[this.#tailAt + i];
    this.#tailAt += count;
    if (this.#tailAt === this.#tail.length) this.#tail = null;
  }
}

/** Lowest level over the last window. */
class LowWater {
  #window;
  #shift = 0;
  #lows = []; // times and levels, less all changes since: each is higher than those before it
  #noted = -Infinity;

  constructor(window) {
    this.#window = window;
  }

  restart(now, level) {
    this.#lows = [];
    this.#noted = -Infinity;
    this.note(level, now);
  }

  note(level, now) {
    let low = level - this.#shift;
    if (now - this.#noted > this.#window && this.#lows.length) {
      low = Math.min(low, this.#lows[0][1]); // in a pause nothing shows whether less were enough
    }
    while (this.#lows.length && this.#lows.at(-1)[1] >= low) this.#lows.pop();
    this.#lows.push([now, low]);
    if (this.#lows.length > MOST_LOWS) this.#lows.shift();
    this.#noted = now;
  }

  minimum(now) {
    while (this.#lows.length > 1 && this.#lows[0][0] <= now - this.#window) this.#lows.shift();
    return this.#lows.length ? this.#lows[0][1] + this.#shift : null;
  }

  shift(change) {
    this.#shift += change;
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

function lengthen(samples, overlap, shortest, most) {
  const seam = samples.length - overlap;
  const longest = Math.min(most, seam);
  if (longest < shortest) return samples;
  const lag = bestLag(samples, samples.length - 1, -1, overlap, shortest, longest);
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
