"""The disturbance follows the score of the standard's own program, and has a gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facodec.codec import Codec
from facodec.training.pesq import BANDS, WINDOW, PesqDisturbance


def test_the_table_covers_every_bin_below_the_last() -> None:
    assert sum(band.bins for band in BANDS) == WINDOW // 2


def test_equal_signals_disturb_nobody(hello: np.ndarray) -> None:
    speech = torch.from_numpy(hello[:16_000]).unsqueeze(0)
    assert float(PesqDisturbance()(speech, speech)) < 0.05
    assert float(PesqDisturbance()(0.1 * speech, speech)) < 0.05  # both are made equally loud


def test_it_follows_the_score(hello: np.ndarray, live: Codec) -> None:
    pesq = pytest.importorskip("pesq", reason="missing: the extra bench")
    random = np.random.default_rng(0)
    frames = live.encode(hello)
    coded = live.decode(frames.codes, frames.timbre)[: len(hello)]
    versions = [coded] + [
        hello + gain * random.standard_normal(len(hello)).astype(np.float32)
        for gain in (0.001, 0.003, 0.01, 0.03)
    ]
    scores = [pesq.pesq(16_000, hello, version, "wb") for version in versions]
    rows = torch.from_numpy(np.stack(versions))
    points = PesqDisturbance()(rows, torch.from_numpy(hello).expand_as(rows)).numpy()
    ours = 0.999 + 4.0 / (1.0 + np.exp(-1.3669 * (4.5 - points) + 3.8224))
    assert np.abs(ours - scores).max() < 0.35
    assert np.corrcoef(ours, scores)[0, 1] > 0.98


@pytest.mark.parametrize("length", [512, 4_000, 5_632])
def test_short_signals_have_one_part(length: int, hello: np.ndarray) -> None:
    speech = torch.from_numpy(hello[8_000 : 8_000 + length]).unsqueeze(0)
    assert PesqDisturbance()(speech.flip(1), speech).isfinite().all()
