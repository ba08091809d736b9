"""Streams that nothing is computed for: what comes goes on at once, without the model's thread."""

from __future__ import annotations

from collections.abc import Callable

from streaming.engine.pipeline import Given
from streaming.engine.streams import Deliver, Outcome
from streaming.wire.media import Media


class Relay:
    """Way of codes to who listens for them; to its owner a :class:`streaming.engine.streams.Stream`
    whose outcomes come before :meth:`submit` returns. Nothing ever waits in it.

    ``given``: the voice that outranks others. ``forget``: called when it is over.
    """

    backlog = 0.0
    """Frames that wait."""

    def __init__(
        self,
        given: Given,
        deliver: Deliver,
        forget: Callable[[Relay], None],
    ) -> None:
        self._given, self._deliver, self._forget = given, deliver, forget
        self._is_over = False

    def submit(self, item: Media, t: float | None = None) -> None:
        """Passes media on. ``t``: its capture stamp."""
        if not self._is_over:
            self._deliver(Outcome(tuple(self._given.feed(item)), t))

    def end(self) -> None:
        """No more media: delivers an ``ended`` outcome."""
        if not self._is_over:
            self.close()
            self._deliver(Outcome(tuple(self._given.finish()), ended=True))

    def close(self) -> None:
        """Forgets the stream."""
        self._is_over = True
        self._forget(self)
