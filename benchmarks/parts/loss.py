"""Words lost against packets lost: with a gap of silence, with concealment in the code domain, and
with repeats of prosody and content."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from benchmarks.kit.common import whole_number
from benchmarks.speech.words import (
    SENTENCES,
    VOICES,
    Pocketsphinx,
    missing_tools,
    speak,
    word_errors,
)
from clients.session.live_options import REDUNDANCY
from facodec.codec import Codec, Frames
from facodec.config import HOP, MIN_LAYERS
from facodec.link.bands import Audio
from facodec.link.concealment import ConcealingDecoder
from facodec.training.metrics import clicks

Mask = NDArray[np.bool_]
Way = Callable[[Codec, Frames, Mask, Mask], Audio]
RATES = (0.0, 0.02, 0.05, 0.1, 0.2)
BURST = 1.5
"""Packets lost in a row, on average."""
SEAM = 128
"""Samples, 8 ms, of the fades around a gap, as in :mod:`streaming.playout`."""


def gilbert(packets: int, rate: float, burst: float, seed: int) -> Mask:
    """Returns which of ``packets`` are lost, ``rate`` of them in runs of ``burst`` on average
    (Gilbert's channel of two states)."""
    r, lost = np.random.default_rng(seed), np.zeros(packets, bool)
    begin = rate / ((1.0 - rate) * burst)
    for i in range(packets):
        chance = 1.0 - 1.0 / burst if i and lost[i - 1] else begin
        lost[i] = r.random() < chance
    return lost


def never(packets: Mask) -> Mask:
    """Returns which of the ``packets`` that are lost (n,) come as a repeat: none."""
    return np.zeros_like(packets)


def later(packets: Mask, distance: int) -> Mask:
    """Returns which of the ``packets`` that are lost (n,) come as a repeat, so many packets later:
    those whose repeat was not lost too."""
    following = np.concatenate([packets[distance:], np.ones(min(distance, len(packets)), bool)])
    return np.asarray(packets & ~following)


def concealed(codec: Codec, frames: Frames, lost: Mask, repeated: Mask | None = None) -> Audio:
    """Decodes frames with the ``lost`` ones (n,) concealed, but for the ``repeated`` ones, of which
    prosody and content are there."""
    decoder = codec.decoder_stream(frames.timbre)
    concealing = ConcealingDecoder(decoder.push)
    layers = np.where(lost, 0, len(frames.codes))
    if repeated is not None:
        layers[repeated] = MIN_LAYERS
    pushed = (frames.codes[:count, t : t + 1] for t, count in enumerate(layers.tolist()))
    return np.concatenate([concealing.push(frame if len(frame) else None) for frame in pushed])


def silenced(codec: Codec, frames: Frames, lost: Mask, repeated: Mask | None = None) -> Audio:
    """Decodes frames with a faded gap in place of the ``lost`` ones (n,), ``repeated`` or not."""
    decoder = codec.decoder_stream(frames.timbre)
    hops = [np.zeros(0, np.float32)]
    for t, gone in enumerate(lost):
        hops.append(np.zeros(HOP, np.float32) if gone else decoder.push(frames.codes[:, t : t + 1]))
    audio = np.concatenate(hops)
    gates = np.repeat(~lost, HOP).astype(np.float32)[-len(audio) :]
    return np.asarray(audio * np.convolve(gates, np.ones(SEAM) / SEAM, "same"), np.float32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames", type=whole_number, default=4, help="frames in a packet (%(default)s)"
    )
    parser.add_argument("--redundancy", type=whole_number, default=REDUNDANCY, metavar="N",
                        help="packets from one to its repeat (%(default)s)")  # fmt: skip
    parser.add_argument("--sentences", type=whole_number, default=len(SENTENCES),
                        help="how many sentences")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    import facodec

    lacking = missing_tools()
    if lacking:
        raise ValueError(lacking)
    codec, recogniser = facodec.load("live"), Pocketsphinx()
    said = []
    for voice, sentence in product(VOICES, SENTENCES[: args.sentences]):
        spoken = codec.encode(speak(sentence, voice))
        whole = concealed(codec, spoken, np.zeros(spoken.codes.shape[1], bool))
        said.append((sentence.split(), spoken, whole))
    ways: dict[str, tuple[Way, Callable[[Mask], Mask]]] = {
        "silence": (silenced, never),
        "concealed": (concealed, never),
        "repeated": (concealed, partial(later, distance=args.redundancy)),
    }
    print("lost" + "".join(f"{name + ': words wrong, clicks':>33}" for name in ways))
    for rate in RATES:
        row = [
            _measured(codec, recogniser, said, way, repeat, rate, args.frames)
            for way, repeat in ways.values()
        ]
        cells = "".join(f"{wrong:25.1%} {count:7d}" for wrong, count in row)
        print(f"{rate:4.0%}{cells}", flush=True)
    return 0


def _measured(
    codec: Codec,
    recogniser: Pocketsphinx,
    said: list[tuple[list[str], Frames, Audio]],
    way: Way,
    repeat: Callable[[Mask], Mask],
    rate: float,
    frames: int,
) -> tuple[float, int]:
    """Share of words wrong, and clicks."""
    wrong = words = count = 0
    for seed, (sentence, spoken, whole) in enumerate(said):
        total = spoken.codes.shape[1]
        packets = gilbert(-(-total // frames), rate, BURST, seed)
        lost, repeated = (np.repeat(each, frames)[:total] for each in (packets, repeat(packets)))
        audio = way(codec, spoken, lost, repeated)
        wrong += word_errors(sentence, recogniser.hear(audio))
        words += len(sentence)
        count += clicks(whole, audio)
    return wrong / words, count
