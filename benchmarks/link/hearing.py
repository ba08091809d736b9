"""Delay, silence and words of what was heard, beside what the codec alone makes of the same talk.

All times are s; those of the talk count from its first sample, and so do those of the ear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speech.words import word_errors
from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from benchmarks.link.sound import Audio
    from benchmarks.link.speech import Sentence

WINDOW, STEP = 0.25, 0.1
"""Length of the windows of the talk that are looked for in what was heard, and from one to the
next."""
LOUD = 0.1
"""Power of a window, beside the mean of all, from which it is looked for."""
NEAR = 0.15
"""Seconds beside the delay before within which is looked first."""
LIKE, ALIKE = 0.45, 0.8
"""Correlation of a window that is found, and of one that need not be looked for elsewhere: another
packet in another state makes the codec sound alike, not equal."""
LONG, LIKELIER = 0.6, 0.1
"""Length of the windows that are looked for elsewhere, as vowels are alike in many places; and by
how much the correlation there must be higher."""
ELSEWHERE = 0.65
"""Correlation of a long window that is found elsewhere."""
SOFTER = 0.3
"""Amplitude, beside a window's, below which nothing is like it."""
MOST_DELAY = 6.0
QUIET = 10 ** (-50 / 20)
"""Root mean square of a hop, of full scale, below which nothing is heard."""
BACK_WITHIN = 0.04
"""The delay is as before again when it is longer by less."""
STALL = 0.25
"""Seconds without a packet while speech goes on, from which they are a stall."""
AFTER = 1.0
"""Seconds after the first packet that follows a stall by which the delay is to be as before."""
BEFORE, BEHIND = 0.15, 0.3
"""Seconds around a sentence that the recogniser hears too."""

Points = NDArray[np.float64]
"""(n, 2): when a window was heard, and its delay."""


@dataclass(frozen=True)
class Heard:
    """Sound (n,) of an ear, whose first sample came at ``began``; ``arrivals``: when packets came
    to be played."""

    audio: Audio
    began: float
    arrivals: NDArray[np.float64]


def delays(reference: Audio, heard: Heard) -> Points:
    """Times at which each loud window of the talk was heard, in the order of the talk; those that
    were not are left out. ``reference`` (m,): the talk through the codec alone, in its place."""
    size, step = int(WINDOW * SAMPLE_RATE), int(STEP * SAMPLE_RATE)
    starts = np.arange(0, len(reference) - size, step)
    powers = np.array([np.mean(np.square(reference[at : at + size])) for at in starts])
    points, last = [], None
    for at in starts[powers > LOUD * powers.mean()]:
        found = _place(reference, at, heard, last)
        if found is not None:
            last = found
            points.append((at / SAMPLE_RATE + found, found))
    return _without_strays(np.array(points).reshape(-1, 2))


def _without_strays(points: Points) -> Points:
    """Points but those whose delay both neighbours, which agree with each other, belie: windows
    overlap, so what was heard elsewhere in truth was heard there by more than one."""
    before, own, behind = points[:-2, 1], points[1:-1, 1], points[2:, 1]
    apart = np.minimum(np.abs(own - before), np.abs(own - behind))
    stray = np.zeros(len(points), bool)
    stray[1:-1] = (apart > BACK_WITHIN) & (np.abs(before - behind) < apart / 2)
    return points[~stray]


def _place(reference: Audio, at: int, heard: Heard, last: float | None) -> float | None:
    """Delay of the window of the talk at a sample; None where it was not heard."""
    said = at / SAMPLE_RATE
    window = reference[at : at + int(WINDOW * SAMPLE_RATE)]
    longer = reference[at : at + int(LONG * SAMPLE_RATE)]
    near, likeness = 0.0, 0.0
    if last is not None:
        least, most = max(0.0, last - NEAR), last + NEAR
        near, likeness = _search(window, heard, said, least, most)
        if likeness >= ALIKE:
            return near
    elsewhere, far = _search(longer, heard, said, 0.0, MOST_DELAY)
    _, beside = _search(longer, heard, said, least, most) if last is not None else (0.0, 0.0)
    if far >= max(ELSEWHERE, beside + LIKELIER):
        return elsewhere
    return near if likeness >= LIKE else None


def _search(
    window: Audio, heard: Heard, said: float, least: float, most: float
) -> tuple[float, float]:
    """The likeliest delay within bounds, and the correlation there."""
    first = round((said + least - heard.began) * SAMPLE_RATE)
    last = round((said + most - heard.began) * SAMPLE_RATE) + len(window)
    begin = max(0, first)
    among = heard.audio[begin : max(begin, last)]
    if len(among) < len(window):
        return 0.0, 0.0
    place, likeness = _find(window, among)
    return (begin + place) / SAMPLE_RATE + heard.began - said, likeness


def _find(pattern: Audio, among: Audio) -> tuple[int, float]:
    """The place in ``among`` that is most like the pattern, and how much; what is much softer is
    not."""
    size = 1 << (len(among) + len(pattern) - 1).bit_length()
    spectrum = np.fft.rfft(among, size) * np.conj(np.fft.rfft(pattern, size))
    products = np.fft.irfft(spectrum, size)[: len(among) - len(pattern) + 1]
    energy = np.cumsum(np.concatenate([[0.0], among.astype(np.float64) ** 2]))
    local = np.sqrt(np.maximum(0.0, energy[len(pattern) :] - energy[: -len(pattern)]))
    own = max(float(np.linalg.norm(pattern)), 1e-6)
    likeness = products / (np.maximum(local, SOFTER * own) * own)
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def quiet_seconds(sound: Audio) -> float:
    """Seconds of sound (n,) in which nothing is heard."""
    hops = sound[: len(sound) // HOP * HOP].reshape(-1, HOP)
    return float((np.sqrt(np.square(hops).mean(axis=1)) < QUIET).sum() * HOP / SAMPLE_RATE)


def silence(reference: Audio, heard: Heard, base: float) -> float:
    """Seconds of silence that the link has put in: of what was heard of the talk at the delay
    ``base``, beyond those of the talk itself."""
    begin = max(0, round((base - heard.began) * SAMPLE_RATE))
    there = heard.audio[begin : begin + len(reference)]
    missing = (len(reference) - len(there)) / SAMPLE_RATE
    return max(0.0, quiet_seconds(there) + missing - quiet_seconds(reference))


def wrong_words(
    sentences: Sequence[Sentence],
    heard: Heard,
    points: Points,
    hear: Callable[[Audio], list[str]],
) -> int:
    """Words of all sentences that were not heard as they were said."""
    wrong = 0
    for sentence in sentences:
        begin, end = sentence.begin / SAMPLE_RATE, sentence.end / SAMPLE_RATE
        said = points[:, 0] - points[:, 1]
        own = points[(said >= begin) & (said < end), 1]
        if not len(own):
            wrong += len(sentence.words)
            continue
        first = round((begin + own.min() - BEFORE - heard.began) * SAMPLE_RATE)
        last = round((end + own.max() + BEHIND - heard.began) * SAMPLE_RATE)
        wrong += word_errors(sentence.words, hear(heard.audio[max(0, first) : last]))
    return wrong


def live_again(points: Points, outages: Sequence[tuple[float, float]], base: float) -> list[float]:
    """Seconds from the end of each outage until what is heard is as live as before, and stays so
    until the next; that until the next, where it never is."""
    found = []
    for number, (_, end) in enumerate(outages):
        following = outages[number + 1][0] if number + 1 < len(outages) else np.inf
        after = points[(points[:, 0] >= end) & (points[:, 0] < following)]
        late = np.flatnonzero(after[:, 1] > base + BACK_WITHIN)
        first = late[-1] + 1 if len(late) else 0
        if first < len(after):
            found.append(float(after[first, 0] - end))
        else:
            found.append(float(min(following, points[-1:, 0].max(initial=end)) - end))
    return found


def stalls(arrivals: NDArray[np.float64], spoken: float) -> list[tuple[float, float]]:
    """Gaps (from the last packet, to the next) among arrivals while so many seconds are said."""
    times = arrivals[(arrivals >= 0) & (arrivals <= spoken)]
    gaps = np.flatnonzero(np.diff(times) > STALL)
    return [(float(times[i]), float(times[i + 1])) for i in gaps]


def late_after_stalls(
    points: Points, gaps: Sequence[tuple[float, float]], base: float
) -> float | None:
    """The longest delay, beyond ``base``, of what was heard a second and more after a stall and
    before the next; None without stalls."""
    late = []
    for number, (_, back) in enumerate(gaps):
        until = gaps[number + 1][0] if number + 1 < len(gaps) else np.inf
        after = points[(points[:, 0] >= back + AFTER) & (points[:, 0] < until), 1]
        late.append(float(after.max()) - base if len(after) else 0.0)
    return max(late) if late else None


def figures(
    reference: Audio, heard: Heard, outages: Sequence[tuple[float, float]]
) -> tuple[dict[str, Any], Points]:
    """Delays in ms and silence in s; and the delays over time. Raises ValueError where nothing was
    heard."""
    points = delays(reference, heard)
    if not len(points):
        raise ValueError("nothing was heard")
    gaps = stalls(heard.arrivals, len(reference) / SAMPLE_RATE)
    undisturbed = points[points[:, 0] < gaps[0][0], 1] if gaps else points[:, 1]
    base = float(np.median(undisturbed if len(undisturbed) else points[:, 1]))
    late = late_after_stalls(points, gaps, base)
    again = live_again(points, outages, base) if outages else []
    low, high = np.percentile(points[:, 1], [50, 99]) * 1e3
    return {
        "p50_ms": round(float(low), 1),
        "p99_ms": round(float(high), 1),
        "base_ms": round(base * 1e3, 1),
        "live_again_s": round(max(again), 2) if again else None,
        "stalls": len(gaps),
        "late_after_stalls_ms": None if late is None else round(late * 1e3, 1),
        "silence_s": round(silence(reference, heard, base), 2),
    }, points
