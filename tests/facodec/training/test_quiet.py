"""Silence, and noise in which nobody speaks, are told to come out quiet, band by band."""

import numpy as np
import torch
from torch import Tensor

import facodec
from facodec.config import HOP, SAMPLE_RATE
from facodec.training.quiet import ALLOWED, FRAMES, HISSES, KINDS, Quiet

ROWS = len(HISSES) + 2 * len(KINDS)


def heard(*audio: Tensor) -> tuple[float, float]:
    """Losses of rows of audio that stand for what a model says, silence first."""
    model = facodec.load("live", backend="float32").model
    quiet = Quiet(model, torch.Generator().manual_seed(0))
    spoken = torch.cat(audio)
    losses = quiet(model, lambda codes, timbre: spoken[: len(codes)], torch.zeros(2, 256))
    return tuple(float(loss) for loss in losses)


def test_silence_itself_is_quiet_enough() -> None:
    assert heard(torch.zeros(ROWS, FRAMES * HOP)) == (0.0, 0.0)


def test_each_row_of_codes_has_its_own_timbre() -> None:
    model = facodec.load("live", backend="float32").model
    quiet, seen = Quiet(model, torch.Generator().manual_seed(0)), []

    def speak(codes: Tensor, timbre: Tensor) -> Tensor:
        seen.extend((codes, timbre))
        return torch.zeros(len(codes), FRAMES * HOP)

    voices = torch.stack((torch.ones(256), torch.zeros(256)))
    quiet(model, speak, voices)
    codes, timbre = seen
    assert codes.shape == (ROWS, 6, FRAMES)
    assert (codes[: -len(KINDS), 3:] < 0).all()
    assert (codes[-len(KINDS) :] >= 0).all()
    assert torch.equal(timbre[:4], voices.repeat(2, 1))
    assert torch.equal(timbre[-len(KINDS) :], quiet.timbre)


def test_a_rumble_counts_that_is_lower_than_any_speech() -> None:
    time = torch.arange(FRAMES * HOP) / SAMPLE_RATE
    rumble = 0.003 * torch.sin(2 * np.pi * 40.0 * time).expand(ROWS, -1)
    silence, noise = heard(rumble)
    assert silence > 1.0
    assert noise > 0.03  # a few bands of 80, each by far


def test_noise_has_to_be_thirty_decibels_quieter() -> None:
    model = facodec.load("live", backend="float32").model
    quiet = Quiet(model, torch.Generator().manual_seed(0))
    draw = torch.randn(ROWS, FRAMES * HOP, generator=torch.Generator().manual_seed(1))
    white = draw * 1e-2
    with torch.no_grad():
        quiet.allowed = ALLOWED * quiet._powers(white[:1]).expand(len(KINDS), -1).clone()
    for decibels, wanted in ((-20.0, 1.0), (-28.0, 0.2), (-40.0, 0.0)):
        said = white * 10 ** (decibels / 20)
        noise = quiet(model, lambda codes, timbre, said=said: said, torch.zeros(1, 256))[1]
        assert abs(float(noise) - wanted) < 0.15, decibels
