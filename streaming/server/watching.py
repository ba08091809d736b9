"""Accounts of the sessions that are open, for who runs the server."""

from __future__ import annotations

from typing import Any

from streaming.engine.streams import Outcome
from streaming.server.journal import SessionJournal
from streaming.server.metrics import Durations, Metrics
from streaming.server.outbox import Outbox
from streaming.wire.session import ServerSession

RECENT = 256
"""Turns of the model whose durations are kept for a session."""


class SessionAccount:
    """Account of one session: how long its input takes to become output, and how often it was held
    back. All of it goes into the server's ``metrics`` too."""

    def __init__(
        self, session: ServerSession, journal: SessionJournal, outbox: Outbox, metrics: Metrics
    ) -> None:
        self._session = session
        self._journal = journal
        self._outbox = outbox
        self._metrics = metrics
        self._lag = Durations(RECENT)
        self._paused = 0
        self.parked = False
        """Whether its connection was lost, and may come back."""
        self._left_out = 0

    def add(self, outcome: Outcome) -> None:
        """A turn of its stream is done."""
        computed = outcome.encode + outcome.decode
        self._session.totals.add(outcome.queue_max, outcome.encode, outcome.decode)
        self._metrics.queue.add(outcome.queue_max)
        self._metrics.compute.add(computed)
        self._lag.add(outcome.queue_max + computed)

    def pause(self) -> None:
        """Its socket is not read any more for a while, as it has enough queued."""
        self._paused += 1
        self._metrics.paused += 1

    def leave_out(self, frames: int) -> None:
        """Counts frames that were not sent, as its link did not take those before in time."""
        self._left_out += frames
        self._metrics.left_out += frames

    def to_json(self) -> dict[str, Any] | None:
        """A JSON value, durations of the lag in ms; None before the session was admitted."""
        who = self._journal.admitted
        if who is None:
            return None
        session, totals = self._session, self._session.totals
        return {
            **who,
            "waits": not session.is_open,
            "parked": self.parked,
            "frames_in": totals.frames_in,
            "frames_out": session.frames_out,
            "bytes_in": totals.bytes_in,
            "bytes_out": totals.bytes_out,
            "lag_ms": self._lag.percentiles(),
            "unsent_frames": self._outbox.frames,
            "paused": self._paused,
            "left_out": self._left_out,
        }
