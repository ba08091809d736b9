"""The playout buffer under a seeded model of jitter, with a fake clock."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.playout.buffer import PlayoutBuffer, PlayoutSettings
from streaming.playout.ring import SampleRing
from streaming.playout.splices import lengthen, shorten

PACKET = 200
RATE = 16_000
PERIOD = PACKET / RATE


def tone(count: int, start: int = 0, hertz: float = 150.0) -> np.ndarray:
    times = (np.arange(count) + start) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def play(
    buffer: PlayoutBuffer, arrivals: Iterable[float], seconds: float, block: int = PACKET
) -> tuple[np.ndarray, list[int]]:
    """Feed a tone in packets that arrive at ``arrivals``; the sound and the levels, per block."""
    queue = sorted(arrivals)
    heard: list[np.ndarray] = []
    levels: list[int] = []
    sent = 0
    for index in range(int(seconds * RATE / block)):
        now = index * block / RATE
        while queue and queue[0] <= now:
            buffer.push(tone(PACKET, sent), queue.pop(0))
            sent += PACKET
        heard.append(buffer.pull(block))
        levels.append(buffer.level)
    return np.concatenate(heard), levels


def steady(seconds: float, phase: float = 0.004) -> list[float]:
    return [phase + i * PERIOD for i in range(int(seconds / PERIOD))]


def jittery(seconds: float, spread: float, seed: int) -> list[float]:
    """In order, as over TCP: each late by an exponential time, none before its forerunner."""
    late = np.random.default_rng(seed).exponential(spread, int(seconds / PERIOD))
    return list(np.maximum.accumulate(np.array(steady(seconds)) + late))


def stalled(seconds: float, start: float, length: float) -> list[float]:
    """Steady but for one stall, after which everything held back comes at once."""
    return [max(t, start + length) if start <= t < start + length else t for t in steady(seconds)]


def largest_jump(sound: np.ndarray) -> float:
    return float(np.abs(np.diff(sound)).max())


def test_steady_packets_play_unchanged_after_a_small_delay() -> None:
    buffer = PlayoutBuffer()
    heard, levels = play(buffer, steady(0.9), 0.9)
    delay = int(np.argmax(np.abs(heard) > 0)) - 1
    assert 0 < delay <= 0.04 * RATE
    np.testing.assert_array_equal(heard[delay:], tone(len(heard) - delay))
    assert max(levels) <= 0.03 * RATE
    assert buffer.counters.underruns == buffer.counters.concealed == 0


def test_silence_before_the_first_packet_is_no_underrun() -> None:
    buffer = PlayoutBuffer()
    assert not buffer.pull(4000).any()
    assert buffer.counters.underruns == buffer.counters.concealed == 0


def test_an_underrun_fades_out_and_is_counted() -> None:
    buffer = PlayoutBuffer()
    heard, _ = play(buffer, stalled(1.0, 0.5, 0.1), 1.0)
    assert buffer.counters.underruns == 1
    assert 0.04 * RATE < buffer.counters.concealed < 0.2 * RATE
    tone_jump = largest_jump(tone(RATE))
    assert largest_jump(heard) < 3 * tone_jump  # mirrored and faded, never cut off


@pytest.mark.parametrize(("length", "grown"), [(0.05, 240), (0.1, 0), (0.2, 0), (2.0, 0)])
def test_a_stall_is_no_reason_for_a_larger_margin(length: float, grown: int) -> None:
    buffer = PlayoutBuffer()
    play(buffer, stalled(3.0, 0.5, length), 0.6 + length)
    assert buffer.counters.underruns == 1
    assert buffer.target == PlayoutBuffer().settings.samples(0.015) + PACKET + grown


def test_the_delay_returns_to_small_after_a_burst() -> None:
    buffer = PlayoutBuffer()
    heard, levels = play(buffer, stalled(12.0, 2.0, 0.3), 12.0)
    worst = max(levels)
    assert worst > 0.25 * RATE
    assert levels[-1] <= 0.04 * RATE
    assert buffer.target <= 0.03 * RATE
    assert buffer.counters.underruns == 1
    assert buffer.counters.cut >= worst - 0.04 * RATE
    assert largest_jump(heard) < 3 * largest_jump(tone(RATE))


@pytest.mark.parametrize("length", [0.1, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("packet", [200, 800, 1600])
@pytest.mark.parametrize("level", [0.5, 0.0])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_one_second_after_an_outage_the_newest_is_heard_as_soon_as_before(
    length: float, packet: int, level: float, rate: int
) -> None:
    """The burst comes within 50 ms. ``level``: of the tone; silence is caught up with too."""
    buffer = PlayoutBuffer(PlayoutSettings(rate))
    scale, block, back = rate // RATE, 160, 2.0 + length
    packet_seconds = packet / RATE
    times = [(i + 1) * packet_seconds for i in range(int((back + 1.5) / packet_seconds))]
    arrivals = [max(t, back + 0.05 * (t - 2) / length) if 2 <= t < back else t for t in times]
    delays: list[tuple[float, float]] = []
    heard = []
    sent = 0
    for index in range(int((back + 1.4) * RATE / block)):
        now = index * block / RATE
        while arrivals and arrivals[0] <= now:
            at = np.arange(sent, sent + packet * scale)
            sound = level * np.sin(2 * np.pi * 150 / rate * at)
            delays.append((now, buffer.push(sound.astype(np.float32), arrivals.pop(0))))
            sent += packet * scale
        heard.append(buffer.pull(block * scale))
    before = max(delay for now, delay in delays if 1 <= now < 2)
    after = max(delay for now, delay in delays if now >= back + 1)
    assert after <= before + 0.04
    assert buffer.counters.underruns <= 3
    assert largest_jump(np.concatenate(heard)) < 3 * largest_jump(tone(RATE))


@pytest.mark.parametrize("packet", [200, 800, 1600])
def test_after_a_gap_playing_goes_on_with_the_margin_and_no_more(packet: int) -> None:
    buffer, period = PlayoutBuffer(), packet / RATE
    waits = []
    for index in range(int(1.0 / 0.0025)):
        now = index * 0.0025
        if index and index % round(period / 0.0025) == 0:
            waits.append(buffer.push(tone(packet, 0), now))
        buffer.pull(40)
    assert max(waits) < buffer.settings.reserve + 0.005
    assert buffer.counters.underruns == buffer.counters.cut == 0


def filled(late: float, surplus: int, *, packet: int = 800) -> tuple[float, float, PlayoutBuffer]:
    """The wait of packets before and after a pause at whose end one is ``late`` s, in whose place
    so many samples were made up."""
    buffer, period, block = PlayoutBuffer(), packet / RATE, 40
    pushes = [(i * period, tone(packet), 0, False) for i in range(1, 41)]
    made = np.full(packet, 0.003, np.float32)
    at = 41 * period + 0.005
    pushes += [(at + i * period, made, 0, True) for i in range(surplus // packet)]
    back = 41 * period + late
    pushes += [
        (max(back, i * period), tone(packet), surplus * (i == 41), False) for i in range(41, 90)
    ]
    waits: list[tuple[float, float]] = []
    for index in range(int(89 * period * RATE / block)):
        now = index * block / RATE
        while pushes and pushes[0][0] <= now:
            due, samples, given, fills = pushes.pop(0)
            waits.append((due, buffer.push(samples, due, given, fills=fills)))
        buffer.pull(block)
    before = float(np.median([wait for due, wait in waits if 1 < due < 40 * period]))
    after = float(np.median([wait for due, wait in waits if back + 0.9 < due < back + 1.2]))
    return before, after, buffer


@pytest.mark.parametrize(
    ("late", "surplus"), [(0.007, 800), (0.012, 800), (0.04, 800), (0.1, 1600)]
)
def test_what_was_made_up_adds_nothing_to_the_delay(late: float, surplus: int) -> None:
    """But for a margin for a packet that was too late by little."""
    before, after, buffer = filled(late, surplus)
    assert abs(after - before) < (0.01 if buffer.target == 240 + 800 else 0.035)
    assert buffer.counters.underruns == 0


def test_of_what_was_made_up_in_an_outage_the_margin_stays() -> None:
    before, after, buffer = filled(0.6, 8000)
    assert abs(after - before) < 0.03
    assert buffer.target == buffer.settings.samples(0.015) + 800


def test_delay_that_no_gap_announced_is_caught_up_with_too() -> None:
    buffer = PlayoutBuffer()
    _, levels = play(buffer, [*steady(3.1), *[2.0] * 6], 3.0)  # 75 ms too many
    assert max(levels) > 0.075 * RATE
    assert levels[-1] < 0.015 * RATE + PACKET + 0.025 * RATE


@pytest.mark.parametrize("hertz", [110.0, 170.0, 230.0])
@pytest.mark.parametrize("packet", [800, 1600])
def test_high_voices_are_caught_up_with_as_fast_as_low_ones(hertz: float, packet: int) -> None:
    """A pitch that glides is like itself one period on, and less so after two."""
    at = np.arange(5 * RATE) / RATE
    phase = 2 * np.pi * hertz * at - 10 * np.cos(2 * np.pi * 3 * at)
    voice = sum(0.1 * np.sin(number * phase) for number in range(1, 12)).astype(np.float32)
    buffer, sent = PlayoutBuffer(), 0
    for index in range(int(3 * RATE) // 160):
        now = index * 160 / RATE
        while sent <= now * RATE + (0.135 * RATE if now >= 1 else 0):
            buffer.push(voice[sent : sent + packet], now)
            sent += packet
        buffer.pull(160)
        if now < 1.5:
            begun = buffer.counters.cut
        elif now < 2:
            cut = buffer.counters.cut - begun
    assert 0.16 <= cut / (0.5 * RATE) <= 0.24  # packets are more or less often


def test_jitter_of_20_ms_runs_dry_no_more_often_for_the_haste_after_gaps() -> None:
    late = np.clip(np.random.default_rng(7).normal(0.05, 0.02, int(60 / PERIOD)), 0, None)
    arrivals = list(np.maximum.accumulate(np.array(steady(60.0)) + late))
    gaps, levels = {}, {}
    for hurry in (0.0, 1.0):
        buffer = PlayoutBuffer(PlayoutSettings(hurry=hurry))
        _, heights = play(buffer, arrivals, 59.0)
        gaps[hurry], levels[hurry] = buffer.counters.underruns, float(np.mean(heights))
        assert buffer.counters.dropped == 0
    assert gaps[1.0] <= gaps[0.0] + 3
    assert levels[1.0] <= levels[0.0]


def test_of_a_recording_nothing_is_left_out_to_catch_up() -> None:
    counters = []
    for chosen in (PlayoutSettings(), PlayoutSettings().unhurried()):
        buffer = PlayoutBuffer(chosen)
        play(buffer, stalled(3.4, 2.0, 0.4), 3.4)
        counters.append(buffer.counters)
    live, recording = counters
    assert live.cut > 0.3 * RATE
    assert recording.cut < 0.05 * RATE and recording.dropped == 0


def test_bunches_are_no_stalls() -> None:
    """Sixteen packets together every 0.2 s, as power saving makes them: they are not skipped."""
    buffer = PlayoutBuffer()
    bunched = [np.ceil(t / 0.2) * 0.2 for t in steady(30.0)]
    play(buffer, bunched, 29.0)
    early = buffer.counters.underruns
    assert early < 25
    assert buffer.counters.dropped == 0
    assert buffer.counters.cut < 0.05 * 29 * RATE


def test_jitter_is_learned_and_then_heard_no_more() -> None:
    buffer = PlayoutBuffer()
    arrivals = jittery(40.0, 0.008, seed=3)
    play(buffer, [t for t in arrivals if t < 20], 20.0)
    early = buffer.counters.underruns
    assert early < 40
    calm = PlayoutBuffer(PlayoutSettings(reserve=0.06))
    play(calm, arrivals, 40.0)
    assert calm.counters.underruns <= 2


def test_a_flood_never_passes_the_bound_and_is_counted() -> None:
    buffer = PlayoutBuffer(PlayoutSettings(limit=0.1))
    for index in range(50):
        buffer.push(tone(PACKET, index * PACKET), 0.0)
        assert buffer.level <= 0.1 * RATE
    assert buffer.counters.overruns == 42
    assert buffer.counters.dropped == 42 * PACKET
    np.testing.assert_array_equal(buffer.pull(1600), tone(1600, 50 * PACKET - 1600))  # the newest
    for index in range(50, 100):
        buffer.push(tone(PACKET, index * PACKET), 1.0)
        buffer.pull(50)
    assert buffer.counters.overruns > 42


def test_a_slow_sender_is_stretched_instead_of_running_dry() -> None:
    buffer = PlayoutBuffer()
    slow = [0.004 + i * PERIOD * 1.0005 for i in range(int(60 / PERIOD))]
    play(buffer, slow, 59.0)
    assert buffer.counters.repeated > 0
    assert buffer.counters.underruns == 0


def test_a_fast_sender_does_not_pile_up_delay() -> None:
    buffer = PlayoutBuffer()
    fast = [0.004 + i * PERIOD * 0.999 for i in range(int(60 / PERIOD))]
    _, levels = play(buffer, fast, 59.0)
    assert max(levels) < 0.06 * RATE
    assert buffer.counters.underruns == buffer.counters.dropped == 0


def test_large_packets_and_odd_blocks_play_without_gaps() -> None:
    buffer = PlayoutBuffer()
    heard = []
    for index in range(3000):
        if index % 20 == 0:
            buffer.push(tone(1600, index * 80), index * 80 / RATE)
        heard.append(buffer.pull(80))
    assert buffer.counters.underruns <= 1
    assert largest_jump(np.concatenate(heard)) < 3 * largest_jump(tone(RATE))


def test_the_end_plays_what_is_left_and_is_no_underrun() -> None:
    buffer = PlayoutBuffer()
    buffer.push(tone(100), 0.0)
    buffer.end()
    heard = buffer.pull(1000)
    np.testing.assert_array_equal(heard[:100], tone(100))
    assert buffer.drained
    assert buffer.counters.underruns == buffer.counters.concealed == 0


def test_a_lone_packet_smaller_than_the_target_is_heard_without_an_end() -> None:
    buffer = PlayoutBuffer()
    buffer.push(tone(50), 0.0)
    assert np.abs(buffer.pull(1000)).max() > 0 or np.abs(buffer.pull(1000)).max() > 0


def test_push_tells_how_long_the_packet_waits() -> None:
    buffer = PlayoutBuffer()
    first = buffer.push(tone(PACKET), 0.0)
    assert first == pytest.approx(0.015)
    for _ in range(2):
        buffer.push(tone(PACKET), 0.0)
    buffer.pull(PACKET)
    assert buffer.push(tone(PACKET), PERIOD) == pytest.approx(2 * PERIOD)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 900)),
            st.tuples(st.just("pull"), st.integers(1, 900)),
        ),
        max_size=80,
    )
)
@settings(deadline=None, max_examples=60)
def test_whatever_happens_the_bound_holds_and_samples_are_accounted_for(
    events: list[tuple[str, int]],
) -> None:
    buffer = PlayoutBuffer(PlayoutSettings(limit=0.1))
    pushed = pulled = 0
    for number, (kind, count) in enumerate(events):
        if kind == "push":
            buffer.push(tone(count, pushed), number * 0.01)
            pushed += count
        else:
            before = buffer.level
            assert np.isfinite(buffer.pull(count)).all()
            pulled += before - buffer.level
        assert 0 <= buffer.level <= 1600
    count = buffer.counters
    assert pushed + count.repeated - count.cut - count.dropped == pulled + buffer.level


def test_splices_keep_the_ends_and_change_the_length() -> None:
    packet = tone(400)
    shorter, longer = shorten(packet, 64, 40, 300), lengthen(packet, 64, 40, 120)
    for changed in (shorter, longer):
        assert changed[0] == packet[0] and changed[-1] == packet[-1]
        assert largest_jump(changed) < 1.5 * largest_jump(packet)
    assert 40 <= len(packet) - len(shorter) <= 300
    assert 40 <= len(longer) - len(packet) <= 120
    assert len(lengthen(packet, 64, 40, 39)) == 400
    assert len(shorten(packet, 64, 40, 39)) == 400  # less than the shortest splice: left alone


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 300)), max_size=40))
def test_the_ring_hands_out_what_it_took_in_but_for_what_was_skipped(
    counts: list[tuple[int, int]],
) -> None:
    ring = SampleRing(1000)
    waiting = np.zeros(0, np.float32)
    at = 0
    for turn, (count, skipped) in enumerate(counts):
        if turn % 2:
            out = np.empty(count, np.float32)
            got = ring.read_into(out)
            np.testing.assert_array_equal(out[:got], waiting[:count])
            waiting = waiting[got:]
        else:
            ring.skip(skipped)
            waiting = waiting[skipped:]
            accepted = ring.write(np.arange(at, at + count, dtype=np.float32))
            assert accepted == min(count, 1000 - len(waiting))
            added = np.arange(at, at + accepted, dtype=np.float32)
            waiting = np.concatenate([waiting, added])
            at += count
        assert ring.level == len(waiting)
        assert ring.space == 1000 - len(waiting)


def test_what_is_written_over_while_it_is_read_is_read_again() -> None:
    class Interrupted(SampleRing):
        """The producer comes in between, once."""

        def _copy_out(self, position: int, out: np.ndarray) -> None:
            super()._copy_out(position, out)
            if position == 0:
                self.skip(600)
                self.write(np.full(600, 2, np.float32))

    ring = Interrupted(1000)
    ring.write(np.ones(1000, np.float32))
    out = np.empty(600, np.float32)
    assert ring.read_into(out) == 600
    np.testing.assert_array_equal(out, np.repeat([1, 2], [400, 200]))
    assert ring.read == 1200 and ring.level == 400


def test_bad_settings_say_so() -> None:
    with pytest.raises(ValueError, match="expected a positive rate"):
        PlayoutSettings(rate=0)
    with pytest.raises(ValueError, match="below the limit"):
        PlayoutSettings(reserve=1.0, limit=0.5)
    with pytest.raises(ValueError, match="capacity"):
        SampleRing(0)
