"""Errors of the protocol: their codes, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping

CLOSE_CODES: Mapping[str, int] = {
    "text-frame": 1003,
    "bad-message": 1007,
    "unknown-type": 1002,
    "bad-field": 1007,
    "bad-version": 1002,
    "bad-role": 1008,
    "unexpected-message": 1002,
    "bad-size": 1007,
    "bad-seq": 1002,
    "bad-audio": 1007,
    "bad-voice": 1007,
    "no-voice": 1008,
    "unknown-voice": 1008,
    "voice-taken": 1008,
    "unknown-model": 1008,
    "model-mismatch": 1008,
    "unknown-room": 1008,
    "unknown-session": 1008,
    "room-taken": 1008,
    "too-many-rooms": 1013,
    "room-full": 1013,
    "too-long": 1008,
    "unauthorized": 1008,
    "too-many-attempts": 1013,
    "forbidden": 1008,
    "too-many-sessions": 1013,
    "too-big": 1009,
    "hello-timeout": 1008,
    "idle-timeout": 1008,
    "too-slow": 1013,
    "overloaded": 1013,
    "internal": 1011,
}
"""Every error code an ``error`` event can carry, and the WebSocket code of the close after it."""


_RETRY_AFTER = "\nRetry-After: "


def close_reason(sentence: str, retry_after: str | None) -> str:
    """The reason of a close in place of an HTTP response, with its header ``Retry-After``."""
    return sentence if retry_after is None else f"{sentence}{_RETRY_AFTER}{retry_after}"


def read_close_reason(reason: str) -> tuple[str, str | None]:
    """Inverse of :func:`close_reason`."""
    sentence, found, retry_after = reason.partition(_RETRY_AFTER)
    return sentence, retry_after if found else None


class ProtocolError(Exception):
    """A message or a session that breaks the protocol.

    ``code``: one of :data:`CLOSE_CODES`, stable, for programs. ``sentence``: for people; says
    what was expected and what came.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence

    @property
    def close_code(self) -> int:
        """The WebSocket close code that goes with this error."""
        return CLOSE_CODES[self.code]
