"""Resources that all connections of a server share: models, engine, rooms, voices, counters."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

import facodec
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from facodec.files import need_folder
from facodec.names import ANONYMOUS, is_anonymous
from facodec.profiles import profile_bytes
from facodec.streams.conversion import raised
from facodec.streams.lanes import prepare_thread
from streaming.engine.capacity import Measured, Slowness, measure
from streaming.engine.engine import Engine
from streaming.engine.pipeline import Given, MakePipeline, passes_on, plan
from streaming.engine.streams import Flow, Outcome
from streaming.server.broadcast import Broadcast
from streaming.server.known_voices import Voices, about_voices, draw_anonymous, profiles_in
from streaming.server.metrics import Metrics
from streaming.server.occupancy import SMALLEST, Occupancy
from streaming.server.pace import Pool
from streaming.server.parking import Parking
from streaming.server.recorder import Recorder, RoomRecorder
from streaming.server.rooms import Room, Rooms
from streaming.server.settings import ServerSettings
from streaming.server.tls import server_context
from streaming.wire.media import Sound
from streaming.wire.protocol import MAX_FRAMES_PER_MESSAGE, Hello, Limits, ProtocolError, Voice
from streaming.wire.tokens import read_token_file

log = logging.getLogger(__name__)

FRAMES_PER_SECOND = SAMPLE_RATE / HOP


FULL = 1.0 + 1e-9
"""Load of a machine that holds just what it was measured to hold, and the rounding of the sum."""
SAMPLE_BYTES = 4
HEARD_FRAMES = 511
"""Frames of a recording that is heard at the start: every size of the blocks it is heard in comes
once."""
SWITCH_INTERVAL = 0.0001
"""Seconds that one Python thread may keep the others waiting."""


@dataclass(frozen=True)
class Plan:
    """Plan of a session: how to build its pipeline, what share of the machine it takes, and what
    seconds its hop takes where so many streams have one together. ``given``: the stage that is all
    of the pipeline where nothing is computed."""

    make: MakePipeline
    load: Callable[[], float]
    cost: Callable[[int], float] | None = None
    given: Given | None = None


class Mailbox:
    """Calls from the model threads, made on the event loop, which wakes once for all that have
    come since. A stream is in one turn at a time, so there are never more than streams."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sets where the calls are to be made from now on."""
        self._loop = loop

    def post(self, call: Callable[[], None]) -> None:
        """Posts a call from any thread."""
        if self._loop is None:
            raise RuntimeError("start the runtime first")
        with self._lock:
            self._calls.append(call)
            first = len(self._calls) == 1
        if first:
            # The loop is closed when the server was told twice to go: nobody waits any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            deliver(call)


def deliver(call: Callable[[], None]) -> None:
    """Delivers a result; a fault in who gets it is nobody else's."""
    try:
        call()
    except Exception:
        log.exception("a result could not be delivered")


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
        self.voices = Voices(settings.voices, settings.keep_voices)
        for codec in codecs.values():
            for name in sorted(codec.voices.keys() & self.voices.names):
                log.warning("voice %r of %s hides that of %s", name, settings.voices, codec.name)
        bundled = {name for codec in codecs.values() for name in codec.voices}
        self.about_voices = about_voices(bundled - {*self.voices.names})
        self.measured: dict[str, Measured] = {}
        self.slowness = Slowness(clock(), settings.threads)
        self.engine = Engine(settings.threads, prepare_thread, clock, observe=self._observe)
        self.recorder: Recorder | None = None
        if settings.record is not None:
            self.recorder = Recorder(Path(settings.record), settings.record_rooms, clock)
        self.rooms = Rooms(
            self._make_room, settings.max_rooms, settings.max_subscribers, self._record
        )
        self.occupancy = Occupancy(
            self.places, settings.max_rooms, settings.max_listeners, settings.max_unknown
        )
        self.parking = Parking(settings.park, clock)
        self.pool = Pool(clock)
        self.metrics = Metrics()
        self.draining = False
        self.started = clock()
        self.limits = Limits(
            max_message=settings.max_message,
            max_frames=MAX_FRAMES_PER_MESSAGE,
            backlog=settings.backlog,
            idle_timeout=settings.idle_timeout,
        )
        self._mailbox = Mailbox()

    def start(self) -> None:
        """Starts the model threads; call on the event loop."""
        self._mailbox.open(asyncio.get_running_loop())
        self.engine.start()

    def new_identity(self) -> str:
        """A session id nobody can guess."""
        return secrets.token_urlsafe(9)

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
        drawn = {ANONYMOUS} if any(codec.speakers for codec in self.codecs.values()) else ()
        return sorted({*self.voices.names, *bundled, *drawn})

    def timbre_of(self, codec: Codec, hello: Hello, voice: Voice) -> np.ndarray:
        """Timbre (256,) of a model's that a client's voice means. ``hello``: of its session, which
        may say who talks. Raises ProtocolError."""
        if isinstance(voice.data, str) and is_anonymous(voice.data):
            talker = self.voices.find(hello.talker, codec.voices, codec.identity)
            timbre: np.ndarray | None = draw_anonymous(codec, voice.data, talker)
        else:
            timbre = self.voices.find(voice.data, codec.voices, codec.identity)
        if timbre is None or not voice.shift or not codec.model.follows_source:
            return voice.vector() if timbre is None else timbre
        return raised(timbre, voice.shift)

    def plan(self, hello: Hello) -> tuple[Codec, Plan]:
        """The model and the pipeline that a hello asks for. Raises ProtocolError, also when the
        machine is too busy for it: models differ in what they take."""
        codec, chosen = self._plan(hello)
        self.need_power(chosen, codec.name)
        return codec, chosen

    def need_power(self, chosen: Plan, model: str | None) -> None:
        """Raises ProtocolError where the machine is too busy for a stream of this plan."""
        load = chosen.load()
        if self.settings.max_sessions is None and load and self.engine.load + load > FULL:
            name = self.codec(model).name
            raise ProtocolError("overloaded", f"no room for one more stream of {name!r}")

    def _plan(self, hello: Hello) -> tuple[Codec, Plan]:
        codec = self.codec(hello.model)
        talker = self.voices.find(hello.talker, codec.voices, codec.identity)
        if isinstance(hello.voice, str) and is_anonymous(hello.voice):
            voice: np.ndarray | None = draw_anonymous(codec, hello.voice, talker)
        else:
            voice = self.voices.find(hello.voice, codec.voices, codec.identity)
        keep = None if hello.keep is None else self._keeper(hello, codec, hello.keep)
        make = plan(hello, codec, voice, self.settings.enroll, talker, keep)
        formats = hello.formats()
        duplex = formats == ("pcm", "pcm")
        weight = 1.0 if duplex else min(0.5, self.share_of(hello))
        given = passes_on(hello, voice)
        if given is not None:
            weight = 0.0
        # What leaves sound to its client tells nothing of how fast this machine is.
        measured = self.measured.get(codec.name) if "pcm" in formats else None

        def load() -> float:
            return weight / self.capacity(codec.name)

        @cache
        def cost(streams: int) -> float:
            return weight * measured.hop(streams) / streams if measured is not None else 0.0

        return codec, Plan(make, load, None if measured is None else cost, given)

    def _keeper(self, hello: Hello, codec: Codec, name: str) -> Callable[[np.ndarray], None]:
        """Returns what keeps the voice that a hello enrols. Raises ProtocolError where it cannot
        be kept, before anybody has spoken for it."""
        if hello.role != "enroll":
            raise ProtocolError("bad-field", f"keep: expected role 'enroll', got {hello.role!r}")
        self.voices.need_place(name, codec.voices)
        return partial(self.voices.keep, name, codec.voices)

    def voice_file(self, name: str) -> bytes:
        """A voice of the first model as a file has it, for who converts by himself: by its name,
        or drawn anew where that is :data:`~facodec.names.ANONYMOUS`. Raises ProtocolError."""
        codec = self.codec(None)
        if is_anonymous(name):
            return profile_bytes(draw_anonymous(codec, name, None))
        return self.voices.profile(name, codec.voices, codec.identity)

    def open_stream(self, chosen: Plan, take: Callable[[Outcome], None]) -> Flow:
        """A stream whose outcomes come to ``take`` on the event loop."""
        if chosen.given is not None:
            return self.engine.relay(chosen.given, lambda outcome: deliver(partial(take, outcome)))

        def hand_over(outcome: Outcome) -> None:
            if not stream.abandoned:
                take(outcome)

        def from_thread(outcome: Outcome) -> None:
            self._mailbox.post(partial(hand_over, outcome))

        stream = self.engine.open(chosen.make, from_thread, chosen.load, chosen.cost)
        return stream

    def capacity(self, name: str | None = None) -> int:
        """Duplex streams of a model, by default the first, that this machine was measured to
        hold, as fast as it is now; one before :meth:`warm_up`."""
        measured = self.measured.get(self.codec(name).name)
        if measured is None:
            return 1
        return _streams(measured, self.settings.threads, self.slowness.value)

    def share_of(self, hello: Hello) -> float:
        """Share of a session's place that a session takes; all of it where the number of sessions
        was set."""
        is_light = hello.formats() == ("codes", "codes") and self.settings.max_sessions is None
        return SMALLEST if is_light else 1.0

    def places(self) -> int:
        """Sessions that compute, at once: as set, or as measured."""
        return self.settings.max_sessions or self.capacity()

    def memory(self) -> dict[str, int]:
        """Bytes: of the states of one stream of the default model, the most that its queues may
        hold, what is allocated for states now."""
        measured = self.measured.get(self.codec(None).name)
        queued = (self.settings.backlog + self.settings.outbox) * SAMPLE_RATE * SAMPLE_BYTES
        return {
            "state_bytes_per_stream": 0 if measured is None else measured.state_bytes,
            "queue_bytes_per_stream_most": int(queued) + self.settings.max_message,
            "state_bytes_allocated": sum(codec.lanes.bytes for codec in self.codecs.values()),
        }

    def warm_up(self) -> None:
        """Measures each model and runs it once, in this thread: the first steps of a process are
        slow, and should be no client's."""
        prepare_thread()
        for name, codec in self.codecs.items():
            self.measured[name] = measure(codec)
            codec.coder  # noqa: B018 - its tables take a while to prepare
            hello = Hello("loopback", model=name)
            pipeline = self._plan(hello)[1].make()
            pipeline.push(Sound(np.zeros(SAMPLE_RATE // 4, np.float32)))
            pipeline.flush()
            with contextlib.suppress(ValueError):  # no speech in it
                codec.voice(np.zeros(HEARD_FRAMES * HOP, np.float32))

    def _observe(self, expected: float, taken: float) -> None:
        """A tick was computed, in a model thread."""
        if self.slowness.add(expected, taken, self.clock()):
            self._mailbox.post(self._tell_capacity)

    def _tell_capacity(self) -> None:
        log.info(
            "steps take %.2f times what they took at the start: room for %d streams of %r",
            self.slowness.value,
            self.capacity(),
            self.codec(None).name,
        )

    def _make_room(self) -> Room:
        backlog = self.settings.backlog * FRAMES_PER_SECOND
        return Room(self._start_decoder, backlog, self.clock)

    def _record(self, room: str) -> RoomRecorder | None:
        return None if self.recorder is None else self.recorder.listener(room)

    def _start_decoder(self, broadcast: Broadcast, take: Callable[[Outcome], None]) -> Flow:
        return self.open_stream(self.plan(Hello("decode", model=broadcast.model.name))[1], take)


@lru_cache
def _streams(measured: Measured, threads: int, slowness: float) -> int:
    return measured.streams(threads, slowness)


def prepare_process(threads: int) -> None:
    """Settings of a server's process. Every model thread computes alone, so more of them than
    cores would only take turns; and the event loop, which has little to do at a time, should not
    wait for a busy model thread as long as Python lets it by default."""
    cores = os.cpu_count() or 1
    if threads > cores:
        log.warning("%d model threads on %d cores only take turns", threads, cores)
    prepare_thread()
    sys.setswitchinterval(SWITCH_INTERVAL)


def check_files(settings: ServerSettings) -> None:
    """Sees that what the settings name can be read and written, before models are loaded, which
    takes a while. Raises ValueError or OSError."""
    if settings.token_file is not None and not Path(settings.token_file).is_fifo():
        read_token_file(settings.token_file)
    if settings.tls_cert is not None:
        server_context(settings)
    if settings.voices is not None:
        profiles_in(settings.voices)
    if settings.record is not None:
        need_folder(Path(settings.record))


def load_codecs(settings: ServerSettings) -> dict[str, Codec]:
    """The models by the names clients use. Raises ValueError or OSError."""
    codecs: dict[str, Codec] = {}
    for source in settings.models:
        codec = facodec.load(source, device=settings.device, backend=settings.backend)
        if codec.name in codecs:
            raise ValueError(
                f"expected models of different names, got {codecs[codec.name].identity} and "
                f"{codec.identity}: clients choose by name, so serve one of them"
            )
        codecs[codec.name] = codec
        log.info("loaded model %s from %s, backend %s", codec.identity, source, codec.steps.backend)
    return codecs
