"""Messages that go in packets of which some are lost, on their way."""

from __future__ import annotations

from collections import deque


class Underway:
    """Whole messages over a path, as whoever watches the path counts them: one is done with when a
    packet is acknowledged that went out with it or later. Probes, and bytes that are sent again,
    are no messages: while nothing comes through nothing changes here.

    ``overhead``: bytes that count for each message beside its own.
    """

    def __init__(self, overhead: int) -> None:
        self._overhead = overhead
        self._datagrams: deque[int] = deque()
        self._on_stream: deque[tuple[int, int]] = deque()
        self._sent: deque[tuple[int, int]] = deque()

    def add_datagram(self, size: int) -> None:
        """A message waits that is to go in a datagram."""
        self._datagrams.append(size + self._overhead)

    def add_to_stream(self, size: int, end: int) -> None:
        """A message waits that ends at an offset of the stream."""
        self._on_stream.append((size + self._overhead, end))

    def drop_oldest(self) -> None:
        """The datagram that has waited longest is not sent any more."""
        self._datagrams.popleft()

    def note_sent(self, datagrams: int, offset: int, packet: int) -> None:
        """Packets up to this number have gone out; so many datagrams wait still, and the stream
        from this offset on."""
        gone = [self._datagrams.popleft() for _ in range(len(self._datagrams) - datagrams)]
        while self._on_stream and self._on_stream[0][1] <= offset:
            gone.append(self._on_stream.popleft()[0])
        if gone:
            self._sent.append((packet, sum(gone)))

    def unacknowledged(self, newest: int) -> int:
        """Bytes of messages that wait, or went out after the packet ``newest``, which is the last
        that the other end has acknowledged."""
        while self._sent and self._sent[0][0] <= newest:
            self._sent.popleft()
        waiting = sum(self._datagrams) + sum(size for size, _ in self._on_stream)
        return waiting + sum(size for _, size in self._sent)
