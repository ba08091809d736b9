"""Other codecs beside ours, timed live: the smallest piece each one takes, a call at a time.

Weights are random where a codec is a network: computing time does not depend on their values.
Whatever is not installed is left out, with the reason.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers.libopus import COMPLEXITY, OpusDecoder, OpusEncoder, as_integers
from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from facodec.codec import Codec

Call = Callable[[], object]
OPUS_FRAME_MS = 20
OPUS_BITRATE = 9_000
ENCODEC_RATE, ENCODEC_SECONDS, ENCODEC_KBIT = 24_000, 1.0, 6.0
NAIVE_SECONDS = 1.0
"""Audio the naive way hands to the offline model again with every hop."""
FRAMES_OF_INPUT = 50


@dataclass(frozen=True)
class Peer:
    """``piece``: seconds of audio a call of ``encode`` and one of ``decode`` stand for. ``how``: in
    a phrase, what is measured."""

    name: str
    piece: float
    how: str
    encode: Call
    decode: Call


def find_peers(samples: np.ndarray) -> tuple[list[Peer], list[str]]:
    """The peers of this machine, fed with samples at 16 kHz, and why the others are left out."""
    peers, left_out = [], []
    for name, make in {"Opus": opus, "Mimi": mimi, "EnCodec 24 kHz": encodec}.items():
        try:
            peers.append(make(samples))
        except (ImportError, OSError, RuntimeError, AttributeError, TypeError) as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            left_out.append(f"{name} left out: {why}")
    return peers, left_out


def naive(codec: Codec, samples: np.ndarray) -> Peer:
    """The offline model over a sliding window, once per hop, and all but the last hop thrown
    away: what streaming costs without streaming layers."""
    size = int(NAIVE_SECONDS * SAMPLE_RATE) // HOP * HOP
    window = samples[:size]
    frames = codec.encode(window)
    return Peer(
        f"{codec.name}, naive",
        HOP / SAMPLE_RATE,
        f"offline model over the last {NAIVE_SECONDS:g} s, again with each hop",
        lambda: codec.encode(window),
        lambda: codec.decode(frames.codes, frames.timbre),
    )


# ------------------------------------------------------------------------------------------- Opus


def opus(samples: np.ndarray) -> Peer:
    """libopus through ctypes: 16 kHz mono, 20 ms frames, 9 kbit/s, complexity 10. Raises OSError
    where there is no libopus, RuntimeError where it refuses."""
    size = SAMPLE_RATE * OPUS_FRAME_MS // 1000
    encoder, decoder = OpusEncoder(OPUS_BITRATE), OpusDecoder(size)
    pcm = as_integers(samples)
    frames = [np.ascontiguousarray(pcm[i * size : (i + 1) * size]) for i in range(FRAMES_OF_INPUT)]
    packets = [encoder.encode(frame) for frame in frames]
    to_encode, to_decode = cycle(frames), cycle(packets)
    return Peer(
        f"Opus {OPUS_BITRATE // 1000}",
        OPUS_FRAME_MS / 1000,
        f"libopus, {OPUS_FRAME_MS} ms frames at 16 kHz, complexity {COMPLEXITY}",
        lambda: encoder.encode(next(to_encode)),
        lambda: decoder.decode(next(to_decode)),
    )


# --------------------------------------------------------------------------------------- networks


def mimi(samples: np.ndarray) -> Peer:
    """Mimi as it streams: 80 ms frames at 24 kHz, 8 codebooks, random weights. Raises ImportError
    where the package ``moshi`` is missing."""
    import torch

    quiet = io.StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet):
        from moshi.models.loaders import get_mimi

        model = get_mimi(None, device="cpu").eval()
    model.requires_grad_(False)
    model.streaming_forever(1)
    size = model.frame_size
    sound = torch.from_numpy(_resampled(samples, model.sample_rate)).view(1, 1, -1)
    inputs = cycle(sound[..., : sound.shape[-1] // size * size].split(size, dim=-1))

    @torch.inference_mode()
    def encode() -> Any:
        return model.encode(next(inputs))

    codes = encode()

    @torch.inference_mode()
    def decode() -> object:
        return model.decode(codes)

    piece = size / model.sample_rate
    how = f"moshi, streaming, {piece * 1e3:.0f} ms frames at 24 kHz, random weights"
    return Peer("Mimi", piece, how, encode, decode)


def encodec(samples: np.ndarray) -> Peer:
    """EnCodec 24 kHz at 6 kbit/s, one second a call, as its code knows no streams; random weights.
    Raises ImportError where the package ``transformers`` is missing."""
    import torch

    logging.getLogger("transformers").setLevel(logging.ERROR)
    from transformers import EncodecConfig, EncodecModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = EncodecModel(EncodecConfig()).eval().requires_grad_(False)
    size = int(ENCODEC_SECONDS * ENCODEC_RATE)
    sound = torch.from_numpy(_resampled(samples, ENCODEC_RATE)[:size]).view(1, 1, -1)

    @torch.inference_mode()
    def encode() -> Any:
        return model.encode(sound, bandwidth=ENCODEC_KBIT)

    encoded = encode()

    @torch.inference_mode()
    def decode() -> object:
        codes, scales = encoded.audio_codes, encoded.audio_scales
        return model.decode(codes, scales, last_frame_pad_length=0)

    how = f"transformers, offline, {ENCODEC_SECONDS:g} s a call at 24 kHz, random weights"
    return Peer("EnCodec 24 kHz", ENCODEC_SECONDS, how, encode, decode)


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    import soxr

    return np.asarray(soxr.resample(samples, SAMPLE_RATE, rate), dtype=np.float32)
