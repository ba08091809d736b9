"""Pipelines of the roles: media in, media out. Runs in a model thread.

A pipeline is a chain of stages; each stage is one small class with :meth:`Stage.feed` and
:meth:`Stage.finish`. Results depend on the stream alone, not on how it was cut into packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from facodec.arrays import check_timbre
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from facodec.names import is_anonymous
from facodec.streams.batching import Aside, Stopwatch, Work, run_alone
from facodec.streams.converter import Conversion, Converted, ConverterLine
from facodec.streams.lines import NEUTRAL, DecoderLine
from facodec.streams.talkers import Heard, Spoken, TalkerLine
from streaming.engine.converting import Announcing
from streaming.wire.media import Frames, Media, Sound, Talker, Timbre
from streaming.wire.protocol import Format, Hello, ProtocolError


@dataclass
class Result:
    """Output of a pipeline for some input, and the seconds it took by kind of stage: those of the
    steps it had a part in, shared with other streams or not."""

    media: list[Media] = field(default_factory=list)
    encode: float = 0.0
    decode: float = 0.0
    talker: Talker | None = None
    """Talker that was heard, with the last result of a stream."""

    def add(self, other: Result) -> None:
        self.media.extend(other.media)
        self.encode += other.encode
        self.decode += other.decode


class Stage(Protocol):
    """One step of a pipeline. ``decodes``: whose account its time goes to.

    What needs the model gives work that yields requests for it; the rest gives media at once.
    """

    decodes: bool

    def feed(self, item: Media) -> list[Media] | Work[list[Media]]:
        """Takes an item and returns what comes out because of it."""

    def finish(self) -> list[Media] | Work[list[Media]]:
        """Returns what is still owed at the end of the stream."""


class Pipeline:
    """A chain of stages, each fed with what the one before it gives."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)

    def push(self, item: Media) -> Result:
        """Runs the work alone."""
        return run_alone(self.work([item]))

    def flush(self) -> Result:
        """Runs the last work alone."""
        return run_alone(self.work([], flush=True))

    def work(self, media: list[Media], flush: bool = False) -> Work[Result]:
        """The work that media make; ``flush``: nothing follows."""
        result = Result()
        for stage in self._stages:
            watch = Stopwatch()
            out: list[Media] = []
            for item in media:
                given = stage.feed(item)
                # What needs no model is spared a generator: this runs for every hop of a stream.
                out += given if isinstance(given, list) else (yield from watch.time(given))
            if flush:
                given = stage.finish()
                out += given if isinstance(given, list) else (yield from watch.time(given))
            if stage.decodes:
                result.decode += watch.total
            else:
                result.encode += watch.total
            media = out
        result.media = media
        if flush:
            result.talker = talker_of(self._stages)
        return result


@runtime_checkable
class HearingStage(Protocol):
    """A stage of a pipeline that hears who is talking."""

    heard: Heard


def talker_of(stages: Iterable[object]) -> Talker | None:
    """Talker whom the first of the stages that listens has heard."""
    listening = (stage.heard.talker for stage in stages if isinstance(stage, HearingStage))
    found = next(listening, None)
    return None if found is None else Talker(*found)


MakePipeline: TypeAlias = Callable[[], Pipeline]


class Encode:
    """Sound -> frames of ``layers`` codes, and an estimate of the talker's timbre before the first
    of them and wherever it has moved: at first that of ``talker`` (256,), where he is known. A
    timbre fed in passes through."""

    decodes = False

    def __init__(self, codec: Codec, layers: int, talker: np.ndarray | None = None) -> None:
        self._line = TalkerLine(codec.lanes, talker)
        self.heard = self._line.heard
        self._layers = layers

    def feed(self, item: Media) -> list[Media] | Work[list[Media]]:
        if isinstance(item, Timbre):
            return [item]
        if not isinstance(item, Sound):
            raise TypeError(f"expected sound, got {type(item).__name__}")
        return self._media(self._line.push(item.samples))

    def finish(self) -> Work[list[Media]]:
        return self._media(self._line.flush())

    def _media(self, work: Work[list[Spoken]]) -> Work[list[Media]]:
        out: list[Media] = []
        for spoken in (yield from work):
            if spoken.timbre is not None:
                out.append(Timbre(spoken.timbre, exact=False))
            out.append(Frames(spoken.codes[: self._layers]))
        return out


class Given:
    """Lets a voice given by somebody outrank every estimate.

    ``voice`` goes before everything else; from there on, or from the first exact timbre that
    comes by, estimates are dropped."""

    decodes = False

    def __init__(self, voice: np.ndarray | None) -> None:
        self._to_announce = voice
        self._given = voice is not None

    def feed(self, item: Media) -> list[Media]:
        announced = self._announce()
        if isinstance(item, Timbre):
            self._given = self._given or item.exact
            return announced if self._given and not item.exact else [*announced, item]
        return [*announced, item]

    def finish(self) -> list[Media]:
        return self._announce()

    def _announce(self) -> list[Media]:
        voice, self._to_announce = self._to_announce, None
        return [] if voice is None else [Timbre(voice, exact=True)]


class Decode:
    """Frames -> sound, in the timbre last fed in; neutral before the first."""

    decodes = True

    def __init__(self, codec: Codec, seed: int) -> None:
        self._decoder = DecoderLine(codec.lanes, seed)
        self._timbre = NEUTRAL

    def feed(self, item: Media) -> list[Media] | Work[list[Media]]:
        if isinstance(item, Timbre):
            self._timbre = check_timbre(item.vector)
            return []
        if not isinstance(item, Frames):
            raise TypeError(f"expected codes, got {type(item).__name__}")
        if not item.frames:  # a pause that begins
            return []
        return self._sound(self._decoder.push(item.heard, self._timbre))

    def finish(self) -> Work[list[Media]]:
        return self._sound(self._decoder.flush(self._timbre))

    def _sound(self, work: Work[np.ndarray]) -> Work[list[Media]]:
        return [Sound((yield from work))]


class ConvertSound:
    """Sound -> frames for another voice, which goes before them; a timbre fed in is the next.
    ``pitch`` (Hz) and ``talker`` (256,): what is known of who is talking."""

    decodes = False

    def __init__(
        self,
        codec: Codec,
        voice: np.ndarray,
        pitch: float | None = None,
        talker: np.ndarray | None = None,
        steer: bool = True,
    ) -> None:
        self.heard = Heard()
        conversion = Conversion(codec.lanes, check_timbre(voice), pitch, talker, steer)
        self._line = ConverterLine(codec.lanes, conversion, self.heard)
        self._announcing = Announcing(conversion)

    def feed(self, item: Media) -> list[Media] | Work[list[Media]]:
        if isinstance(item, Timbre):
            return self._announcing.aim(item.vector)
        if not isinstance(item, Sound):
            raise TypeError(f"expected sound, got {type(item).__name__}")
        return self._media(self._line.push(item.samples))

    def finish(self) -> Work[list[Media]]:
        last = yield from self._media(self._line.flush())
        return [*last, *self._announcing.voice()]

    def _media(self, work: Work[list[Converted]]) -> Work[list[Media]]:
        return self._announcing.media((yield from work))


class ConvertFrames:
    """Frames -> frames for another voice, which goes before them.

    An exact timbre fed in is the next voice, an estimate tells who is talking.
    """

    decodes = False

    def __init__(
        self,
        codec: Codec,
        voice: np.ndarray,
        pitch: float | None = None,
        talker: np.ndarray | None = None,
        steer: bool = True,
    ) -> None:
        self._conversion = Conversion(codec.lanes, check_timbre(voice), pitch, talker, steer)
        self._announcing = Announcing(self._conversion)

    def feed(self, item: Media) -> list[Media] | Work[list[Media]]:
        if isinstance(item, Sound):
            raise TypeError("expected codes, got sound")
        if isinstance(item, Frames):
            return self._convert(item.codes) if item.frames else []
        if item.exact:
            return self._announcing.aim(item.vector)
        return self._announcing.hear(item.vector)

    def finish(self) -> list[Media]:
        return self._announcing.voice()

    def _convert(self, codes: np.ndarray) -> Work[list[Media]]:
        converted = yield from self._conversion.convert(codes)
        return self._announcing.media(converted) or self._announcing.voice()


class Enroll:
    """Sound, all of it, -> the voice heard in it. Holds at most ``longest`` seconds."""

    decodes = False

    def __init__(self, codec: Codec, longest: float) -> None:
        self._codec = codec
        self._longest = longest
        # One piece, of which only what is written to takes memory: small ones that are kept for
        # long would leave holes behind.
        self._sound = np.empty(int(longest * SAMPLE_RATE), np.float32)
        self._heard = 0

    def feed(self, item: Media) -> list[Media]:
        if not isinstance(item, Sound):
            raise TypeError(f"expected sound, got {type(item).__name__}")
        start, self._heard = self._heard, self._heard + len(item.samples)
        if self._heard > len(self._sound):
            raise ProtocolError("too-long", f"enrol a voice with at most {self._longest:g} s")
        self._sound[start : self._heard] = item.samples
        return []

    def finish(self) -> Work[list[Media]]:
        if self._heard < HOP:
            raise ProtocolError("bad-audio", f"expected sound to enrol, got {self._heard} samples")
        heard = self._sound[: self._heard]
        try:
            voice: np.ndarray = yield Aside(partial(self._codec.voice, heard))
        except ValueError as error:
            raise ProtocolError("bad-audio", str(error)) from error
        compare = partial(self._codec.talkers_alike, heard)
        alike: float | None = yield Aside(compare)
        return [Timbre(voice, exact=True, alike=alike)]


class Keep:
    """Hands a voice to ``keep``, which may raise ProtocolError, and then passes it on."""

    decodes = False

    def __init__(self, keep: Callable[[np.ndarray], None]) -> None:
        self._keep = keep

    def feed(self, item: Media) -> Work[list[Media]]:
        if not isinstance(item, Timbre):
            raise TypeError(f"expected a voice, got {type(item).__name__}")
        yield Aside(partial(self._keep, item.vector))
        return [item]

    def finish(self) -> list[Media]:
        return []


def plan(
    hello: Hello,
    codec: Codec,
    voice: np.ndarray | None,
    enroll: float,
    talker: np.ndarray | None = None,
    keep: Callable[[np.ndarray], None] | None = None,
) -> MakePipeline:
    """Returns how to build the pipeline that a hello asks for. ``voice``, ``talker``: what it means
    by these; ``enroll``: longest enrolment, s; ``keep``: takes the voice that is enrolled.

    Raises ProtocolError where the role needs a voice and has none."""
    if hello.role == "enroll":
        kept = [] if keep is None else [Keep(keep)]
        return lambda: Pipeline([Enroll(codec, enroll), *kept])
    source, sink = hello.formats()
    make = [*_front(hello, codec, voice, talker, source)]
    if sink == "pcm":
        make.append(partial(Decode, codec, hello.seed))
    return lambda: Pipeline([make_stage() for make_stage in make])


def passes_on(hello: Hello, voice: np.ndarray | None) -> Given | None:
    """Returns the only stage of a session that publishes codes as they come, None for others.
    ``voice``: what the hello means by it."""
    return Given(voice) if hello.is_passed_on else None


def _front(
    hello: Hello,
    codec: Codec,
    voice: np.ndarray | None,
    talker: np.ndarray | None,
    source: Format | None,
) -> list[Callable[[], Stage]]:
    """The stages that turn the input into frames, with the voice they are to be heard in."""
    if hello.converts:
        if voice is None:
            raise ProtocolError("no-voice", "role 'convert': expected a voice in hello, got none")
        stage = ConvertSound if source == "pcm" else ConvertFrames
        steer = not is_anonymous(hello.voice)
        return [partial(stage, codec, voice, hello.pitch, talker, steer)]
    if source == "pcm":
        return [partial(Encode, codec, hello.layers, talker), partial(Given, voice)]
    return [partial(Given, voice)]
