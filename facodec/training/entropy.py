"""Learning the tables of :mod:`facodec.link.entropy` from coded speech.

The predictor is trained in float with its numbers held to the grid of the whole numbers that will
be stored (rounded on the way forward, straight through on the way back), so that what is stored
predicts as well as what was learned.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange

from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, MIN_LAYERS
from facodec.identity import ModelIdentity
from facodec.link.entropy import (
    HIDDEN_SHIFT,
    LARGEST_WEIGHT,
    NONE,
    SLOPE,
    EntropyTables,
)
from facodec.link.native import LAGS, SHARES
from facodec.training.coded import CodedCorpus

DEPTH, HIDDEN = 24, 32
"""Numbers of an embedding, and hidden numbers a code."""
EMBEDDED, MIXED, WORDS = 32.0, 64.0, 32.0
"""Whole numbers per unit of embeddings, mixing weights and words; hidden ones follow."""
LEVELS = EMBEDDED * MIXED / HIDDEN_SHIFT
"""Whole numbers per unit of a hidden number."""
NAT = WORDS * LEVELS / SLOPE
"""Entries of the table of shares per nat."""
PEAK = 1 << 16
"""Share of the likeliest code."""
BATCH, FASTEST = 2048, 6e-3
ALONE, PAIRED, LAYERS_LEFT = 0.2, 0.15, 0.2
"""Shares of the frames that are learned without a past, with one frame of it, and with fewer
layers."""


def learn(corpus: CodedCorpus, model: ModelIdentity, steps: int, seed: int = 0) -> EntropyTables:
    """Tables for the codes of ``model``, learned from a coded corpus in ``steps`` steps."""
    torch.manual_seed(seed)
    codes = torch.from_numpy(corpus.codes.astype(np.int64))
    place = torch.from_numpy(np.concatenate([np.arange(n) for n in corpus.lengths]))
    predictor = Predictor()
    optimizer = torch.optim.Adam(predictor.parameters(), lr=FASTEST)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, FASTEST, steps, pct_start=0.1)
    for _ in trange(steps, desc="learning", unit="step", disable=None):
        at = torch.randint(len(codes), (BATCH,))
        loss = predictor(_past(codes, place[at], at), codes[at]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return predictor.tables(model)


def _past(codes: Tensor, place: Tensor, at: Tensor) -> Tensor:
    """The frames before those at ``at``, whose utterance began ``place`` frames ago, as a packet
    would know them: (n, 2, 6)."""
    chance = torch.rand(len(at))
    known = torch.where(chance < ALONE, 0, torch.where(chance < ALONE + PAIRED, 1, LAGS))
    known = torch.minimum(known, place)
    left = torch.rand(len(at)) < LAYERS_LEFT
    layers = torch.where(left, torch.randint(MIN_LAYERS, CODE_LAYERS, (len(at),)), CODE_LAYERS)
    absent = torch.arange(CODE_LAYERS) >= layers[:, None]
    past = []
    for lag in range(1, LAGS + 1):
        hidden = absent | (known < lag)[:, None]
        past.append(codes[(at - lag).clamp_min(0)].masked_fill(hidden, NONE))
    return torch.stack(past, dim=1)


class Predictor(nn.Module):
    """The predictor of :mod:`facodec.link.entropy`, which computes in whole numbers, in a form that
    can be learned."""

    def __init__(self) -> None:
        super().__init__()
        slots = LAGS * CODE_LAYERS
        scale = math.sqrt(2.0 / (slots * DEPTH))
        self.embeddings = nn.Parameter(0.3 * torch.randn(CODE_LAYERS, NONE + 1, DEPTH))
        self.past = nn.Parameter(scale * torch.randn(slots * DEPTH, CODE_LAYERS * HIDDEN))
        self.present = nn.Parameter(scale * torch.randn(CODE_LAYERS, CODE_LAYERS, DEPTH, HIDDEN))
        self.thresholds = nn.Parameter(torch.full((CODE_LAYERS, HIDDEN), 0.1))
        self.words = nn.Parameter(0.05 * torch.randn(CODE_LAYERS, CODEBOOK_SIZE, HIDDEN))
        self.biases = nn.Parameter(torch.zeros(CODE_LAYERS, CODEBOOK_SIZE))

    def forward(self, past: Tensor, codes: Tensor) -> Tensor:
        """past (n, 2, 6) and codes (n, 6) -> nats (n, 6) that each code costs."""
        embeddings = _on_grid(self.embeddings, EMBEDDED)
        known = embeddings[torch.arange(CODE_LAYERS), past].flatten(1)
        sums = (known @ _on_grid(self.past, MIXED)).unflatten(1, (CODE_LAYERS, HIDDEN))
        present, words = _on_grid(self.present, MIXED), _on_grid(self.words, WORDS)
        costs = []
        for k in range(CODE_LAYERS):
            total = sums[:, k] + self.thresholds[k]
            for j in range(k):
                total = total + embeddings[j][codes[:, j]] @ present[j, k]
            likely = _on_grid(F.relu(total), LEVELS) @ words[k].T + self.biases[k]
            costs.append(F.cross_entropy(likely, codes[:, k], reduction="none"))
        return torch.stack(costs, dim=1)

    @torch.no_grad()
    def tables(self, model: ModelIdentity) -> EntropyTables:
        """The whole numbers, for the codes of ``model``."""
        falling = [max(1, round(PEAK * math.exp(-i / NAT))) for i in range(SHARES)]
        return EntropyTables(
            embeddings=_whole(self.embeddings, EMBEDDED, np.int8),
            past=_whole(self.past, MIXED, np.int8),
            present=_whole(self.present, MIXED, np.int8),
            thresholds=_whole(self.thresholds, EMBEDDED * MIXED, np.int32),
            words=_whole(self.words, WORDS, np.int8),
            biases=_whole(self.biases, WORDS * LEVELS, np.int32),
            shares=np.array(falling, np.int32),
            model=np.frombuffer(str(model).encode(), np.uint8),
        )


def _on_grid(values: Tensor, scale: float) -> Tensor:
    """Values as the whole numbers of a byte will say them; the gradient passes unrounded."""
    scaled = (values * scale).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return (scaled + (scaled.round() - scaled).detach()) / scale


def _whole(values: Tensor, scale: float, kind: type) -> np.ndarray:
    scaled = (values * scale).round()
    if kind is np.int8:
        scaled = scaled.clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return scaled.numpy().astype(kind)


def measure(corpus: CodedCorpus, tables: EntropyTables, frames: int) -> dict[str, list[float]]:
    """Bits per frame of a coded corpus in packets of ``frames`` frames: ``information`` by layer,
    and ``packets``, the whole bytes of all packets."""
    from facodec.link.entropy import FrameCoder

    coder, information, size, count = FrameCoder(tables), np.zeros(CODE_LAYERS), 0, 0
    for start, length in zip(corpus.starts, corpus.lengths, strict=True):
        for at in range(0, int(length), frames):
            packet = corpus.codes[start + at : start + min(at + frames, length)].T
            information += coder.cost(packet).sum(axis=1)
            size += len(coder.encode(packet))
            count += packet.shape[1]
    return {"information": (information / count).tolist(), "packets": [8 * size / count]}


def save(tables: EntropyTables, folder: Path) -> str:
    """Writes the tables beside a model's weights; says where and how large."""
    folder.mkdir(parents=True, exist_ok=True)
    size = tables.save(folder)
    return f"tables {tables.identity} of {size} bytes written to {folder}"
