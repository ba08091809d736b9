"""Logging of a server: one line a record, as text or JSON, and never so many as to fill a disk."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streaming.server.output import Output

LEVELS = ("debug", "info", "warning", "error")
PACKAGES = ("streaming", "facodec", "clients")
"""Loggers that the level is for; those of libraries are heard from ``warning`` on."""
BURST = 50
"""Lines of one kind that may come at once."""
EVERY = 1.0
"""Seconds for each further line of that kind."""
REMIND = 10.0
"""Seconds after which lines that were left out are counted, even if no other has come."""
MOST_KINDS = 256
PLAIN = re.compile(r"[A-Za-z0-9_.:/%+@-]+")


@dataclass
class _Kind:
    level: int
    allowance: float
    updated: float
    left_out: int = 0


class Throttle:
    """Bounds how many lines of each kind are written: a token bucket for each. Sans-I/O; times in
    monotonic seconds. At most :data:`MOST_KINDS` kinds are told apart."""

    def __init__(self) -> None:
        self._kinds: dict[str, _Kind] = {}

    def admit(self, kind: str, level: int, now: float) -> int | None:
        """Number of the kind that were left out since the last one; None to leave this one out."""
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = "other"
        found = self._kinds.setdefault(kind, _Kind(level, BURST, now))
        found.allowance = min(BURST, found.allowance + (now - found.updated) / EVERY)
        found.updated = now
        if found.allowance < 1.0:
            found.left_out += 1
            return None
        found.allowance -= 1.0
        left_out, found.left_out = found.left_out, 0
        return left_out

    def overdue(self, now: float) -> list[tuple[str, int, int]]:
        """(kind, level, number left out) of those that nothing has been written of for long."""
        due = []
        for name, kind in self._kinds.items():
            if kind.left_out and now - kind.updated >= REMIND:
                due.append((name, kind.level, kind.left_out))
                kind.left_out = 0
        return due


class LineHandler(logging.Handler):
    """Hands records to an :class:`Output`. ``as_json``: one JSON object a line.

    A record's ``fields`` (set with ``extra``) are written out one by one; ``kind`` tells apart
    records of one template that should be bounded apart."""

    def __init__(self, output: Output, as_json: bool) -> None:
        super().__init__()
        self._output = output
        self._as_json = as_json
        self._throttle = Throttle()
        output.every_tick(self._remind)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the record, or counts it as left out."""
        kind = f"{record.msg} {getattr(record, 'kind', '')}".strip()
        left_out = self._throttle.admit(kind, record.levelno, time.monotonic())
        if left_out is None:
            return
        fields = dict(getattr(record, "fields", {}))
        if left_out:
            fields["and_more_before"] = left_out
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._write(record.created, record.levelname, record.name, message, fields)

    def handleError(self, record: logging.LogRecord) -> None:
        """Does nothing: a line that cannot be written is no reason to write others."""

    def _remind(self) -> None:
        self.acquire()
        due = self._throttle.overdue(time.monotonic())
        self.release()
        for kind, level, count in due:
            name = logging.getLevelName(level)
            self._write(time.time(), name, __name__, kind, {"and_more": count})

    def _write(
        self, when: float, level: str, logger: str, message: str, fields: Mapping[str, Any]
    ) -> None:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when))
        stamp = f"{seconds}.{int(when % 1 * 1000):03d}Z"
        if self._as_json:
            named = {"time": stamp, "level": level.lower(), "logger": logger, "message": message}
            self._output.complain(json.dumps({**named, **fields}, default=str))
            return
        words = [stamp, level, escape(message)]
        words += [f"{key}={quote(value)}" for key, value in fields.items() if key != "traceback"]
        # Its lines are indented, so that none can pass for a record.
        trace = [f"    {escape(line)}" for line in str(fields.get("traceback", "")).splitlines()]
        self._output.complain("\n".join([" ".join(words), *trace]))


def configure(output: Output, level: str, as_json: bool) -> None:
    """Sends all logging of this process to the output, from this level on."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(LineHandler(output, as_json))
    root.setLevel(logging.WARNING)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level.upper())
    logging.captureWarnings(True)


def escape(text: str) -> str:
    """Text without characters that could end a line or steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(value: Any) -> str:
    """A value of a field as one word."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text)
