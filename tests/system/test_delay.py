"""The delay of a talk from mouth to ear over bad paths, with clocks of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.link.conditions import CLEAN_DELAY, paths
from benchmarks.link.hearing import AFTER, BACK_WITHIN, STALL
from tests.talks import BLOCK, PERIOD, Heard, Talk

SECONDS = 26.0
SPEECH, PAUSE = 2.0, 0.8
"""Seconds of speech, and of the pause after it."""
MARGIN = 0.015 + 2 * BLOCK / 16_000
"""Seconds that the playout keeps where nothing is wrong, to the blocks of a loudspeaker."""
SELDOM = 0.03
"""Share of the time in which the delay may be longer: while a way changes."""
LEARNING = 64
"""Frames that may be dropped in the first seconds, until it is known what a link takes."""
KNOWN = 2.0
"""Seconds after which the ends know each other."""
LEAST = 4 * PERIOD + 2 * CLEAN_DELAY + MARGIN
"""Seconds of the delay of four frames a packet where nothing is wrong."""


PATHS = (
    "clean", "loss-2", "loss-5", "loss-10", "jitter", "kbit-32", "kbit-16", "kbit-12", "kbit-8",
    "outage-1", "outage-5", "edge",
)  # fmt: skip


def in_turns(frame: int) -> bool:
    """Somebody speaks and pauses."""
    return frame * PERIOD % (SPEECH + PAUSE) < SPEECH


def always(frame: int) -> bool:
    return True


def stalls(heard: Heard) -> list[tuple[float, float]]:
    """Gaps (from the last packet of speech, to the next) that are no pauses."""
    times = heard.arrivals[:, 0]
    gaps = np.flatnonzero(np.diff(times) > STALL)
    gaps = gaps[np.abs(np.diff(times)[gaps] - PAUSE) > 0.1]
    return [(float(times[i]), float(times[i + 1])) for i in gaps]


def needs(heard: Heard) -> np.ndarray:
    """Delay (n,) that the latest packet of the second before each block that was heard made
    necessary."""
    found = []
    for at in heard.times:
        times, late = heard.arrivals.T
        lately = late[(times > at - AFTER) & (times <= at)]
        found.append(lately.max(initial=0.0))
    return np.array(found)


def too_much(heard: Heard) -> np.ndarray:
    """Delay (n,) beyond what is needed, once the ends know each other."""
    return (heard.delays - needs(heard) - MARGIN)[heard.times > KNOWN]


@pytest.mark.parametrize("name", PATHS)
def test_the_delay_is_what_the_packets_of_the_last_second_need(name: str) -> None:
    more = too_much(Talk(paths(SECONDS)[name], in_turns).over(SECONDS))
    assert len(more) > 500 and np.mean(more >= BACK_WITHIN) < SELDOM
    assert more.max() < 2 * BACK_WITHIN


@pytest.mark.parametrize("name", ["loss-10", "kbit-8", "edge"])
def test_it_is_no_longer_where_nobody_pauses(name: str) -> None:
    more = too_much(Talk(paths(SECONDS)[name], always).over(SECONDS))
    assert len(more) > 500 and more.max() < BACK_WITHIN


@pytest.mark.parametrize("name", ["kbit-12", "kbit-8"])
def test_on_a_narrow_link_nothing_is_dropped_and_detail_comes_last(name: str) -> None:
    heard = Talk(paths(SECONDS)[name], always).over(SECONDS)
    assert heard.counters.dropped <= (LEARNING if name == "kbit-8" else 0)
    assert 0 < heard.counters.reduced < SECONDS / PERIOD
    assert heard.delays[heard.times > 2].max() < 0.65


@pytest.mark.parametrize("name", ["clean", "jitter", "kbit-32", "kbit-16", "outage-1", "outage-5"])
def test_one_second_after_a_stall_the_delay_is_as_before(name: str) -> None:
    heard = Talk(paths(SECONDS)[name], in_turns).over(SECONDS)
    gaps = stalls(heard)
    assert bool(gaps) == name.startswith("outage")
    disturbed = heard.times < KNOWN  # two estimates of the voice go out in the first second
    for begin, back in gaps:
        disturbed |= (heard.times > begin - 1) & (heard.times < back + AFTER)
    base = np.median(heard.delays[(heard.times > KNOWN) & (heard.times < 7)])
    assert heard.delays[~disturbed].max() < base + BACK_WITHIN
    assert name == "jitter" or base < LEAST + BACK_WITHIN


@pytest.mark.parametrize("name", ["kbit-32", "kbit-16", "kbit-12"])
def test_estimates_of_the_voice_wait_for_pauses_and_put_off_nothing(name: str) -> None:
    path = paths(SECONDS)[name]
    told = Talk(path, in_turns).over(SECONDS)
    untold = Talk(path, in_turns, voices=False).over(SECONDS)
    late, least = (np.percentile(each.delays[each.times > KNOWN], 90) for each in (told, untold))
    assert late - least < 0.01


def test_on_a_link_of_1_3_times_the_rate_the_lag_stays_under_400_ms() -> None:
    heard = Talk(paths(SECONDS)["kbit-12"], always).over(SECONDS)
    assert heard.delays.max() - LEAST < 0.4
    assert heard.counters.dropped == 0


@pytest.mark.parametrize("name", ["kbit-12", "kbit-8", "outage-5", "loss-5"])
def test_a_listener_with_a_bad_link_falls_behind_no_further(name: str) -> None:
    """The path lies behind the server."""
    path = paths(SECONDS)[name]
    heard = Talk(path, in_turns, down=True).over(SECONDS)
    assert np.mean(too_much(heard) >= BACK_WITHIN) < SELDOM
    times, late = heard.arrivals.T
    outages = [end for _, end in path.outages]
    assert late[times > max(outages, default=0.0) + 2 * AFTER].max() < 0.65


@pytest.mark.parametrize("name", ["clean", "outage-1", "jitter"])
def test_sound_that_the_server_makes_is_heard_as_soon(name: str) -> None:
    heard = Talk(paths(SECONDS)[name], in_turns, sound=True).over(SECONDS)
    assert too_much(heard).max() < BACK_WITHIN
