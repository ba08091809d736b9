"""Pauses that are left out of a talk, and when a listener hears noise in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from clients.library.packets import CodesPacket, Packet, PausePacket, Times
from clients.session.pausing import SOON, Filling, PausePacer, Run, SpeechGate, Surplus, paced
from facodec.codec import Codec
from facodec.config import HOP
from facodec.link.bands import BandMeter, decibel
from facodec.link.comfort import BYTES
from facodec.link.pauses import MEMORY, pause_frames
from streaming.wire.pausing import LATELY, MOST_AHEAD

HOP_S = HOP / 16000


def codes(seq: int, frames: int = 8) -> CodesPacket:
    return CodesPacket(seq, np.zeros((6, frames), np.int64), Times(0.0))


def pause(seq: int, frames: int) -> PausePacket:
    return PausePacket(seq, frames, b"")


def frames_of(packets: list[Packet]) -> int:
    return sum(p.codes.shape[1] if isinstance(p, CodesPacket) else p.frames for p in packets)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def talk(hello: np.ndarray) -> np.ndarray:
    """Speech, 3 s of faint noise, speech; with the noise under all of it."""
    noise = np.random.default_rng(0).standard_normal(len(hello) * 2 + 48_000)
    whole = np.concatenate([hello, np.zeros(48_000, np.float32), hello]) + 1e-3 * noise
    return whole[: len(whole) // 1600 * 1600].astype(np.float32)


@pytest.fixture(scope="module")
def judged(live: Codec, talk: np.ndarray) -> tuple[np.ndarray, list[list[Run]]]:
    spoken, gate = np.asarray(live.encode(talk).codes), SpeechGate()
    found = []
    for at in range(0, spoken.shape[1], 8):
        gate.hear(talk[at * HOP : (at + 8) * HOP])
        found.append(gate.judge(spoken[:, at : at + 8]))
    return spoken, found


def test_speech_is_sent_and_silence_is_described(
    hello: np.ndarray, judged: tuple[np.ndarray, list[list[Run]]]
) -> None:
    _, found = judged
    runs = [run for block in found for run in block]
    sent = np.concatenate([np.full(run.frames, run.codes is not None) for run in runs])
    middle = slice(len(hello) // HOP + 40, len(hello) // HOP + 230)
    assert not sent[middle].any() and 0.4 < sent.mean() < 0.9
    told = [run.noise for run in runs if run.codes is None]
    assert {len(noise) for noise in told} == {0, BYTES} and told.count(b"") > len(told) / 2


def test_a_block_is_sent_from_its_first_frame_of_speech_to_its_last(
    talk: np.ndarray, judged: tuple[np.ndarray, list[list[Run]]]
) -> None:
    spoken, partly = judged[0], 0
    for begin in range(0, 8, 2):
        gate = SpeechGate()
        for at in range(begin, spoken.shape[1] - 8, 8):
            gate.hear(talk[at * HOP : (at + 8) * HOP])
            block, place = gate.judge(spoken[:, at : at + 8]), at
            partly += len(block) > 1
            for run in block:
                place += run.frames
                assert run.after == at + 8 - place
                if run.codes is not None:
                    assert np.array_equal(run.codes, spoken[:, place - run.frames : place])
            assert place == at + 8 and (block[-1].codes is not None or block[-1].frames >= 4)
    assert partly


def test_a_pause_sounds_as_loud_as_what_it_stands_for(
    live: Codec, hello: np.ndarray, talk: np.ndarray,
    judged: tuple[np.ndarray, list[list[Run]]],
) -> None:  # fmt: skip
    """No switching is heard: the noise goes on near its level, here 65 dB below full scale."""
    spoken, found = judged
    runs = [run for block in found for run in block]
    sent = np.concatenate([np.full(run.frames, run.codes is not None) for run in runs])
    begin = int(np.flatnonzero(~sent & (np.arange(len(sent)) > len(hello) // HOP))[0])
    end = int(np.flatnonzero(sent & (np.arange(len(sent)) > begin))[0])
    heard = spoken.copy()
    heard[:, begin:end] = pause_frames(spoken[:, begin - MEMORY : begin], begin, end - begin)
    timbre = live.encode(talk).timbre
    levels = {}
    for name, each in (("sent", spoken), ("left out", heard)):
        meter, sound = BandMeter(), live.decode(each, timbre)
        powers = [
            meter.push(hop).sum() for hop in sound[: len(sound) // HOP * HOP].reshape(-1, HOP)
        ]
        around = np.array(powers[begin - 10 : begin]), np.array(powers[begin + 10 : end - 5])
        levels[name] = [float(decibel(part.mean(keepdims=True))[0]) for part in around]
    before, after = levels["left out"]
    assert abs(after - before) < 3.5 and abs(after - levels["sent"][1]) < 3.0


def test_no_frame_of_a_pause_is_voiced_or_loud() -> None:
    before = np.array([[8 * 40 + 5, 2, 8 * 3 + 2, 4], *([[1, 2, 3, 4]] * 5)])
    made = pause_frames(before, 7, 100)
    assert set(made[0].tolist()) == {2} and set(made[1].tolist()) == {2, 3}
    assert np.array_equal(pause_frames(before, 10, 97), made[:, 3:])
    assert pause_frames(before[:, :0], 0, 3).shape == (6, 3)


def test_a_pause_is_heard_as_its_time_comes() -> None:
    pacer = PausePacer()
    assert frames_of(pacer.take(codes(0), 0.0)) == 8 and pacer.wait(0.0) is None
    assert frames_of(pacer.take(pause(8, 8), 0.1)) == 8  # as a packet of codes would have
    wait = pacer.wait(0.1)
    assert wait is not None and 0.1 <= wait < 0.12  # nothing before a packet's time is over
    assert pacer.due(0.1 + wait - 1e-3) is None
    piece = pacer.due(0.2 + 7.9 * HOP_S)
    assert piece is not None and piece.seq == 16 and piece.frames in (7, 8)
    told = pacer.take(pause(16, 80), 0.1 + 80 * HOP_S)
    assert frames_of(told) == 80 - piece.frames
    (end, speech) = [*pacer.take(pause(96, 0), 1.2), *pacer.take(codes(96), 1.2)]
    assert frames_of([end]) == 0 and speech.seq == 96 and pacer.wait(9.0) is None  # type: ignore[union-attr]


def test_what_was_played_too_early_is_not_played_again() -> None:
    pacer = PausePacer()
    pacer.take(codes(0, 1), 0.0)
    pacer.take(pause(1, 0), 0.0)
    early = pacer.due(0.5)
    assert early is not None and early.frames > 30
    assert frames_of(pacer.take(pause(1, 30), 0.5)) == 0
    assert frames_of(pacer.take(pause(31, 20), 0.5)) == 20 - (early.frames - 30)


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_what_was_made_for_a_packet_that_was_late_gives_way_to_it(frames: int) -> None:
    pacer, length = PausePacer(), frames * HOP_S
    pacer.take(codes(0, frames), 0.0)
    pacer.take(pause(frames, frames), length)
    at = 3 * length + SOON + 1e-6
    piece = pacer.due(at)
    assert isinstance(piece, Filling) and piece.frames == 2 * frames
    late = codes(2 * frames, frames)
    assert pacer.take(late, at) == [Surplus(2 * frames), late]
    assert pacer.take(pause(3 * frames, frames), at + length)[0].frames == frames  # type: ignore[union-attr]


def test_a_long_packet_after_a_stall_does_not_make_later_pauses_late() -> None:
    pacer = PausePacer()
    pacer.take(codes(0, 12), 0.0)
    seq, now = 12, 0.0
    for _ in range(LATELY):
        now += 4 * HOP_S
        pacer.take(codes(seq, 4), now)
        seq += 4
    pacer.take(pause(seq, 4), now)
    assert pacer.wait(now) == pytest.approx(4 * HOP_S + SOON)
    piece = pacer.due(now + 4 * HOP_S + SOON + 1e-6)
    assert piece is not None and piece.frames == 4


def test_a_pause_that_is_told_late_goes_on_in_its_time() -> None:
    pacer = PausePacer()
    pacer.take(codes(0, 4), 0.0)
    pacer.take(pause(4, 4), 0.05)
    made = frames_of([piece for i in range(1100) if (piece := pacer.due(i / 1000)) is not None])
    assert made == 80
    pacer.take(pause(8, 80), 1.1)  # 50 ms late
    piece = pacer.due(1.106)
    assert (pacer.wait(1.106) == pytest.approx(0.049) and piece is None) or frames_of([piece]) == 4  # type: ignore[list-item]


def test_what_passed_in_an_outage_is_not_taken_off_later_pauses() -> None:
    pacer = PausePacer()
    pacer.take(codes(0, 4), 0.0)
    pacer.take(pause(4, 4), 0.05)
    piece = pacer.due(6.0)
    assert piece is not None and piece.frames == MOST_AHEAD
    told = pacer.take(pause(8, 4), 6.0)  # what was left out meanwhile is not told
    assert frames_of(told) == 0
    assert pacer.due(6.06) is None and pacer.wait(6.06) is not None
    again = [piece for i in range(1000) if (piece := pacer.due(6.06 + i / 1000)) is not None]
    assert frames_of(again) >= 72


def test_a_connection_that_says_nothing_more_does_not_hiss_for_ever() -> None:
    pacer = PausePacer()
    pacer.take(pause(0, 8), 0.0)
    piece = pacer.due(60.0)
    assert piece is not None and piece.frames == MOST_AHEAD and pacer.due(90.0) is None
    assert pacer.wait(90.0) is None


def test_packets_pass_in_order_and_the_end_is_the_end() -> None:
    async def source() -> AsyncIterator[Packet]:
        yield codes(0)
        yield pause(8, 8)
        yield codes(16)

    async def scenario() -> list[Any]:
        return [packet async for packet in paced(source())]

    heard = asyncio.run(scenario())
    assert [type(packet) for packet in heard] == [CodesPacket, PausePacket, CodesPacket]
    assert frames_of(heard) == 24


def test_what_the_source_raises_comes_through() -> None:
    async def source() -> AsyncIterator[Packet]:
        yield codes(0)
        raise ConnectionError("gone")

    async def scenario() -> None:
        async for _ in paced(source()):
            pass

    with pytest.raises(ConnectionError, match="gone"):
        asyncio.run(scenario())
