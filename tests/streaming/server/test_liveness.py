from __future__ import annotations

from typing import Any, cast

import pytest

from streaming.server.ending import GOODBYE, Farewell
from streaming.server.liveness import Liveness, Pulse, Standstill
from streaming.server.settings import ServerSettings
from streaming.server.socket import ServerSocket
from streaming.wire.protocol import ProtocolError

CHECK_EVERY = 0.5


def test_who_is_heard_is_asked_rarely_and_never_silent() -> None:
    liveness, asked = Liveness(every=2.0, now=0.0), []
    for now in range(60):
        if liveness.look(float(now), answered=True, reading=True):
            asked.append(now)
        assert liveness.silent(float(now)) == 0.0
    assert asked == list(range(5, 60, 5))


def test_who_is_not_heard_is_asked_soon() -> None:
    liveness, asked = Liveness(every=2.0, now=0.0), []
    for now in range(30):
        if liveness.look(float(now), answered=now <= 12, reading=True):
            asked.append(now)
    assert asked == [5, 10, *range(14, 30, 2)]


def test_silence_counts_from_the_first_ping_without_an_answer() -> None:
    liveness = Liveness(every=5.0, now=0.0)
    for now in range(1, 31):
        liveness.look(float(now), answered=now < 8, reading=True)
    assert liveness.silent(30.0) == 20.0
    liveness.look(31.0, answered=True, reading=True)
    assert liveness.silent(31.0) == 0.0


def test_who_is_not_read_is_asked_more_often() -> None:
    liveness, asked = Liveness(every=5.0, now=0.0), 0
    for now in range(1, 101):
        asked += liveness.look(float(now), answered=True, reading=False)
    assert liveness.silent(100.0) <= 1.0
    assert asked == 100


class Wire:
    """The part of a socket that a pulse sees."""

    def __init__(self) -> None:
        self.received = self.pongs = self.asked = 0
        self.reads = self.acknowledges = True
        self.transport = self
        self.aborted = False

    def read_since_last_look(self) -> bool:
        return self.reads

    def has_hung_up(self, *, reset: bool) -> bool:
        return False

    def was_acknowledged(self, seconds: float) -> bool:
        return self.acknowledges

    def ask(self) -> None:
        self.asked += 1

    def abort(self) -> None:
        self.aborted = True


def watch(wire: Wire, until: float, heard_until: float, **how: Any) -> float | None:
    """Time at which the pulse of a client that was heard until then is found to have stopped, on
    a clock that is looked at twice a second."""
    pulse = Pulse(cast(ServerSocket, wire), ServerSettings(), 0.0)
    for step in range(1, int(until / CHECK_EVERY)):
        now = step * CHECK_EVERY
        alive = now <= heard_until
        wire.received += alive and wire.reads
        wire.acknowledges = alive
        pulse.check(now, **{"listens": False, "in_room": False, **how})
        if wire.aborted:
            return now
    return None


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("heard_until", [10.0, 10.5, 11.0, 11.5])
def test_half_a_connection_is_found_within_20_seconds(heard_until: float, reads: bool) -> None:
    wire = Wire()
    wire.reads = reads
    found = watch(wire, 60.0, heard_until)
    assert found is not None and 15.0 < found - heard_until <= 20.0


def test_who_is_there_is_not_cut_off_read_or_not() -> None:
    for reads in (True, False):
        wire = Wire()
        wire.reads = reads
        assert watch(wire, 300.0, heard_until=1e9) is None


def test_a_listener_without_an_answer_is_too_slow() -> None:
    with pytest.raises(ProtocolError, match="too-slow: answered no ping for 10 s"):
        watch(Wire(), 60.0, heard_until=0.0, listens=True)


def test_what_is_taken_slowly_does_not_stand_still() -> None:
    standstill, waiting = Standstill(0.0), 100_000
    for now in range(1, 100):
        waiting -= 1_400 if now % 11 == 0 else 0
        assert standstill.look(float(now), waiting) < 11.0
    assert standstill.look(120.0, waiting) == 21.0
    assert standstill.look(121.0, 0) == 0.0


def test_a_client_is_waited_for_as_long_as_it_takes_something() -> None:
    farewell, waiting = Farewell(20.0, 0.0), 128 * 1024
    now = 0.0
    while waiting:
        now += 1.0
        waiting = max(0, waiting - 125)  # a kilobit a second
        assert not farewell.is_over(now, waiting)
    assert now > 1000
    assert not farewell.is_over(now + GOODBYE - 0.1, 0)
    assert farewell.is_over(now + GOODBYE, 0)


def test_a_client_that_takes_nothing_is_waited_for_no_longer_than_told() -> None:
    farewell = Farewell(20.0, 0.0)
    assert not farewell.is_over(20.0, 1000)
    assert farewell.is_over(20.5, 1000)
