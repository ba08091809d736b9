"""Sessions of a server and where their time goes, from what it answers at ``/sessions``: rows for
tables, with rates between two looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from facodec.config import HOP, SAMPLE_RATE
from facodec.reasons import shown

COLUMNS = (
    "id", "role", "room", "address", "age", "frames", "lag p50/p99 ms", "kbit/s in/out",
    "unsent ms", "held back",
)  # fmt: skip
"""Columns: those from ``age`` on are numbers. ``frames``: in and out; ``lag``: from a frame's
arrival until its result; ``kbit/s``: payload of WebSocket; ``unsent``: output that the client has
not taken; ``held back``: times that its socket was not read, as it had enough queued."""
FIRST_NUMBER = COLUMNS.index("age")
MEANING = (
    "lag: from arrival to result; in, out: as the server sees it, WebSocket payload; "
    "unsent: not taken yet; held back: times not read"
)


@dataclass(frozen=True)
class Look:
    """Sessions at one moment. ``server``: what it tells of itself; ``sessions``: those that are
    open, each with ``in_kbps`` and ``out_kbps``; all as JSON values."""

    server: dict[str, Any]
    sessions: list[dict[str, Any]]

    def rows(self) -> list[list[str]]:
        """A row of words for each session, the oldest first."""
        return [_row(session) for session in self.sessions]

    def heading(self) -> list[str]:
        """Lines on the server as a whole."""
        server = self.server
        metrics = server.get("metrics")
        ledger = metrics if isinstance(metrics, dict) else {}
        return [
            f"{_text(server, 'status')}, up {_age(_number(server, 'uptime_s'))}: "
            f"{_number(server, 'sessions'):.0f} of {_number(server, 'capacity'):.0f} sessions, "
            f"{_number(server, 'publishers'):.0f} publishers of codes, "
            f"{_number(server, 'listeners'):.0f} listeners, "
            f"{_number(server, 'rooms'):.0f} rooms, load {_number(server, 'load'):.0%}, "
            f"{_number(server, 'backlog_frames'):.0f} frames wait for the model",
            "ledger ms p50/p95/p99: "
            f"queue {_quantiles(ledger.get('queue_ms'), 50, 95, 99)}, "
            f"computing {_quantiles(ledger.get('compute_ms'), 50, 95, 99)}; "
            f"steps take {_number(server, 'slowness'):.2f} times what they took at the start",
        ]

    def as_dict(self) -> dict[str, Any]:
        """A JSON value."""
        return {"server": self.server, "sessions": self.sessions}

    def table(self) -> str:
        """The whole as plain text."""
        rows = [list(COLUMNS), *self.rows()]
        widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
        lines = [
            "  ".join(
                word.rjust(width) if at >= FIRST_NUMBER else word.ljust(width)
                for at, (word, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*self.heading(), "", *lines])


class Watch:
    """Turns answers into looks; a rate is that since the last look, at first that since the session
    began."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float, float]] = {}

    def look(self, told: dict[str, Any]) -> Look:
        """Takes what the server answered. Raises ValueError where that is something else."""
        server, sessions = told.get("server"), told.get("sessions")
        if not isinstance(server, dict) or not isinstance(sessions, list):
            raise ValueError("expected a server and its sessions, got something else")
        now: dict[str, tuple[float, float, float]] = {}
        rated = []
        for session in sessions:
            if not isinstance(session, dict):
                raise ValueError("expected sessions as maps, got something else")
            name = _text(session, "id")
            counts = tuple(_number(session, key) for key in ("seconds", "bytes_in", "bytes_out"))
            seconds, came, went = now[name] = (counts[0], counts[1], counts[2])
            before = self._last.get(name, (0.0, 0.0, 0.0))
            kilobits = 8e-3 / max(seconds - before[0], 1e-3)
            rates = {
                "in_kbps": round((came - before[1]) * kilobits, 2),
                "out_kbps": round((went - before[2]) * kilobits, 2),
            }
            rated.append({**session, **rates})
        self._last = now
        return Look(server, rated)


def _row(session: dict[str, Any]) -> list[str]:
    unsent = _number(session, "unsent_frames") * HOP / SAMPLE_RATE * 1000
    return [
        _text(session, "id"),
        _text(session, "role") + (" (waits)" if session.get("waits") is True else ""),
        _text(session, "room"),
        _text(session, "address"),
        _age(_number(session, "seconds")),
        f"{_number(session, 'frames_in'):.0f}/{_number(session, 'frames_out'):.0f}",
        _quantiles(session.get("lag_ms"), 50, 99),
        f"{_number(session, 'in_kbps'):.1f}/{_number(session, 'out_kbps'):.1f}",
        f"{unsent:.0f}",
        f"{_number(session, 'paused'):.0f}",
    ]


def _number(fields: dict[str, Any], name: str) -> float:
    value = fields.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _text(fields: dict[str, Any], name: str) -> str:
    return shown(fields.get(name) or "-")


def _quantiles(durations: object, *wanted: int) -> str:
    """Durations in ms, "-" where there are none."""
    if not isinstance(durations, dict) or not durations:
        return "-"
    return "/".join(f"{_number(durations, f'p{each}'):.1f}" for each in wanted)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
