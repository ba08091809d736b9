"""The loss of intelligibility follows the measures as others compute them, and has a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facodec.codec import Codec
from facodec.training.stoi import BANDS, Unintelligibility


def test_bands_lie_side_by_side_within_the_standards() -> None:
    bands = Unintelligibility().bands
    assert bands.shape[1] == BANDS and (bands.sum(0) > 0).all()
    assert (bands.sum(1) <= 1).all()
    bins = torch.nonzero(bands.sum(1)).flatten() * (16_000 / 820)
    assert 120 < float(bins[0]) < 150 and 4_100 < float(bins[-1]) < 4_300


def test_equal_signals_miss_nothing(hello: np.ndarray) -> None:
    speech = torch.from_numpy(hello[:16_000]).unsqueeze(0)
    assert float(Unintelligibility()(speech, speech)) < 1e-3
    assert float(Unintelligibility()(0.1 * speech, speech)) < 2e-3  # the level plays no part


def test_it_follows_the_measures(hello: np.ndarray, live: Codec) -> None:
    pystoi = pytest.importorskip("pystoi", reason="missing: the extra bench")
    random = np.random.default_rng(0)
    frames = live.encode(hello)
    coded = live.decode(frames.codes, frames.timbre)[: len(hello)]
    versions = [coded] + [
        hello + gain * random.standard_normal(len(hello)).astype(np.float32)
        for gain in (0.003, 0.01, 0.03, 0.1)
    ]
    wanted = [
        1.0 - np.mean([pystoi.stoi(hello, v, 16_000, extended=e) for e in (False, True)])
        for v in versions
    ]
    rows = torch.from_numpy(np.stack(versions))
    ours = Unintelligibility()(rows, torch.from_numpy(hello).expand_as(rows)).numpy()
    assert abs(ours[0] - wanted[0]) < 0.01
    # Noise in what lies between words counts a little more: those frames are left out elsewhere.
    assert np.abs(ours - wanted).max() < 0.06 and np.corrcoef(ours, wanted)[0, 1] > 0.99


def test_rows_without_speech_count_nothing_and_have_a_finite_gradient() -> None:
    ours = torch.zeros(2, 8_000, requires_grad=True)
    click = torch.zeros(2, 8_000)
    click[1, 4_000] = 1.0
    missing = Unintelligibility()(ours, click)
    assert missing.tolist() == [0.0, 0.0]
    missing.sum().backward()
    assert ours.grad is not None and ours.grad.isfinite().all()
