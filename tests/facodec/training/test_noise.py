"""Noise and reverberation for training: as loud as they say, at the same time as the speech."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.training.noise import KINDS, noise_of, reverberant, spoil


@pytest.mark.parametrize("kind", KINDS)
def test_each_noise_is_of_its_kind(kind: str, reply: np.ndarray) -> None:
    noise = noise_of(kind, 32_000, np.random.default_rng(3), lambda: reply)
    assert noise.shape == (32_000,) and noise.dtype == np.float32 and np.isfinite(noise).all()
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[200:2_000].mean(), power[8_000:].mean()  # 100 to 1000 Hz, from 4 kHz
    assert (low / high > 3) == (kind != "white")


def test_spoiled_speech_has_the_noise_it_is_to_have(hello: np.ndarray, reply: np.ndarray) -> None:
    for seed in range(12):
        spoiled = spoil(hello, lambda: reply, np.random.default_rng(seed))
        assert spoiled.shape == hello.shape and np.abs(spoiled).max() <= 1.0
        gain = np.dot(spoiled, hello) / np.dot(hello, hello)
        rest = np.mean((spoiled - gain * hello) ** 2) / np.mean((gain * hello) ** 2)
        assert -31 < 10 * np.log10(rest) < 3  # echoes may be as loud as the speech itself


def test_reverberation_moves_nothing_in_time(hello: np.ndarray) -> None:
    heard = reverberant(hello, np.random.default_rng(1))
    lags = np.fft.irfft(np.fft.rfft(heard, 1 << 18) * np.conj(np.fft.rfft(hello, 1 << 18)))
    assert int(np.argmax(lags)) == 0


def test_one_seed_gives_one_sound(hello: np.ndarray) -> None:
    first, second = (spoil(hello, lambda: hello, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)
