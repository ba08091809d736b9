"""Messages on their way in packets that may be lost."""

from __future__ import annotations

from streaming.wire.underway import Underway


def test_a_message_is_done_with_when_its_packet_or_a_later_one_is_acknowledged() -> None:
    underway = Underway(4)
    for size in (10, 20, 30):
        underway.add_datagram(size)
    assert underway.unacknowledged(-1) == 72
    underway.note_sent(1, 0, 7)  # one waits still
    underway.note_sent(0, 0, 9)
    assert underway.unacknowledged(6) == 72
    assert underway.unacknowledged(8) == 34
    assert underway.unacknowledged(9) == 0


def test_packets_without_messages_change_nothing() -> None:
    underway = Underway(0)
    underway.add_datagram(10)
    underway.note_sent(0, 0, 3)
    for probe in range(4, 8):
        underway.note_sent(0, 0, probe)
        assert underway.unacknowledged(2) == 10
    assert underway.unacknowledged(5) == 0


def test_a_message_on_the_stream_waits_until_its_end_is_sent() -> None:
    underway = Underway(0)
    underway.add_to_stream(100, 104)
    underway.add_to_stream(50, 158)
    underway.note_sent(0, 120, 3)
    assert underway.unacknowledged(3) == 50
    underway.note_sent(0, 158, 4)
    assert underway.unacknowledged(3) == 50
    assert underway.unacknowledged(4) == 0


def test_what_is_dropped_is_not_waited_for() -> None:
    underway = Underway(0)
    for size in (10, 20):
        underway.add_datagram(size)
    underway.drop_oldest()
    assert underway.unacknowledged(-1) == 20
    underway.note_sent(0, 0, 1)
    assert underway.unacknowledged(1) == 0
