"""Checks that a model loads and keeps its promises, on real speech."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clients.audio.files import read_audio
from clients.offline.local import load_codec
from clients.offline.voicebook import BUNDLED
from facodec import bitstream
from facodec.codec import Codec, Frames
from facodec.config import SAMPLE_RATE

TOLERANCE = 1e-5
"""Largest difference between streaming and offline, of full scale."""
CLIP_SECONDS = 6
LONGEST_CHUNK = 1000


def verify(model: str | None, clip: Path | None, tell: Callable[[str], None]) -> bool:
    """Tell the result of each check in a line; returns whether all went well.

    Raises ClientError where the model does not even load."""
    codec = load_codec(model)
    delay = codec.latency.total / SAMPLE_RATE * 1000
    tell(f"OK    model {codec.name} loads, algorithmic latency {delay:.1f} ms")
    speech = read_audio(clip or BUNDLED["slt"])[: CLIP_SECONDS * SAMPLE_RATE]
    started = time.monotonic()
    frames = codec.encode(speech)
    offline = codec.decode(frames.codes, frames.timbre)
    taken = time.monotonic() - started
    tell(f"OK    {len(speech) / SAMPLE_RATE:.1f} s of speech through it in {taken:.1f} s")
    results = [
        _told(tell, bool(np.isfinite(offline).all()), "the sound is finite"),
        _told(tell, _survives_packing(frames), "codes survive packing into 10 bits"),
        _told(tell, _same_codes(codec, speech, frames), "streaming encoder equals offline"),
        _check_decoder(codec, frames, offline, tell),
    ]
    return all(results)


def _told(tell: Callable[[str], None], good: bool, what: str) -> bool:
    tell(f"{'OK   ' if good else 'FAIL '} {what}")
    return good


def _survives_packing(frames: Frames) -> bool:
    layers, count = frames.codes.shape
    packed = bitstream.pack(frames.codes)
    return bool(np.array_equal(bitstream.unpack(packed, layers, count), frames.codes))


def _same_codes(codec: Codec, speech: np.ndarray, frames: Frames) -> bool:
    stream = codec.encoder_stream()
    pieces = [stream.push(chunk) for chunk in _chunks(speech)]
    return bool(np.array_equal(np.concatenate([*pieces, stream.flush()], axis=1), frames.codes))


def _check_decoder(
    codec: Codec, frames: Frames, offline: np.ndarray, tell: Callable[[str], None]
) -> bool:
    stream = codec.decoder_stream(frames.timbre)
    pieces = [stream.push(frames.codes[:, at : at + 1]) for at in range(frames.codes.shape[1])]
    streamed = np.concatenate([*pieces, stream.flush()])
    same = streamed.shape == offline.shape
    error = float(np.abs(streamed - offline).max()) if same else float("inf")
    return _told(tell, error <= TOLERANCE, f"streaming decoder equals offline (error {error:.1e})")


def _chunks(speech: np.ndarray) -> list[np.ndarray]:
    """Speech cut at random places, the same ones each time."""
    random = np.random.default_rng(0)
    lengths = random.integers(0, LONGEST_CHUNK, 2 * len(speech) // LONGEST_CHUNK + 1)
    return np.split(speech, np.minimum(np.cumsum(lengths), len(speech)))
