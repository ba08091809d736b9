"""Small probes: what can be read out of features, judged on utterances they never saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from facodec.config import CODEBOOK_SIZE

Features = NDArray[np.float32]
Numbers = NDArray[np.int64]
DECAYS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the squared coefficients to choose from."""
TEST_SHARE = 0.25
CONTEXT = 4
"""Frames on either side that the pitch probe sees."""
EMBEDDING, HIDDEN, BATCH, STEPS = 16, 64, 512, 1_200


def split_utterances(utterances: Numbers, speakers: Numbers, seed: int = 0) -> NDArray[np.bool_]:
    """Entries (N,) for testing: a quarter of each speaker's utterances, at least one;
    all pieces of an utterance fall on the same side."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(utterances), dtype=bool)
    for speaker in np.unique(speakers):
        own = rng.permutation(np.unique(utterances[speakers == speaker]))
        test |= np.isin(utterances, own[: max(1, round(TEST_SHARE * len(own)))])
    return test


def chance(labels: Numbers, test: NDArray[np.bool_]) -> float:
    """Accuracy on the test entries of always naming the speaker most heard in training."""
    return float((labels[test] == np.bincount(labels[~test]).argmax()).mean())


def speaker_accuracy(
    features: Features, labels: Numbers, utterances: Numbers, test: NDArray[np.bool_]
) -> float:
    """Share of test entries whose speaker a logistic regression on features (N, D) names rightly.

    Its weight decay is the one of :data:`DECAYS` that does best on part of the training entries.
    """
    train = ~test
    inner = split_utterances(utterances[train], labels[train], seed=1)
    scores = [_classify(features[train], labels[train], inner, decay=decay) for decay in DECAYS]
    return _classify(features, labels, test, decay=DECAYS[int(np.argmax(scores))])


def _classify(features: Features, labels: Numbers, test: NDArray[np.bool_], decay: float) -> float:
    x, y = torch.from_numpy(_standardise(features, ~test)), torch.from_numpy(labels)
    held_out = torch.from_numpy(test)
    weight = torch.zeros(x.shape[1], int(y.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x[~held_out] @ weight + bias, y[~held_out])
        loss = loss + decay * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        named = (x[held_out] @ weight + bias).argmax(1)
    return float((named == y[held_out]).float().mean())


def _standardise(features: Features, train: NDArray[np.bool_]) -> Features:
    """Mean 0 and deviation about 1 on the training entries. Columns that hardly vary, such as
    rare codes, are not blown up: the mean deviation is added to each."""
    deviation = features[train].std(axis=0)
    scaled = (features - features[train].mean(axis=0)) / (deviation + deviation.mean() + 1e-8)
    return np.asarray(scaled, dtype=np.float32)


@dataclass(frozen=True)
class PitchFrames:
    """Voiced frames: their codes with neighbours (N, layers, 2 * CONTEXT + 1), natural-log pitch
    (N,), and the utterance (N,) each is from."""

    codes: Numbers
    log_pitch: NDArray[np.float32]
    utterances: Numbers


def pitch_frames(codes: Numbers, pitch: NDArray[np.float32], utterance: int) -> PitchFrames:
    """Features of one utterance: codes (layers, T), pitch (T,) in Hz, 0 where unvoiced."""
    padded = np.pad(codes, ((0, 0), (CONTEXT, CONTEXT)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1, axis=1)
    voiced = pitch > 0
    seen = np.ascontiguousarray(windows.transpose(1, 0, 2)[voiced])
    numbers = np.full(int(voiced.sum()), utterance, dtype=np.int64)
    return PitchFrames(seen, np.log(pitch[voiced]).astype(np.float32), numbers)


def join_frames(parts: list[PitchFrames]) -> PitchFrames:
    return PitchFrames(
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.log_pitch for part in parts]),
        np.concatenate([part.utterances for part in parts]),
    )


class _PitchProbe(nn.Module):
    """Codes (N, layers, window), each with an embedding of its own, -> log-pitch (N,)."""

    def __init__(self, layers: int, window: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(layers * CODEBOOK_SIZE, EMBEDDING)
        self.register_buffer("first", torch.arange(layers).view(1, -1, 1) * CODEBOOK_SIZE)
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(layers * window * EMBEDDING, HIDDEN),
            nn.GELU(),
            nn.Linear(HIDDEN, 1),
        )

    first: Tensor

    def forward(self, codes: Tensor) -> Tensor:
        predicted: Tensor = self.net(self.embedding(codes + self.first)).squeeze(-1)
        return predicted


def pitch_correlation(
    frames: PitchFrames, test: NDArray[np.bool_], seed: int = 0
) -> tuple[float, float]:
    """Correlation on the test entries of log-pitch and what a small network makes of the codes:
    over all frames, and within utterances (means of each taken off: intonation alone)."""
    predicted = _predict_pitch(frames, test, seed)
    true, numbers = frames.log_pitch[test], frames.utterances[test]
    within = _correlation(_centred(true, numbers), _centred(predicted, numbers))
    return _correlation(true, predicted), within


def _predict_pitch(frames: PitchFrames, test: NDArray[np.bool_], seed: int) -> Features:
    codes, known = torch.from_numpy(frames.codes), frames.log_pitch[~test]
    mean, deviation = float(known.mean()), float(known.std()) + 1e-8
    target = (torch.from_numpy(frames.log_pitch) - mean) / deviation
    train = torch.from_numpy(np.flatnonzero(~test))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = _PitchProbe(*frames.codes.shape[1:])
        optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            chosen = train[torch.randint(len(train), (BATCH,))]
            loss = F.mse_loss(probe(codes[chosen]), target[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        probe.eval()
        with torch.no_grad():
            parts = [probe(part) for part in codes[torch.from_numpy(test)].split(8192)]
    return np.asarray(torch.cat(parts).numpy() * deviation + mean, dtype=np.float32)


def _centred(values: Features, groups: Numbers) -> Features:
    _, places = np.unique(groups, return_inverse=True)
    means = np.bincount(places, weights=values) / np.bincount(places)
    return np.asarray(values - means[places], dtype=np.float32)


def _correlation(one: Features, other: Features) -> float:
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
