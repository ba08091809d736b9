"""Codes put in order again: what is lost, late, double or repeated, with a clock of the test's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire.assembly import HOP_SECONDS, LONGEST_GAP, REORDERED, Assembly, Piece
from streaming.wire.protocol import Codes, Noise, ProtocolError, Repeat
from streaming.wire.repeats import Repeats

SIZE = 4
PACKET = SIZE * HOP_SECONDS


def packets(count: int, distance: int | None = 2) -> list[Codes]:
    """Packets of four frames, each with the repeat of an earlier one."""
    repeats = None if distance is None else Repeats(distance)
    return [
        Codes(at, SIZE, bytes([at // SIZE]), repeat=repeats and repeats.add(at, SIZE, lambda: b"r"))
        for at in range(0, SIZE * count, SIZE)
    ]


def heard(sent: list[Codes], lost: set[int], distance: int | None = 2) -> list[str]:
    """Marks of how the frames of each packet came, one sent every 50 ms: ``.`` whole, ``r`` as a
    repeat, ``-`` not at all; and after how many packets more."""
    assembly, found = Assembly(), []
    for place, packet in enumerate(sent):
        now = place * PACKET
        if place not in lost:
            assembly.put(packet, now)
        found += [(piece, place) for piece in assembly.take(now)]
    found += [(piece, len(sent)) for piece in assembly.flush()]
    marks = {Codes: ".", Repeat: "r", type(None): "-"}
    return [
        f"{marks[type(piece.message)]}{place - piece.first // SIZE}"
        for piece, place in found
        for _ in range(0, piece.count, SIZE)
    ]


def test_packets_in_order_wait_for_nothing() -> None:
    assert heard(packets(6), set()) == [".0"] * 6


def test_a_burst_as_long_as_the_distance_is_filled_from_repeats() -> None:
    assert heard(packets(8), {2, 3}) == [".0", ".0", "r2", "r2", ".1", ".0", ".0", ".0"]


def test_a_longer_burst_loses_what_was_repeated_in_it() -> None:
    assert [mark[0] for mark in heard(packets(9), {2, 3, 4})] == list("..-rr....")


def test_a_gap_whose_repeat_was_lost_is_given_up_when_the_next_one_comes() -> None:
    """And not later: a packet with the repeat of what came after it is there."""
    marks = heard(packets(9), {2, 4})
    assert [mark[0] for mark in marks] == list("..-.r....")
    assert marks[2] == "-3" and marks[6:] == [".0"] * 3


def test_without_repeats_a_gap_is_given_up_with_the_next_packet() -> None:
    marks = heard(packets(6, None), {2})
    assert [mark[0] for mark in marks] == list("..-...") and marks[2] == "-2"


@given(st.permutations(range(8)))
def test_whatever_order_they_come_in_all_frames_are_there_once(order: list[int]) -> None:
    sent, assembly = packets(8), Assembly()
    pieces: list[Piece] = []
    for place in order:
        assembly.put(sent[place], 0.0)
        assembly.put(sent[place], 0.0)  # doubled on the way
        pieces += assembly.take(0.0)
    pieces += assembly.flush()
    frames = [at for piece in pieces for at in range(piece.first, piece.first + piece.count)]
    assert frames == list(range(SIZE * 8)) and assembly.lost == 0


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8), st.integers(1, 60)), max_size=30))
def test_packets_that_overlap_are_never_heard_twice(sent: list[tuple[int, int, int]]) -> None:
    assembly, pieces = Assembly(), []
    for seq, count, back in sent:
        repeat = Repeat(back, min(back, 8), b"") if back <= seq else None
        assembly.put(Codes(seq, count, b"", repeat=repeat), 0.0)
        pieces += assembly.take(0.0)
    pieces += assembly.flush()
    ends = [0, *(piece.first + piece.count for piece in pieces)]
    assert [piece.first for piece in pieces] == ends[:-1]


def test_what_came_whole_is_not_replaced() -> None:
    first, second, third = packets(3, 1)
    assembly = Assembly()
    assembly.put(second, 0.0)
    assembly.put(third, 0.0)
    assembly.put(first, 0.0)
    assert [piece.message for piece in assembly.take(0.0)] == [first, second, third]


def test_a_late_packet_is_heard_though_its_repeat_came_first() -> None:
    sent, assembly = packets(4, 2), Assembly()
    for packet in (sent[0], sent[3]):  # the fourth repeats the second; the third is on its way
        assembly.put(packet, 0.0)
    assert [piece.message for piece in assembly.take(0.0)] == [sent[0], sent[3].repeat]
    assembly = Assembly()
    for place in (3, 1, 0):
        assembly.put(sent[place], 0.0)
    assert [piece.message for piece in assembly.take(0.0)] == [sent[0], sent[1]]


def test_who_waits_is_told_for_how_long() -> None:
    sent, assembly = packets(6), Assembly()
    assert assembly.wait(0.0) is None
    for packet in (*sent[:3], sent[4]):
        assembly.put(packet, 1.0)
    assert len(assembly.take(1.0)) == 3
    wait = assembly.wait(1.0)
    assert wait == pytest.approx(2 * PACKET + REORDERED)
    assert assembly.take(1.0 + wait - 1e-6) == []
    assert [piece.message for piece in assembly.take(1.0 + wait + 1e-6)] == [None, sent[4]]
    assert assembly.wait(9.0) is None and assembly.lost == SIZE


def test_a_pause_is_no_loss() -> None:
    assembly, (one, two) = Assembly(), packets(2, None)
    assembly.put(one, 0.0)
    assembly.put(Noise(8, b"12345"), 0.1)
    assembly.put(Noise(80), 1.0)
    assembly.put(Codes(80, 4, two.data), 1.0)
    assert [(piece.first, piece.count) for piece in assembly.take(1.0)] == [
        (0, 4), (4, 4), (8, 72), (80, 4),
    ]  # fmt: skip
    assembly.put(Codes(92, 4, b""), 1.1)
    assembly.put(Noise(60), 1.1)  # late: what it tells of is over
    assert assembly.take(1.1) == []
    assert [piece.message is None for piece in assembly.take(2.0)] == [True, False]


def test_a_pause_tells_of_a_second_at_most_what_is_before_is_lost() -> None:
    assembly = Assembly()
    assembly.put(Noise(100), 0.0)
    assert [(piece.count, piece.message) for piece in assembly.take(0.0)] == [
        (20, None), (80, Noise(100)),
    ]  # fmt: skip


def test_a_packet_from_far_ahead_is_refused() -> None:
    assembly = Assembly(100)
    with pytest.raises(ProtocolError, match=f"expected a frame of the {LONGEST_GAP} from 100 on"):
        assembly.put(Codes(101 + LONGEST_GAP, 1, b""), 0.0)


def test_no_more_is_held_than_a_few_packets() -> None:
    assembly = Assembly()
    for at in range(1, 200):
        assembly.put(Codes(4 * at, 4, b""), 0.0)
        assembly.take(0.0)
    assert assembly.lost == 4 and assembly.take(0.0) == []


def test_long_packets_are_not_repeated_and_repeat_nothing() -> None:
    repeats = Repeats(1)
    sizes = [9, 4, 4, 9, 4]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    found = [repeats.add(at, count, lambda: b"") for at, count in zip(starts, sizes, strict=True)]
    assert [None if each is None else (each.back, each.n) for each in found] == [
        None, None, (4, 4), None, None,
    ]  # fmt: skip
    assert repeats.add(1000, 4, lambda: b"") is None  # long ago: a pause is between them
