"""Messages of a session that the other end may not have, kept for when its connection comes back.

Both ends count those that matter (:data:`COUNTED`) and say on a return how many they have; what
follows these is sent again. Of live media only the newest is: what is left out counts nothing, so
that the numbers go on from what the other end has.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from streaming.wire import binary
from streaming.wire.protocol import (
    Audio,
    Codes,
    Done,
    End,
    Hello,
    Noise,
    ProtocolError,
    Replay,
    Voice,
)

COUNTED = (Audio, Codes, Voice, Noise, End, Done)
"""Messages that count, both ways. The others are of one connection."""
NEWEST = 40
"""Frames of live media that are sent again: half a second. A message without any counts as one."""
MOST_BYTES = 2 << 20
"""Bytes of messages without an acknowledgement above which a session cannot come back: half a
minute of sound in float32."""


def replay_of(hello: Hello) -> Replay | None:
    """Returns what of a session is sent again; a room waits for nobody: of it only the newest."""
    return "newest" if hello.replay and hello.role == "subscribe" else hello.replay


def lasting(hello: Hello) -> Hello:
    """Returns the hello without what differs from one connection of a session to the next."""
    return replace(hello, token=None, resume=None, received=None)


class SentMessages:
    """The server's messages of one session. ``replay``: what of them is sent again; of ``all``,
    those are kept that the client has not acknowledged."""

    def __init__(self, replay: Replay, most_bytes: int = MOST_BYTES) -> None:
        self._newest = replay == "newest"
        self._most_bytes = most_bytes
        self._kept: deque[tuple[bytes, int]] = deque()
        self._first = 0
        self._frames = 0
        self._voice: tuple[int, bytes] | None = None
        self.bytes = 0
        """Bytes that are kept."""
        self.is_whole = True
        """Whether all that is to be sent again is kept; if not, the session cannot come back."""

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return self._first + len(self._kept)

    def add(self, data: bytes, frames: int) -> None:
        """A message is sent."""
        self._kept.append((data, frames))
        self._frames += max(frames, 1)
        self.bytes += len(data)
        if self._newest:
            while self._frames - max(self._kept[0][1], 1) >= NEWEST:
                self._leave_out()
        elif self.bytes > self._most_bytes:
            self.is_whole = False
        if not self.is_whole:
            self._clear()

    def acknowledge(self, count: int) -> None:
        """The client has so many. Raises ProtocolError for more than were sent."""
        self._check(count)
        while self._first < count and self._kept:
            self._drop()

    def replay(self, count: int) -> list[tuple[bytes, int]]:
        """Messages, and the frames in each, for a client that has ``count``. Raises ProtocolError
        for a number that cannot be."""
        self._check(count)
        if count < self._first and not self._newest:
            raise ProtocolError(
                "bad-field", f"expected received of {self._first} or more, got {count}"
            )
        self.acknowledge(count)
        voice, self._voice = self._voice, None
        if voice is not None and voice[0] >= count:
            self._kept.appendleft((voice[1], 0))
            self._frames += 1
            self.bytes += len(voice[1])
        self._first = count
        return list(self._kept)

    def _check(self, count: int) -> None:
        if count > self.sent:
            raise ProtocolError(
                "bad-field", f"expected received of {self.sent} or less, got {count}"
            )

    def _leave_out(self) -> None:
        """Drops the oldest, unless the client lacks it for all that follows: a voice."""
        number = self._first
        data, frames = self._drop()
        if not frames and data[0] != binary.NOISE:
            self._voice = number, data

    def _drop(self) -> tuple[bytes, int]:
        data, frames = self._kept.popleft()
        self._first += 1
        self._frames -= max(frames, 1)
        self.bytes -= len(data)
        return data, frames

    def _clear(self) -> None:
        self._first = self.sent
        self._kept.clear()
        self._frames = self.bytes = 0
