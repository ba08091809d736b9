"""Whole recordings to codes and back, in this process."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from clients.audio.files import FORMATS, AudioReader, AudioWriter, keep_apart
from clients.errors import ClientError, UsageError
from clients.offline.local import load_codec
from clients.offline.playback import Part, sound_of
from clients.offline.references import MostSpeech, read_reference, several_people
from clients.offline.voicebook import (
    BUNDLED,
    Profiles,
    heard_voice,
    is_file,
    known_voices,
    no_such_voice,
    say,
    voice_file,
)
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE, TIMBRE_DIM
from facodec.files import STANDARD, Replacement, need_writable
from facodec.identity import ModelIdentity, model_of, need_model
from facodec.names import anonymous_seed, is_anonymous
from facodec.reasons import shown
from facodec.recording.blocks import Header, VoiceBlock, voice_block
from facodec.recording.reading import Recording, survey
from facodec.recording.scan import Lost, clock
from facodec.recording.writing import BlockWriter


@dataclass(frozen=True)
class Encoded:
    """A ``.fac`` file that was written: samples of sound, and bytes."""

    samples: int
    size: int


@dataclass(frozen=True)
class Decoded:
    """A sound file that was written: its samples, and whether the recording was damaged."""

    samples: int
    damaged: bool


def encode_file(source: Path, target: Path, *, layers: int, model: str | None) -> Encoded:
    """Sound file -> ``.fac`` file. Raises ClientError, FileError."""
    keep_apart([target], [source])
    if target.suffix.lower() in FORMATS:
        raise UsageError(f"{shown(target)} is named like sound: codes go into a file like x.fac")
    need_writable(target)
    reader = AudioReader(source)
    codec = load_codec(model)
    stream = codec.encoder_stream()
    speech = MostSpeech()
    samples = 0
    header = Header(codec.identity)
    with Replacement(target) as aside:
        writer = BlockWriter(aside.write, header)
        # Its place: who was heard is known at the end, and has to be known before the codes.
        writer.voice(np.zeros(TIMBRE_DIM, np.float32), exact=True)
        with progress("encoding") as bar:
            for piece in reader.pieces():
                speech.push(piece)
                samples += len(piece)
                writer.push(stream.push(piece)[:layers])
                bar.update(len(piece) / SAMPLE_RATE)
        writer.push(stream.flush()[:layers])
        writer.end(samples)
        timbre = _voice_in(codec, speech.samples(), stream.timbre, source)
        aside.seek(len(header.to_bytes()))
        aside.write(voice_block(0, 0, timbre, exact=True))
    return Encoded(samples, writer.size)


def decode_file(source: Path, target: Path, part: Part, *, voice: str | None,
                model: str | None) -> Decoded:  # fmt: skip
    """``.fac`` file -> sound file. ``voice``: see :func:`timbre_of`. Raises ClientError or
    FileError."""
    keep_apart([target], [source, voice_file(voice)])
    with (
        AudioWriter(target, partial=False) as writer,
        open_playback(source, part, voice=voice, model=model) as playback,
        progress("decoding", playback.seconds) as bar,
    ):
        for audio in playback.pieces():
            writer.write(audio)
            bar.update(len(audio) / SAMPLE_RATE)
        playback.check_heard(writer.samples)
    return Decoded(writer.samples, playback.damaged)


def part_of(arguments: argparse.Namespace) -> Part:
    """The part that the options of :func:`clients.options.add_part` ask for. Raises UsageError."""
    start, end = arguments.start, arguments.end
    if end is not None and end <= start:
        raise UsageError(f"expected --to after --from ({clock(start)}), got {clock(end)}")
    return Part(start, end, layers=arguments.layers, seed=arguments.seed)


class Playback:
    """A recording that is being turned into sound; made by :func:`open_playback`."""

    def __init__(self, source: Path, recording: Recording, codec: Codec, part: Part) -> None:
        self._source, self._recording = source, recording
        self._codec, self._part = codec, part
        self.damaged = False
        """Whether something was lost other than by cutting the end off."""
        self.seconds: float | None = None
        """Length that it will have; None where that is not known beforehand."""
        end = survey(source).end if part.end is None else part.end
        if end > part.start:
            self.seconds = (end - part.start) / SAMPLE_RATE

    def pieces(self) -> Iterator[np.ndarray]:
        """Samples (n,) one after the other; what is lost is silence, and told."""
        yield from sound_of(self._source, self._recording, self._codec, self._part, self._tell)
        if not (self._recording.ended or self._part.end is not None or self._was_cut):
            say(f"{shown(self._source)} has no end: it is still going on, or was broken off")

    def check_heard(self, samples: int) -> None:
        """Raises ClientError where nothing came, since the part begins after the end."""
        if not samples:
            raise ClientError(
                f"{shown(self._source)} ends at {clock(self._recording.samples)}: nothing to hear "
                f"from {clock(self._part.start)} on"
            )

    _was_cut = False

    def _tell(self, lost: Lost) -> None:
        self._was_cut |= lost.cut
        self.damaged |= not lost.cut
        say(f"{shown(self._source)}: {lost}")


@contextmanager
def open_playback(
    source: Path, part: Part, *, voice: str | None, model: str | None
) -> Iterator[Playback]:
    """A recording with the codec it asks for and, in the part, the voice given by name or file."""
    with Recording(source) as recording:
        codec = _codec_of(recording.header.model, source, model)
        if voice is not None:
            hidden = is_anonymous(voice)
            talker = _first_voice(source) if hidden else None
            part = replace(part, voice=timbre_of(voice, codec, talker), hidden=hidden)
        yield Playback(source, recording, codec, part)


def _first_voice(source: Path) -> np.ndarray | None:
    """Timbre (256,) of who is heard first; None where the recording begins without one, or is a
    pipe, which is read but once."""
    if source == STANDARD or not source.is_file():
        return None
    with Recording(source) as recording:
        first = next(iter(recording.items(0)), None)
    return first.timbre if isinstance(first, VoiceBlock) else None


def _codec_of(made: ModelIdentity, source: Path, model: str | None) -> Codec:
    try:
        codec = load_codec(model or made.name)
    except ClientError as error:
        if model is not None:
            raise
        raise ClientError(
            f"{shown(source)} holds codes of model {shown(made)}: give the folder with it "
            "by --model"
        ) from error
    advice = "give the folder with the model it was made with by --model"
    need_model(f"{shown(source)} was", made, codec.identity, advice)
    if not made.weights:
        say(
            f"{shown(source)} does not say which weights of model {shown(made)} it was "
            f"made with: taken to be those of {codec.identity}"
        )
    return codec


def report(output: Path, sentence: str) -> None:
    """Tells what was written: on standard error where standard output is the file itself."""
    stream = sys.stderr if output == STANDARD else sys.stdout
    print(f"{shown(output)}: {sentence}", file=stream)


def progress(what: str, seconds: float | None = None) -> tqdm[NoReturn]:
    """A bar over so many seconds of sound on standard error, where that is a terminal."""
    size = shutil.get_terminal_size()
    shape = "{desc}: {n:.0f} s of {total:.0f} s |{bar}| {elapsed}<{remaining}"
    return tqdm(
        total=seconds,
        desc=what,
        unit="s",
        bar_format=shape if seconds else "{desc}: {n:.0f} s of sound, {elapsed} so far",
        file=sys.stderr,
        disable=None,
        leave=False,
        delay=1.0,
        # tqdm shows nothing in terminals that do not tell their size, as some containers' do.
        ncols=size.columns - 1,
        nrows=size.lines,
    )


def timbre_of(voice: str, codec: Codec, talker: np.ndarray | None = None) -> np.ndarray:
    """Returns the timbre that ``--voice`` means without a server: a recording, a saved voice, a
    bundled one, or one of nobody, far from the ``talker`` (256,)."""
    if is_anonymous(voice):
        try:
            return codec.anonymous_voice(talker, anonymous_seed(voice))
        except ValueError as error:
            raise ClientError(str(error)) from error
    profile = None if is_file(voice) else Profiles().find(voice)
    if profile is not None:
        timbre = profile.timbre_to_use(say)
        need_model(f"the saved voice {profile.name!r} was", model_of(timbre), codec.identity)
        return timbre
    if voice in codec.voices:
        return codec.voices[voice]
    if not is_file(voice) and voice not in BUNDLED:
        raise no_such_voice(voice, known_voices(codec.voices))
    reference = read_reference(BUNDLED.get(voice, Path(voice)))
    for found in reference.remarks:
        say(found)
    if remark := several_people(codec.talkers_alike(reference.samples)):
        say(f"{shown(Path(voice))}: {remark}")
    return heard_voice(codec, reference.samples, Path(voice))


def _voice_in(
    codec: Codec, speech: np.ndarray, running: np.ndarray | None, source: Path
) -> np.ndarray:
    """The voice (256,) of speech (n,), where there is none in it the running estimate."""
    try:
        return heard_voice(codec, speech, source)
    except ClientError as error:
        if running is None:
            raise
        say(f"{error}: the codes go with an average voice")
        return running
