"""A client's messages that the server may not have, for when its connection comes back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from facodec.config import HOP
from streaming.wire.protocol import Audio, Codes, End, Noise, PcmFormat, Voice
from streaming.wire.replay import NEWEST

Message: TypeAlias = Audio | Codes | Voice | Noise | End
SAMPLE_BYTES = {"f32": 4, "s16": 2}


@dataclass(frozen=True)
class _Sent:
    """A message, and by how much the stream goes on with it: samples of sound, frames of codes."""

    message: Message
    advance: int


class Unacknowledged:
    """Messages of one session, the oldest first, until the server is known to have them: it
    answers questions in order. ``pcm``: format of the samples."""

    def __init__(self, pcm: PcmFormat) -> None:
        self._width = SAMPLE_BYTES[pcm]
        self._items: deque[_Sent] = deque()
        self._asked: deque[tuple[float, int]] = deque()
        self._first = self._start = self._end = 0
        """Number of the first message, and places in the stream before it and after the last."""

    def __len__(self) -> int:
        return len(self._items)

    def add(self, message: Message) -> None:
        """A message is sent."""
        advance = 0
        if isinstance(message, Audio):
            advance = len(message.data) // self._width
        elif isinstance(message, Codes):
            advance = message.seq + message.n - self._end
        elif isinstance(message, Noise):
            advance = message.seq - self._end
        self._items.append(_Sent(message, advance))
        self._end += advance

    def ask(self, asked: float) -> None:
        """A question is sent."""
        self._asked.append((asked, self._first + len(self._items)))

    def answer(self, asked: float) -> None:
        """The server has answered the question, and so has all that was sent before it."""
        if not any(each == asked for each, _ in self._asked):
            return
        each = None
        while each != asked:
            each, count = self._asked.popleft()
        while self._first < count:
            self._take()

    def come_back(self, received: int, *, newest: bool) -> tuple[list[Message], int]:
        """The messages that are to be sent again to a server that has ``received``, and by how
        much less the stream goes on, as only the ``newest`` media are. Raises ValueError for a
        number that cannot be."""
        sent = self._first + len(self._items)
        if not self._first <= received <= sent:
            raise ValueError(f"expected received of {self._first} to {sent}, got {received}")
        while self._first < received:
            self._take()
        self._asked.clear()
        dropped = self._leave_out() if newest else 0
        self._end -= dropped
        messages = list(self._numbered())
        self._items = deque(
            _Sent(message, item.advance)
            for message, item in zip(messages, self._items, strict=True)
        )
        return messages, dropped

    def _take(self) -> None:
        self._first += 1
        self._start += self._items.popleft().advance

    def _leave_out(self) -> int:
        """Drops the oldest media beyond the newest; returns by how much the stream got shorter."""
        most, dropped = NEWEST, 0
        if any(isinstance(item.message, Audio) for item in self._items):
            most *= HOP
        left = sum(item.advance for item in self._items)
        kept: deque[_Sent] = deque()
        for item in self._items:
            if item.advance and left > most:
                left -= item.advance
                dropped += item.advance
            else:
                kept.append(item)
        self._items = kept
        return dropped

    def _numbered(self) -> Iterator[Message]:
        """The messages with the numbers that they have in the stream now."""
        place = self._start
        for item in self._items:
            message, place = item.message, place + item.advance
            if isinstance(message, Audio):
                yield replace(message, seq=(place - item.advance) // HOP)
            elif isinstance(message, Codes):
                yield replace(message, seq=place - message.n)
            elif isinstance(message, Noise):
                yield replace(message, seq=place)
            else:
                yield message
