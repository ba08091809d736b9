"""The prosody code is what it says it is."""

from __future__ import annotations

import numpy as np
import torch

from facodec.bundled import prosody
from facodec.bundled.features import HISTORY, MIN_LAG, CausalFeatures
from facodec.bundled.synthesis import N_FFT, SUBFRAMES, Synthesizer, minimum_phase
from facodec.training.pitch import track_pitch


def test_classes_and_hertz_agree_to_half_a_step() -> None:
    hertz = torch.linspace(55, 450, 500)
    back = prosody.pitch_hertz(prosody.pitch_class(hertz))
    assert float((torch.log(back / hertz).abs()).max()) <= prosody.STEP / 2 + 1e-4
    assert int(prosody.pitch_class(torch.tensor(0.0))) == prosody.UNVOICED
    assert float(prosody.pitch_hertz(torch.tensor(0))) == 0.0


def test_joining_splits_and_shifting_keeps_unvoiced() -> None:
    pitch = torch.tensor([0, 1, 64, 127])
    level = torch.tensor([7, 0, 3, 5])
    codes = prosody.join(pitch, level)
    assert int(codes.max()) < 1024
    assert all(torch.equal(a, b) for a, b in zip(prosody.split(codes), (pitch, level), strict=True))
    up = prosody.split(prosody.shift(codes, torch.tensor(0.5)))
    assert int(up[0][0]) == 0 and torch.equal(up[1], level)
    ratio = prosody.pitch_hertz(up[0][1:3]) / prosody.pitch_hertz(pitch[1:3])
    np.testing.assert_allclose(ratio, 2**0.5, rtol=0.01)


def test_levels_are_8_db_apart() -> None:
    levels = prosody.level_class(torch.tensor([-100.0, -66.1, -65.9, -20.0, 0.0]))
    assert levels.tolist() == [0, 0, 1, 6, 7]


def test_a_tone_is_where_its_period_is() -> None:
    """The autocorrelation of a harmonic tone peaks at its period, and silence at nothing."""
    hertz = 125.0
    t = torch.arange(HISTORY + 2_000) / 16_000
    tone = sum(0.1 * torch.cos(2 * torch.pi * hertz * k * t) for k in range(1, 20))
    features = CausalFeatures()
    _, correlation, _ = features(tone.unsqueeze(0))
    assert int(correlation[0, -1].argmax()) + MIN_LAG == round(16_000 / hertz)
    assert float(correlation[0, -1].max()) > 0.97
    _, silent, _ = features(torch.zeros(1, HISTORY + 400))
    assert float(silent.abs().max()) == 0.0


def test_the_synthesis_speaks_at_the_pitch_it_is_given() -> None:
    synthesizer = Synthesizer(96, 48)
    frames = 120
    pitch = torch.linspace(100, 200, frames).unsqueeze(0)
    filters = SUBFRAMES * frames
    harmonic = torch.full((1, filters, 96), -3.0)
    noise = torch.full((1, filters, 96), -12.0)
    audio, _ = synthesizer(
        pitch, harmonic, noise, torch.zeros(1, filters, 48), synthesizer.initial_state(1, 0)
    )
    heard = track_pitch(audio[0, 200:].numpy())[5:-5]  # the first hop lies before the first frame
    assert (heard > 0).all()
    np.testing.assert_allclose(heard, pitch[0, 5 : 5 + len(heard)], rtol=0.03)


def test_minimum_phase_of_a_known_filter() -> None:
    """H(z) = 1 - 0.9 / z has its zero inside the unit circle, so it is its own minimum phase."""
    response = np.fft.rfft([1.0, -0.9], N_FFT)
    phase = minimum_phase(torch.from_numpy(np.log(np.abs(response))))
    np.testing.assert_allclose(phase, np.angle(response), atol=1e-6)


def test_the_teacher_follows_a_glide_and_knows_noise() -> None:
    random = np.random.default_rng(0)
    hertz = np.repeat(np.linspace(90, 260, 100), 200)
    phase = 2 * np.pi * np.cumsum(hertz) / 16_000
    voiced = sum(np.cos(k * phase) / k for k in range(1, 15)) * 0.1
    noise = 0.05 * random.standard_normal(20_000)
    track = track_pitch(np.concatenate((voiced, noise)).astype(np.float32))
    middle = hertz.reshape(-1, 200)[:, 100]
    np.testing.assert_allclose(track[3:97], middle[3:97], rtol=0.02)
    assert (track[104:] > 0).mean() < 0.1
