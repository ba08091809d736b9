"""Losses of sessions whose connections were lost, and work that is told to stop."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from clients.library.packets import CodesPacket, LostPacket, Times
from clients.session.losses import Losses
from clients.session.stopping import until_stopped
from clients.session.uplink import LinkCounters


class Session:
    is_away = publisher_is_away = False
    returns = frames_dropped = frames_skipped = frames_lost = frames_repaired = 0


def packet(frames: int, layers: int | None = None, *, repaired: bool = False) -> CodesPacket:
    codes = np.zeros((6, frames), np.int64)
    return CodesPacket(0, codes, Times(0.0), repaired=repaired, layers=layers)


def test_losses_are_counted_once_over_all_sessions() -> None:
    counters = LinkCounters()
    for _ in range(2):
        session = Session()
        losses = Losses(session, counters)
        session.returns, session.frames_dropped, session.frames_skipped = 1, 3, 5
        session.frames_lost, session.frames_repaired = 6, 4
        losses.count_up()
        assert [losses.count_down(packet(4)) for _ in range(2)] == [5, 0]
        losses.count_down(LostPacket(0, 5))
        losses.count_down(packet(4, 3, repaired=True))
        losses.count_down(packet(2, 3))
        session.frames_dropped = 4
        losses.count_up()
    assert counters == LinkCounters(
        dropped=8, skipped=10, returns=2, lost=12, repaired=8, concealed=10, reduced_in=4
    )


def test_the_user_is_told_that_no_detail_comes() -> None:
    losses = Losses(Session(), LinkCounters())
    losses.count_down(packet(2, 3, repaired=True))
    assert losses.trouble == ""
    losses.count_down(packet(2, 3))
    assert losses.trouble == "link too slow: no detail comes"
    losses.count_down(packet(2))
    assert losses.trouble == ""


def test_the_user_is_told_what_is_away() -> None:
    session = Session()
    losses = Losses(session, LinkCounters())
    assert losses.trouble == ""
    session.publisher_is_away = True
    assert losses.trouble == "publisher away"
    session.is_away = True
    assert losses.trouble == "connection lost, coming back"


@pytest.mark.parametrize(
    ("patience", "done"), [([], True), ([0.001], False), ([0.001, 0.001, 0.001], False)]
)
def test_work_is_given_up_when_there_is_no_more_patience(patience: list[float], done: bool) -> None:
    asked = list(patience)

    async def work() -> bool:
        stop = asyncio.Event()
        stop.set()
        return await until_stopped(asyncio.sleep(60), stop, lambda: asked.pop(0) if asked else 0.0)

    assert asyncio.run(work()) is done
    assert not asked


def test_work_that_goes_on_is_waited_for() -> None:
    async def work() -> bool:
        stop, over = asyncio.Event(), asyncio.Event()
        stop.set()
        asked = 0

        def patience() -> float:
            nonlocal asked
            asked += 1
            if asked == 5:
                over.set()
            return 0.001 if asked < 5 else 60.0

        async def until_over() -> None:
            await over.wait()

        return await until_stopped(until_over(), stop, patience)

    assert asyncio.run(work())
