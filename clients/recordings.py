"""Whole recordings to codes and back, in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clients.errors import ClientError, UsageError
from clients.files import AudioReader, AudioWriter
from clients.local import load_codec
from clients.voices import BUNDLED, Profiles, is_file, read_reference
from facodec.bitstream import FacFile
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE

VOICE_SECONDS = 60
"""The talker's timbre is taken from at most this much of a recording's beginning."""
STEP_FRAMES = 800
"""Frames decoded at a time: ten seconds."""


def encode_file(source: Path, target: Path, *, layers: int, model: str | None) -> FacFile:
    """Sound file -> ``.fac`` file, which is returned too. Raises ClientError."""
    if target.resolve() == source.resolve():
        raise UsageError("the .fac file would replace the sound file: give it another name")
    reader = AudioReader(source)
    codec = load_codec(model)
    stream = codec.encoder_stream()
    beginning: list[np.ndarray] = []
    codes: list[np.ndarray] = []
    samples = 0
    for piece in reader.pieces():
        if samples < VOICE_SECONDS * SAMPLE_RATE:
            beginning.append(piece)
        samples += len(piece)
        codes.append(stream.push(piece))
    codes.append(stream.flush())
    timbre = codec.voice(np.concatenate(beginning)[: VOICE_SECONDS * SAMPLE_RATE])
    saved = FacFile(np.concatenate(codes, axis=1)[:layers], timbre, codec.name, samples)
    try:
        saved.write(target)
    except OSError as error:
        raise ClientError(f"cannot write {target}: {error.strerror}") from error
    return saved


def decode_file(
    source: Path, target: Path, *, voice: str | None, layers: int, seed: int, model: str | None
) -> int:
    """``.fac`` file -> sound file; returns its samples. Raises ClientError."""
    saved = read_fac(source)
    try:
        codec = load_codec(model or saved.model)
    except ClientError as error:
        if model is not None:
            raise
        raise ClientError(
            f"{source} holds codes of model {saved.model!r}: give the folder with it by --model"
        ) from error
    if codec.name != saved.model:
        raise ClientError(f"{source} holds codes of model {saved.model!r}, not of {codec.name!r}")
    timbre = saved.timbre if voice is None else timbre_of(voice, codec)
    stream = codec.decoder_stream(timbre, seed=seed)
    codes = saved.codes[:layers]
    with AudioWriter(target) as writer:
        for start in range(0, codes.shape[1], STEP_FRAMES):
            _write(writer, stream.push(codes[:, start : start + STEP_FRAMES]), saved.samples)
        _write(writer, stream.flush(), saved.samples)
        return writer.samples


def read_fac(path: Path) -> FacFile:
    """A ``.fac`` file. Raises ClientError for one that is missing or damaged."""
    try:
        saved = FacFile.read(path)
    except OSError as error:
        raise ClientError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ClientError(str(error)) from error
    if saved.samples > saved.codes.shape[1] * HOP:
        raise ClientError(f"{path} is damaged: it has fewer frames than samples")
    return saved


def timbre_of(voice: str, codec: Codec) -> np.ndarray:
    """What ``--voice`` means without a server: a recording, a saved voice or a bundled one."""
    profile = None if is_file(voice) else Profiles().find(voice)
    if profile is not None:
        return profile.timbre()
    if voice in codec.voices:
        return codec.voices[voice]
    if not is_file(voice) and voice not in BUNDLED:
        known = [saved.name for saved in Profiles().list()] + [*codec.voices, *BUNDLED]
        raise ClientError(f"there is no voice {voice!r}; known are: {', '.join(known)}")
    return codec.voice(read_reference(BUNDLED.get(voice, Path(voice))))


def _write(writer: AudioWriter, audio: np.ndarray, wanted: int) -> None:
    """The last frame may be only partly speech."""
    writer.write(audio[: wanted - writer.samples])
