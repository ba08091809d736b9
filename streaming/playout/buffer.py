"""The playout buffer: turns packets that come when they like into sound without gaps.

No clock, no device, no socket: the producer tells the time when it pushes, the consumer (an audio
callback) only copies. Its delay starts small, grows when a packet came a little too late and
shrinks again when the margin has been ample for a while, by cutting or repeating whole pitch
periods under a crossfade, the idea of WSOLA (Verhelst and Roelands, 1993). After a stall the newest
is worth most: what is far behind is skipped at once, the rest is caught up with within a second. A
stall is no reason for a larger margin, and what was made up in place of a packet gives way to it.
"""

from __future__ import annotations

import numpy as np

from streaming.playout.levels import Jitter, LowWater, MadeUp
from streaming.playout.ring import SampleRing
from streaming.playout.settings import PlayoutCounters as PlayoutCounters
from streaming.playout.settings import PlayoutSettings as PlayoutSettings
from streaming.playout.splices import lengthen, shorten

SILENT = 1e-3
"""Largest sample, -60 dB of full scale, of what counts as silence."""
CAUGHT_UP = 5
"""One of so many samples is left out to play 25 % faster."""
JITTERS = 3.0
"""Margin that a pause is shortened to, beyond the reserve, in mean deviations of packets."""
LONGEST_PERIOD = 0.01
"""Most that is left out of speech at once in short packets, or repeated, s: a period of a low
voice."""


class PlayoutBuffer:
    """Bounded, adaptive playout for one producer (:meth:`push`) and one consumer (:meth:`pull`).

    Playing starts when ``target`` samples wait, or when the first have waited for the reserve.
    """

    def __init__(self, settings: PlayoutSettings | None = None) -> None:
        self.settings = settings or PlayoutSettings()
        self.counters = PlayoutCounters()
        self._fade = self.settings.samples(self.settings.fade)
        self._ring = SampleRing(self.settings.samples(self.settings.limit))
        # producer's
        self._reserve = self.settings.samples(self.settings.reserve)
        self._packet = 0
        self._made_up = MadeUp()
        self._jitter = Jitter(self.settings.slight)
        self._idle = 0
        self._lows = LowWater(self.settings.calm)
        self._settled_lows = LowWater(self.settings.settled)
        self._brief_lows = LowWater(self.settings.brief)
        self._hurry_until = float("-inf")
        self._underruns_seen = self._concealed_seen = 0
        self._relax_at = float("-inf")
        self._next_splice = float("-inf")
        self._ended = False
        # consumer's
        self._block = 0
        self._playing = False
        self._waited = 0
        self._starved = False
        self._fade_in_done = self._fade
        self._tail = np.zeros(0, np.float32)
        self._heard = np.zeros(self._fade, np.float32)
        self._ramp = np.linspace(0.0, 1.0, self._fade, endpoint=False, dtype=np.float32)

    @property
    def level(self) -> int:
        """Samples waiting."""
        return self._ring.level

    @property
    def target(self) -> int:
        """Samples that should wait right after a packet arrived."""
        return min(self._reserve + self._packet, self._ring.capacity)

    @property
    def drained(self) -> bool:
        """The end was announced and everything, its fade included, has been played."""
        return self._ended and not self._ring.level and not len(self._tail)

    # ------------------------------------------------------------------ producer

    def push(
        self,
        samples: np.ndarray,
        now: float,
        surplus: int = 0,
        *,
        fills: bool = False,
        pause: bool = False,
    ) -> float:
        """Take a packet (n,) float32 at time ``now`` (s); returns the seconds until it is heard.

        ``pause``: it is of a pause, which tells nothing of the path; what is too much of it is left
        out when speech follows. ``fills``: of one that nobody has told yet; nothing of it is heard
        but what is wanted. ``surplus``: so many samples that were made up have the place of this
        packet; those that nobody has heard yet are left out."""
        self._ended = False
        changed = samples
        if fills or pause:
            self._note_gap(now, self._late(0))
            if fills:
                changed = self._wanted(samples)
                self._made_up.add(len(samples), len(changed))
            self._idle += len(changed)
            self._jitter.restart()
        elif len(samples):  # else it tells nothing
            surplus = self._made_up.take(surplus)
            late = self._late(surplus)
            if surplus:
                self._give_way(surplus)
            self._jitter.note(len(samples) / self.settings.rate, now)
            if self._idle and not late:
                self._shorten_pause(now)
            self._idle = 0
            self._watch(len(samples), now, late)
            changed = self._adapted(samples, now)
        stored = self._store(changed)
        ahead = self._ring.level - stored
        waiting = ahead if self._playing else max(ahead, self.target - len(samples))
        return waiting / self.settings.rate

    def end(self) -> None:
        """Nothing more will come: play what is there, and call no emptiness an underrun."""
        self._ended = True

    def _late(self, surplus: int) -> int:
        """Samples by which what comes now is later than it would have had to be."""
        counters, dry = self.counters, 0
        if counters.underruns != self._underruns_seen:
            self._underruns_seen = counters.underruns
            dry = max(1, counters.concealed - self._concealed_seen)
        self._concealed_seen = counters.concealed
        return max(dry, surplus + dry - self._ring.level) if surplus else dry

    def _wanted(self, samples: np.ndarray) -> np.ndarray:
        """As much of what was made up as does not add to a delay that is too long already."""
        excess = self._ring.level - self._reserve - self._samples(self.settings.near)
        changed = samples
        if self._playing and excess > 0:
            changed = shorten(samples, *self._splice_lengths(), excess)
            self.counters.cut += len(samples) - len(changed)
            self._shift_lows(len(changed) - len(samples))
        return changed

    def _shorten_pause(self, now: float) -> None:
        """Leaves out what is too much of a pause that is over, at once: silence is not missed."""
        known, level = self._settled_lows.minimum(now), self._ring.level
        if not self._playing or level > self._idle:  # speech waits before it
            return
        low = level if known is None or self._settled_lows.is_old(now) else min(level, known)
        spread = min(JITTERS * self._jitter.seconds, self.settings.slight)
        excess = low - self._reserve - self._samples(spread)
        if excess >= self._samples(self.settings.shortest_splice):
            self._skip(excess)
            self.counters.cut += excess

    def _give_way(self, surplus: int) -> None:
        """Leaves out what was made up in place of what comes now. Where the time of it has passed
        already, no more stays than the reserve."""
        level = self._ring.level
        kept = level - surplus if surplus <= level else min(level, self._reserve)
        # The lows are of packets, which were as far behind before all this was made up.
        self._ring.skip(level - kept)
        self.counters.cut += level - kept

    def _watch(self, count: int, now: float, late: int) -> None:
        """A packet of so many samples comes, so late."""
        is_longer, self._packet = count >= 2 * self._packet, count
        if late:
            if late <= self._samples(self.settings.slight) and not is_longer:
                ceiling = self._samples(self.settings.reserve + self.settings.growth)
                self._reserve = min(self._reserve + self._samples(self.settings.growth), ceiling)
            self._relax_at = now + self.settings.forget
            self._note_gap(now, late)
        elif self._playing:
            # Between packets the level only falls: before a push it is at its lowest.
            for lows in self._all_lows:
                lows.note(self._ring.level, now)
            self._relax(now)
        else:
            self._restart_lows(now)

    def _note_gap(self, now: float, late: int) -> None:
        if late:
            self._hurry_until = now + self.settings.hurry
            self._restart_lows(now)

    @property
    def _all_lows(self) -> tuple[LowWater, ...]:
        return self._lows, self._settled_lows, self._brief_lows

    def _restart_lows(self, now: float) -> None:
        for lows in self._all_lows:
            lows.restart(now, self._reserve)

    def _shift_lows(self, change: int) -> None:
        for lows in self._all_lows:
            lows.shift(change)

    def _adapted(self, samples: np.ndarray, now: float) -> np.ndarray:
        if not self._playing:
            return samples
        brief = self._brief_lows.minimum(now)
        excess = 0 if brief is None else brief - self._reserve
        if excess >= self._samples(self.settings.far):
            self._skip(excess)
            self.counters.cut += excess
            return samples
        if now >= self._hurry_until:
            settled = self._settled_lows.minimum(now)
            excess = 0 if settled is None else settled - self._reserve
        hurries = excess >= self._samples(self.settings.near)
        changed = self._hastened(samples, now, excess) if hurries else self._spliced(samples, now)
        self._shift_lows(len(changed) - len(samples))
        return changed

    def _hastened(self, samples: np.ndarray, now: float, excess: int) -> np.ndarray:
        """A packet that catches up: 25 % faster on average, silence by as much as there is."""
        overlap, shortest = self._splice_lengths()
        is_silent = float(np.abs(samples).max(initial=0.0)) < SILENT
        # Packets do not come evenly: the pace holds on average.
        early = self._next_splice - now > len(samples) / (2 * self.settings.rate)
        if len(samples) < overlap + shortest or (early and not is_silent):
            return samples
        changed = (
            shorten(samples, overlap, shortest, excess)
            if is_silent
            else self._shortened(samples, excess)
        )
        cut = len(samples) - len(changed)
        self.counters.cut += cut
        self._next_splice = max(now, self._next_splice) + CAUGHT_UP * cut / self.settings.rate
        return changed

    def _period(self, samples: np.ndarray) -> int:
        """Most that is repeated of a packet at once."""
        return max(self._samples(LONGEST_PERIOD), len(samples) // CAUGHT_UP)

    def _shortened(self, samples: np.ndarray, excess: int) -> np.ndarray:
        """A packet of speech with periods cut out, high voices' more often than low ones', as long
        as there is too much."""
        overlap, shortest = self._splice_lengths()
        parts = []
        while excess >= shortest and len(samples) >= overlap + shortest:
            begin = samples[: overlap + self._samples(LONGEST_PERIOD)]
            seam = shorten(begin, overlap, shortest, excess)
            cut = len(begin) - len(seam)
            end = max(len(begin), CAUGHT_UP * cut)
            parts += [seam, samples[len(begin) : end]]
            samples, excess = samples[end:], excess - cut
        return np.concatenate([*parts, samples])

    def _spliced(self, samples: np.ndarray, now: float) -> np.ndarray:
        """A packet that takes the delay a little nearer to what it should be."""
        overlap, shortest = self._splice_lengths()
        if now < self._next_splice or len(samples) < overlap + shortest:
            return samples
        changed = samples
        low = self._lows.minimum(now)
        if low is not None and low >= self._reserve + shortest:
            changed = shorten(samples, overlap, shortest, low - self._reserve)
            self.counters.cut += len(samples) - len(changed)
        elif self._ring.level < min(self._block, self._reserve):
            # One more pull before this packet would have been a gap: stretch in good time.
            changed = lengthen(samples, overlap, shortest, self._period(samples))
            self.counters.repeated += len(changed) - len(samples)
        if len(changed) != len(samples):
            self._next_splice = now + self.settings.splice_every
        return changed

    def _splice_lengths(self) -> tuple[int, int]:
        return self._samples(self.settings.overlap), self._samples(self.settings.shortest_splice)

    def _relax(self, now: float) -> None:
        floor = self._samples(self.settings.reserve)
        if self._reserve > floor and now >= self._relax_at:
            self._reserve = max(floor, self._reserve - self._samples(self.settings.growth))
            self._relax_at = now + self.settings.forget

    def _store(self, samples: np.ndarray) -> int:
        """Returns how many samples were stored: the newest, for which the oldest give way."""
        newest = samples[-self._ring.capacity :]
        surplus = len(newest) - self._ring.space
        if surplus > 0:
            self._skip(surplus)
        if (dropped := len(samples) - len(newest) + max(0, surplus)) > 0:
            self.counters.overruns += 1
            self.counters.dropped += dropped
        return self._ring.write(newest)

    def _skip(self, count: int) -> None:
        self._ring.skip(count)
        self._shift_lows(-count)

    def _samples(self, seconds: float) -> int:
        return self.settings.samples(seconds)

    # ------------------------------------------------------------------ consumer

    def pull(self, count: int) -> np.ndarray:
        """The next ``count`` samples to be heard, float32 (count,)."""
        out = np.empty(count, np.float32)
        self.pull_into(out)
        return out

    def pull_into(self, out: np.ndarray) -> None:
        """Fill ``out`` (n,) with what is to be heard next; copies only, never waits."""
        self._block = len(out)
        was_playing, at = self._playing, self._ring.read
        got = self._ring.read_into(out) if self._may_play(len(out)) else 0
        if was_playing and self._ring.read != at + got:
            self._break_off()  # the producer has skipped
        self._fade_in(out[:got])
        self._add_tail(out[:got])
        self._remember(out[:got])
        missing = out[got:]
        missing[:] = 0
        if len(missing):
            self._conceal(missing)
            self._remember(missing)

    def _may_play(self, count: int) -> bool:
        if not self._playing and self._ring.level:
            enough = self._ring.level >= self.target or self._waited >= self._reserve
            self._playing = enough or self._ended
            self._waited += count
        return self._playing

    def _conceal(self, missing: np.ndarray) -> None:
        if self._playing:
            self._playing = False
            self._waited = 0
            self._starved = not self._ended
            self.counters.underruns += self._starved
            self._break_off()
        if self._starved:
            self.counters.concealed += len(missing)
        self._add_tail(missing)

    def _break_off(self) -> None:
        """The sound just heard, played backwards under a fade: no jump, the same timbre; what
        comes next is faded in."""
        self._fade_in_done = 0
        self._tail = self._heard[::-1] * self._ramp[::-1]

    def _remember(self, out: np.ndarray) -> None:
        self._heard = np.concatenate((self._heard, out))[len(out) :]

    def _fade_in(self, out: np.ndarray) -> None:
        count = min(len(out), self._fade - self._fade_in_done)
        if count > 0:
            out[:count] *= self._ramp[self._fade_in_done : self._fade_in_done + count]
            self._fade_in_done += count

    def _add_tail(self, out: np.ndarray) -> None:
        count = min(len(out), len(self._tail))
        if count:
            out[:count] += self._tail[:count]
            self._tail = self._tail[count:]
