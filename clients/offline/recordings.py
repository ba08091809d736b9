"""Whole recordings to codes and back, in this process."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

from clients.audio.files import FORMATS, AudioReader, AudioWriter, keep_apart
from clients.errors import ClientError, UsageError
from clients.offline.local import load_codec
from clients.offline.references import MostSpeech, read_reference, several_people
from clients.offline.voicebook import (
    BUNDLED,
    Profiles,
    heard_voice,
    is_file,
    say,
    voice_file,
)
from facodec.bitstream import FacFile
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from facodec.files import STANDARD, need_writable, shown
from facodec.identity import model_of, need_model

STEP_FRAMES = 800
"""Frames decoded at a time: ten seconds."""


def encode_file(
    source: Path, target: Path, *, layers: int, model: str | None
) -> tuple[FacFile, int]:
    """Sound file -> ``.fac`` file, returned too, with its bytes. Raises ClientError, FileError."""
    keep_apart([target], [source])
    if target.suffix.lower() in FORMATS:
        raise UsageError(f"{shown(target)} is named like sound: codes go into a file like x.fac")
    need_writable(target)
    reader = AudioReader(source)
    codec = load_codec(model)
    stream = codec.encoder_stream()
    speech = MostSpeech()
    codes: list[np.ndarray] = []
    samples = 0
    with progress("encoding") as bar:
        for piece in reader.pieces():
            speech.push(piece)
            samples += len(piece)
            codes.append(stream.push(piece))
            bar.update(len(piece) / SAMPLE_RATE)
    codes.append(stream.flush())
    timbre = _voice_in(codec, speech.samples(), stream.timbre, source)
    saved = FacFile(np.concatenate(codes, axis=1)[:layers], timbre, codec.identity, samples)
    return saved, saved.write(target)


def decode_file(
    source: Path, target: Path, *, voice: str | None, layers: int, seed: int, model: str | None
) -> int:
    """``.fac`` file -> sound file; returns its samples. Raises ClientError or FileError."""
    keep_apart([target], [source, voice_file(voice)])
    writer = AudioWriter(target, partial=False)
    saved = FacFile.read(source)
    codec = _codec_of(saved, source, model)
    timbre = saved.timbre if voice is None else timbre_of(voice, codec)
    stream = codec.decoder_stream(timbre, seed=seed)
    codes = saved.codes[:layers]
    with writer, progress("decoding", saved.samples / SAMPLE_RATE) as bar:
        for start in range(0, codes.shape[1], STEP_FRAMES):
            before = writer.samples
            _write(writer, stream.push(codes[:, start : start + STEP_FRAMES]), saved.samples)
            bar.update((writer.samples - before) / SAMPLE_RATE)
        _write(writer, stream.flush(), saved.samples)
    return writer.samples


def _codec_of(saved: FacFile, source: Path, model: str | None) -> Codec:
    try:
        codec = load_codec(model or saved.model.name)
    except ClientError as error:
        if model is not None:
            raise
        raise ClientError(
            f"{shown(source)} holds codes of model {shown(saved.model)}: give the folder with it "
            "by --model"
        ) from error
    advice = "give the folder with the model it was made with by --model"
    need_model(f"{shown(source)} was", saved.model, codec.identity, advice)
    if not saved.model.weights:
        say(
            f"{shown(source)} does not say which weights of model {shown(saved.model)} it was "
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


def timbre_of(voice: str, codec: Codec) -> np.ndarray:
    """What ``--voice`` means without a server: a recording, a saved voice or a bundled one."""
    profile = None if is_file(voice) else Profiles().find(voice)
    if profile is not None:
        timbre = profile.timbre_to_use(say)
        need_model(f"the saved voice {profile.name!r} was", model_of(timbre), codec.identity)
        return timbre
    if voice in codec.voices:
        return codec.voices[voice]
    if not is_file(voice) and voice not in BUNDLED:
        known = [saved.name for saved in Profiles().list()] + [*codec.voices, *BUNDLED]
        raise ClientError(f"there is no voice {voice!r}; known are: {', '.join(known)}")
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


def _write(writer: AudioWriter, audio: np.ndarray, wanted: int) -> None:
    """The last frame may be only partly speech."""
    writer.write(audio[: wanted - writer.samples])
