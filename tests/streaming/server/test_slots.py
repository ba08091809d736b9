from __future__ import annotations

import pytest

from streaming.server.slots import Slots
from streaming.wire.protocol import ProtocolError


class Visitor:
    """A connection that notes when it had to go."""

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted
        self.went = False

    def give_way(self) -> None:
        self.went = True


def test_listeners_and_sessions_are_counted_apart() -> None:
    slots = Slots(lambda: 1, listeners=2, unknown=9)
    visitors = [Visitor() for _ in range(5)]
    for visitor in visitors:
        slots.enter(visitor)
    for visitor in visitors[:2]:
        slots.admit(visitor, listens=True)
    with pytest.raises(ProtocolError, match=r"overloaded.*all 2 places for listeners"):
        slots.admit(visitors[2], listens=True)
    slots.admit(visitors[2], listens=False)
    with pytest.raises(ProtocolError, match=r"overloaded.*all 1 sessions"):
        slots.admit(visitors[3], listens=False)
    assert (slots.computing, slots.listeners, slots.unknown) == (1, 2, 2)
    assert slots.are_taken
    slots.leave(visitors[2])
    slots.leave(visitors[2])
    slots.admit(visitors[3], listens=False)
    assert not any(visitor.went for visitor in visitors)


def test_the_oldest_without_a_token_gives_way() -> None:
    slots = Slots(lambda: 1, listeners=1, unknown=3)
    owner, *strangers = Visitor(trusted=True), *(Visitor() for _ in range(5))
    for visitor in (owner, *strangers):
        slots.enter(visitor)
    assert [visitor.went for visitor in strangers] == [True, True, True, False, False]
    assert not owner.went and slots.unknown == 3
    for visitor in (Visitor(trusted=True) for _ in range(3)):
        slots.enter(visitor)
    assert owner.went and slots.unknown == 3
