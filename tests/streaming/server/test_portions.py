"""A publisher's message is passed on in portions, whole and in order."""

from __future__ import annotations

import asyncio

import numpy as np

from facodec.link.entropy import FrameCoder
from streaming.server.pace import FanOut, Pool
from streaming.server.portions import Portions
from streaming.wire.media import Coded, Frames, Pause
from streaming.wire.session import Arrived

CODES = np.arange(6 * 20).reshape(6, 20)


def make(passed: list[Arrived]) -> Portions:
    return Portions(FanOut(Pool(lambda: 0.0), lambda: 0.0), passed.append)


def codes_of(passed: list[Arrived]) -> np.ndarray:
    assert all(isinstance(event.item, Frames) for event in passed)
    return np.concatenate([event.item.codes for event in passed], axis=1)


def test_many_listeners_get_short_portions_of_the_same_codes() -> None:
    passed: list[Arrived] = []
    pause = Pause(0, 10, [], 6, None)
    asyncio.run(make(passed).publish(Arrived(Frames(CODES), 1.5, pause), 8))
    assert [event.item.frames for event in passed] == [8, 2, 8, 8, 4]
    assert all(isinstance(event.item, Pause) for event in passed[:2])
    assert all(event.before is None for event in passed)
    del passed[:2]
    assert np.array_equal(codes_of(passed), CODES)


def test_a_coded_packet_is_passed_on_as_it_came() -> None:
    passed: list[Arrived] = []
    coder = FrameCoder(None)
    packet = Coded(coder.encode(CODES), 6, 20, coder)
    asyncio.run(make(passed).publish(Arrived(packet, None), 64))
    assert [event.item for event in passed] == [packet]
    assert "codes" not in vars(packet), "it was decoded on its way"


def test_what_waits_is_passed_on_at_once_where_the_server_goes() -> None:
    passed: list[Arrived] = []
    portions = make(passed)

    async def hurried() -> None:
        task = asyncio.ensure_future(portions.publish(Arrived(Frames(CODES), None), 64))
        await asyncio.sleep(0)
        assert len(passed) < 20
        portions.hurry()
        assert np.array_equal(codes_of(passed), CODES)
        await task

    asyncio.run(hurried())
    assert len(passed) == 20
