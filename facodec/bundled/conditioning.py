"""Conditioning at the encoder's entrance: what no voice makes is taken away before it is heard.

A constant offset of the sound card goes through a one-pole high-pass at 20 Hz, the mains' hum at 50
and 60 Hz through a notch each. The notches are 20 Hz wide, so that a grid a little off and the
onset of hum (which rings for 16 ms) leave nothing to be taken for a voice. Three recursions in a
row, in float64; over whole hops they are products of matrices, which is the same.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facodec.config import HOP, SAMPLE_RATE

OFFSET_EDGE = 20.0
"""Hz at which the high-pass takes 3 dB away."""
MAINS, MAINS_WIDTH = (50.0, 60.0), 20.0
"""Hz: the grids' frequencies, and between the 3 dB points of a notch."""

TAKEN = (0.26, 0.15, 0.04, 0.02, 0.01)
"""Decades that the recursions take from the lowest log-mels of speech and its rooms, on
average over training speech. The log-mels get them back: what voices are told by begins there, and
hum and offset are gone all the same."""

Section = tuple[float, float, float, float, float]
"""b0, b1, b2, a1 and a2 of a recursion y = b0 x + b1 x' + b2 x'' - a1 y' - a2 y''."""


def sections() -> list[Section]:
    """The recursions, in their order."""
    edge = math.tan(math.pi * OFFSET_EDGE / SAMPLE_RATE)
    gain = 1.0 / (1.0 + edge)
    offset = (gain, -gain, 0.0, (edge - 1.0) * gain, 0.0)
    return [offset, *(_notch(hertz) for hertz in MAINS)]


def _notch(hertz: float) -> Section:
    gain = 1.0 / (1.0 + math.tan(math.pi * MAINS_WIDTH / SAMPLE_RATE))
    turn = -2.0 * gain * math.cos(2.0 * math.pi * hertz / SAMPLE_RATE)
    return gain, turn, gain, turn, 2.0 * gain - 1.0


REMEMBERED = 2 * len(sections())
"""Numbers that the recursions keep between two samples (transposed direct form II)."""


def run(audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Audio (B, n) and state (B, 6), float64, sample by sample -> conditioned, and state."""
    kept, out = list(state.unbind(1)), []
    for x in audio.unbind(1):
        for i, (b0, b1, b2, a1, a2) in enumerate(sections()):
            y = b0 * x + kept[2 * i]
            kept[2 * i] = b1 * x - a1 * y + kept[2 * i + 1]
            kept[2 * i + 1] = b2 * x - a2 * y
            x = y
        out.append(x)
    return torch.stack(out, dim=1), torch.stack(kept, dim=1)


class Conditioning(nn.Module):
    """The recursions of this module over whole hops."""

    def __init__(self) -> None:
        super().__init__()
        ones = torch.eye(HOP + REMEMBERED, dtype=torch.float64)
        heard, after = run(ones[:, :HOP], ones[:, HOP:])
        for name, value in {"forced": heard, "enter": after}.items():
            self.register_buffer(name, value, persistent=False)

    forced: Tensor
    enter: Tensor

    def initial_state(self, batch: int) -> Tensor:
        """State (B, 6) before the first sample."""
        return self.forced.new_zeros(batch, REMEMBERED)

    @staticmethod
    def settled(audio: Tensor, state: Tensor, fresh: Tensor) -> Tensor:
        """The state (B, 6) with which audio (B, n) begins: where ``fresh`` (B,), as if the offset
        of its first sample had been there for ever."""
        offset = -sections()[0][0] * audio[:, :1].double()
        steady = torch.nn.functional.pad(offset, (0, REMEMBERED - 1))
        return torch.where(fresh.unsqueeze(1), steady, state)

    def forward(self, audio: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """audio (B, 200 n) and state (B, 6) -> conditioned (B, 200 n), and the state after it."""
        hops = audio.unflatten(1, (-1, HOP)).double()
        entering = hops @ self.enter[:HOP]
        states = []
        for hop in range(hops.shape[1]):
            states.append(state)
            state = state @ self.enter[HOP:] + entering[:, hop]
        inputs = torch.cat((hops, torch.stack(states, dim=1)), dim=2)
        return (inputs @ self.forced).flatten(1).to(audio.dtype), state


def condition(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """A whole recording (n,) as the encoder hears it: without offset and hum."""
    if not len(samples):
        return samples
    audio = torch.from_numpy(np.pad(samples, (0, -len(samples) % HOP))).unsqueeze(0)
    module = _conditioning()
    begun = module.settled(audio, module.initial_state(1), torch.ones(1, dtype=torch.bool))
    heard: NDArray[np.float32] = module(audio, begun)[0][0, : len(samples)].numpy()
    return heard


@cache
def _conditioning() -> Conditioning:
    return Conditioning()
