from __future__ import annotations

import pytest

from streaming.server.occupancy import SMALLEST, Occupancy
from streaming.wire.protocol import ProtocolError


class Visitor:
    """A connection that notes when it had to go."""

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted
        self.went = False

    def give_way(self) -> None:
        self.went = True


def test_places_of_each_kind_are_counted_apart() -> None:
    occupancy = Occupancy(lambda: 1, publishers=1, listeners=2, unknown=9)
    visitors = [Visitor() for _ in range(7)]
    for visitor in visitors:
        occupancy.enter(visitor)
    for visitor in visitors[:2]:
        occupancy.admit(visitor, "listener")
    with pytest.raises(ProtocolError, match=r"overloaded.*all 2 places for listeners"):
        occupancy.admit(visitors[2], "listener")
    occupancy.admit(visitors[2], "computing")
    with pytest.raises(ProtocolError, match=r"overloaded.*all 1 sessions"):
        occupancy.admit(visitors[3], "computing")
    assert not occupancy.are_taken
    occupancy.admit(visitors[4], "publisher")
    with pytest.raises(ProtocolError, match=r"overloaded.*all 1 places for publishers of codes"):
        occupancy.admit(visitors[5], "publisher")
    assert (occupancy.computing, occupancy.publishers, occupancy.listeners) == (1, 1, 2)
    assert occupancy.are_taken and occupancy.unknown == 3
    occupancy.leave(visitors[2])
    occupancy.leave(visitors[2])
    occupancy.admit(visitors[3], "computing")
    assert not any(visitor.went for visitor in visitors)


def test_the_oldest_without_a_token_gives_way() -> None:
    occupancy = Occupancy(lambda: 1, publishers=1, listeners=1, unknown=3)
    owner, *strangers = Visitor(trusted=True), *(Visitor() for _ in range(5))
    for visitor in (owner, *strangers):
        occupancy.enter(visitor)
    assert [visitor.went for visitor in strangers] == [True, True, True, False, False]
    assert not owner.went and occupancy.unknown == 3
    for visitor in (Visitor(trusted=True) for _ in range(3)):
        occupancy.enter(visitor)
    assert owner.went and occupancy.unknown == 3


def test_who_computes_little_takes_a_share_of_a_place() -> None:
    occupancy = Occupancy(lambda: 2, publishers=0, listeners=0, unknown=20)
    whole, *light = (Visitor() for _ in range(6))
    occupancy.admit(whole, "computing")
    for visitor in light[:4]:
        assert not occupancy.are_taken
        occupancy.admit(visitor, "computing", share=SMALLEST)
    assert occupancy.are_taken and occupancy.computing == 5
    with pytest.raises(ProtocolError, match="all 2 sessions are taken"):
        occupancy.admit(light[4], "computing", share=SMALLEST)
    occupancy.leave(light[0])
    assert not occupancy.are_taken
    with pytest.raises(ProtocolError, match="all 2 sessions are taken"):
        occupancy.admit(light[4], "computing")


def test_a_publisher_of_codes_takes_a_session_beside_while_it_is_heard_as_sound() -> None:
    occupancy = Occupancy(lambda: 1, publishers=2, listeners=0, unknown=20)
    one, two, three = (Visitor() for _ in range(3))
    for visitor in (one, two):
        occupancy.admit(visitor, "publisher")
    occupancy.admit(one, "computing")
    occupancy.admit(one, "computing")
    for visitor in (two, three):
        with pytest.raises(ProtocolError, match="all 1 sessions are taken"):
            occupancy.admit(visitor, "computing")
    occupancy.stop_computing(one)
    occupancy.admit(three, "computing")
    assert (occupancy.publishers, occupancy.crowd(one), occupancy.crowd(three)) == (2, 2, 1)
    occupancy.leave(one)
    assert (occupancy.computing, occupancy.publishers) == (1, 1)
