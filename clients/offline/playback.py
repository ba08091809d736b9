"""The sound of a recording, all of it or a part, a few seconds at a time.

Frames without a gap between them are one stretch, which a decoder of its own speaks; gaps, and
what is lost, are silence. A part sounds as it does in the whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facodec.codec import Codec, DecoderStream
from facodec.config import HOP, SAMPLE_RATE, TIMBRE_DIM
from facodec.recording.blocks import FramesBlock, VoiceBlock
from facodec.recording.reading import Recording, survey
from facodec.recording.scan import Lost

SILENCE = 10 * SAMPLE_RATE
"""Samples of silence handed out at a time."""
Audio = np.ndarray


@dataclass(frozen=True)
class Part:
    """A part of a recording to be heard, and how: from the sample ``start`` to ``end``, None being
    its end; ``voice`` (256,) in place of its own; ``layers``: codes a frame at most. ``hidden``:
    nothing else is to tell of the talker either, so that frames are converted into the voice."""

    start: int = 0
    end: int | None = None
    voice: np.ndarray | None = None
    layers: int = 6
    seed: int = 0
    hidden: bool = False


def sound_of(
    path: Path, recording: Recording, codec: Codec, part: Part, tell: Callable[[Lost], None]
) -> Iterator[Audio]:
    """Samples (n,) that follow each other from the part's start to its end. ``tell`` hears of what
    is lost on the way. Raises FileError."""
    first = survey(path, part.start).stretch if part.start else 0
    place = part.start
    for at, audio in _stretches(recording, first, codec, part, tell):
        end = at + len(audio) if part.end is None else min(at + len(audio), part.end)
        yield from _silence(at - place if part.end is None else min(at, part.end) - place)
        if end > at:
            yield audio[: end - at]
        place = max(place, end)
        if part.end is not None and place >= part.end:
            return
    end = recording.samples if part.end is None else min(part.end, recording.samples)
    yield from _silence(end - place)


def _stretches(
    recording: Recording, first: int, codec: Codec, part: Part, tell: Callable[[Lost], None]
) -> Iterator[tuple[int, Audio]]:
    """Sound with the sample that it begins at, none before the part's start nor after the end of
    the recording."""
    own = np.zeros(TIMBRE_DIM, np.float32)
    stretch: _Stretch | None = None
    for item in recording.items(first):
        if isinstance(item, Lost):
            tell(item)
        elif isinstance(item, VoiceBlock):
            own = item.timbre
        elif isinstance(item, FramesBlock):
            timbre = own if part.voice is None else part.voice
            if stretch is None or not stretch.continues(item):
                if stretch is not None:
                    yield stretch.finish()
                stretch = _Stretch(codec, item, part, timbre)
            hidden = part.hidden and part.voice is not None
            codes = codec.convert_codes(item.codes, own, timbre) if hidden else item.codes
            yield stretch.push(codes, timbre)
    if stretch is not None:
        at, audio = stretch.finish()
        # The last frame need not be speech to its end.
        yield at, audio[: max(0, recording.samples - at)]


class _Stretch:
    """Frames that follow each other without a gap, as sound from the part's start on."""

    def __init__(self, codec: Codec, begin: FramesBlock, part: Part, timbre: np.ndarray) -> None:
        self._codec = codec
        self._part = part
        self._layers = len(begin.codes)
        self._end = begin.start
        self._place = begin.start
        """The sample that the decoder gives next."""
        self._decoder: DecoderStream = codec.decoder_stream(timbre, seed=part.seed)
        self._timbre = timbre
        self._held: deque[tuple[np.ndarray, np.ndarray]] = deque()
        """Frames before the part, with their voice, that the decoder has not been given yet."""

    def continues(self, item: FramesBlock) -> bool:
        return item.start == self._end and len(item.codes) == self._layers

    def push(self, codes: np.ndarray, timbre: np.ndarray) -> tuple[int, Audio]:
        """The sound that became complete, and where it begins."""
        self._end += codes.shape[1] * HOP
        self._held.append((codes[: self._part.layers], timbre))
        if self._end <= self._part.start and self._codec.model.decoder_memory is not None:
            self._forget()
            return self._end, np.zeros(0, np.float32)
        spoken = [self._speak(*self._held.popleft()) for _ in range(len(self._held))]
        return self._from_start(np.concatenate(spoken))

    def finish(self) -> tuple[int, Audio]:
        """The sound still owed."""
        if self._end <= self._part.start:
            return self._end, np.zeros(0, np.float32)
        return self._from_start(self._decoder.flush())

    def _speak(self, codes: np.ndarray, timbre: np.ndarray) -> Audio:
        if timbre is not self._timbre:
            self._decoder.timbre = self._timbre = timbre
        return self._decoder.push(codes)

    def _from_start(self, audio: Audio) -> tuple[int, Audio]:
        at = self._place
        self._place += len(audio)
        early = min(max(0, self._part.start - at), len(audio))
        return at + early, audio[early:]

    def _forget(self) -> None:
        """Skip frames that what follows them does not depend on."""
        while len(self._held) > 1:
            oldest, _ = self._held[0]
            rest = np.concatenate([codes for codes, _ in list(self._held)[1:]], axis=1)
            if not self._codec.forgets(rest):
                return
            self._decoder.skip(oldest)
            self._place += oldest.shape[1] * HOP
            self._held.popleft()


def _silence(samples: int) -> Iterator[Audio]:
    while samples > 0:
        yield np.zeros(min(samples, SILENCE), np.float32)
        samples -= SILENCE
