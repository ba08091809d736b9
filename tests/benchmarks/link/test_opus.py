"""The peer's jitter buffer with a clock of the test's own, and its numbers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.link.opus import JitterBuffer, Unwrapped

FRAME, SECONDS = 320, 0.02


class Decoder:
    """Decodes a packet to the number that it holds, and remembers what was concealed."""

    def __init__(self) -> None:
        self.concealed = 0

    def __call__(self, packet: bytes | None) -> np.ndarray:
        self.concealed += packet is None
        return np.full(FRAME, -1.0 if packet is None else float(packet), np.float32)


def play(arrivals: dict[int, float], seconds: float) -> tuple[np.ndarray, Decoder]:
    """The number heard in each 10 ms, -1 for what was concealed."""
    decoder = Decoder()
    buffer = JitterBuffer(decoder, SECONDS)
    queue = sorted((at, number) for number, at in arrivals.items())
    heard = []
    for index in range(int(seconds / 0.01)):
        now = index * 0.01
        while queue and queue[0][0] <= now:
            at, number = queue.pop(0)
            buffer.push(number, str(number).encode(), at)
        heard.append(buffer.pull(160, now)[0])
    return np.array(heard), decoder


def test_steady_packets_are_heard_in_order_after_a_small_delay() -> None:
    heard, decoder = play({i: (i + 1) * SECONDS for i in range(100)}, 2.0)
    first = int(np.argmax(heard == 1))
    assert first * 0.01 < 0.1
    assert decoder.concealed == 0
    np.testing.assert_array_equal(np.diff(heard[first:]) >= 0, True)


def test_a_lost_packet_is_concealed_in_its_place() -> None:
    heard, decoder = play({i: (i + 1) * SECONDS for i in range(100) if i != 50}, 2.0)
    assert decoder.concealed == 1
    at = int(np.argmax((heard == -1) & (np.arange(len(heard)) > 10)))
    assert heard[at - 1] == 49 and heard[at + 2] == 51


def test_jitter_makes_the_delay_grow_until_few_come_too_late() -> None:
    late = np.random.default_rng(0).uniform(0, 0.06, 1000)
    _, decoder = play({i: (i + 1) * SECONDS + late[i] for i in range(1000)}, 20.0)
    assert decoder.concealed < 0.08 * 1000


def test_after_an_outage_it_is_live_at_once() -> None:
    heard, _ = play({i: (i + 1) * SECONDS for i in range(200) if not 50 <= i < 100}, 4.0)
    before = int(np.argmax(heard == 40)) * 0.01 - 40 * SECONDS
    after = int(np.argmax(heard == 105)) * 0.01 - 105 * SECONDS
    assert after == pytest.approx(before, abs=0.021)


def test_numbers_go_on_where_they_wrap() -> None:
    whole = Unwrapped()
    assert [whole(n) for n in (65534, 65535, 0, 65533, 1)] == [-2, -1, 0, -3, 1]
    assert [Unwrapped()(n) for n in (0, 5)] == [0, 5]
