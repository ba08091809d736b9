"""What all connections of a server share: models, engine, rooms, voices, counters."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
from collections.abc import Callable

import numpy as np

import facodec
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from streaming.engine import Engine, Outcome, Stream
from streaming.media import Sound
from streaming.metrics import Metrics
from streaming.pipeline import MakePipeline, plan, prepare_thread
from streaming.protocol import MAX_FRAMES_PER_MESSAGE, Hello, Limits, ProtocolError
from streaming.rooms import Broadcast, Room, Rooms
from streaming.settings import ServerSettings
from streaming.voices import Voices

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = SAMPLE_RATE / HOP


class Runtime:
    """Shared by all peers of one server; used on the event loop.

    ``codecs``: the models by name, the first is the default. ``clock``: monotonic seconds, also
    what ``clock`` messages are answered with.
    """

    def __init__(
        self,
        settings: ServerSettings,
        codecs: dict[str, Codec],
        clock: Callable[[], float],
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.codecs = codecs
        self.voices = Voices(settings.voices)
        self.engine = Engine(settings.threads, prepare_thread, clock)
        self.rooms = Rooms(self._make_room, settings.max_rooms, settings.max_subscribers)
        self.metrics = Metrics()
        self.draining = False
        self.started = clock()
        self.limits = Limits(
            max_message=settings.max_message,
            max_frames=MAX_FRAMES_PER_MESSAGE,
            backlog=settings.backlog,
            idle_timeout=settings.idle_timeout,
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Starts the model threads; call on the event loop."""
        self._loop = asyncio.get_running_loop()
        self.engine.start()

    def new_identity(self) -> str:
        """A session id nobody can guess."""
        return secrets.token_urlsafe(9)

    def admits(self, token: str | None) -> bool:
        """Whether the token opens this server; every token does where none is asked for."""
        tokens = self.settings.tokens
        given = (token or "").encode()
        return not tokens or any(hmac.compare_digest(given, known.encode()) for known in tokens)

    def codec(self, name: str | None) -> Codec:
        """The model of that name, by default the first. Raises ProtocolError."""
        if name is None:
            return next(iter(self.codecs.values()))
        if name not in self.codecs:
            known = ", ".join(self.codecs)
            raise ProtocolError("unknown-model", f"no model {name!r} here, known: {known}")
        return self.codecs[name]

    @property
    def voice_names(self) -> list[str]:
        """Voices that a hello may name, for one model at least."""
        bundled = (name for codec in self.codecs.values() for name in codec.voices)
        return sorted({*self.voices.names, *bundled})

    def plan(self, hello: Hello) -> tuple[Codec, MakePipeline]:
        """The model and the pipeline that a hello asks for. Raises ProtocolError."""
        codec = self.codec(hello.model)
        voice = self.voices.find(hello.voice, codec.voices)
        return codec, plan(hello, codec, voice, self.settings.enroll)

    def open_stream(self, make: MakePipeline, deliver: Callable[[Outcome], None]) -> Stream:
        """A stream in the engine whose outcomes come to ``deliver`` on the event loop."""

        def hand_over(outcome: Outcome) -> None:
            if not stream.abandoned:
                deliver(outcome)

        def from_thread(outcome: Outcome) -> None:
            # The loop is closed when the server was told twice to go: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._running_loop().call_soon_threadsafe(hand_over, outcome)

        stream = self.engine.open(make, from_thread)
        return stream

    def warm_up(self) -> None:
        """Runs each model once, in this thread: the first steps of a process are slow, and should
        be no client's."""
        prepare_thread()
        for name in self.codecs:
            hello = Hello("loopback", model=name)
            pipeline = self.plan(hello)[1]()
            pipeline.push(Sound(np.zeros(SAMPLE_RATE // 4, np.float32)))
            pipeline.flush()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("start the runtime first")
        return self._loop

    def _make_room(self) -> Room:
        backlog = self.settings.backlog * FRAMES_PER_SECOND
        return Room(self._start_decoder, backlog, self.clock)

    def _start_decoder(self, broadcast: Broadcast, deliver: Callable[[Outcome], None]) -> Stream:
        hello = Hello("decode", model=broadcast.model)
        return self.open_stream(self.plan(hello)[1], deliver)


def load_codecs(settings: ServerSettings) -> dict[str, Codec]:
    """The models by the names clients use. Raises ValueError or OSError."""
    codecs: dict[str, Codec] = {}
    for source in settings.models:
        codec = facodec.load(source, device=settings.device)
        codecs[codec.name] = codec
        log.info("loaded model %s from %s", codec.name, source)
    return codecs
