"""Noise and reverberation that speech for training is put into: the encoder hears them, the decoder
is to say it without."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]
KINDS = ("white", "pink", "fan", "babble")
SNR_DB = (5.0, 30.0)
REVERBERANT = 0.5
DECAY = (0.15, 0.6)
"""Seconds in which reverberation falls by 60 dB."""
DIRECT_DB = (0.0, 15.0)
"""Level of the direct sound over that of its reverberation."""
FAN_FLOOR = 50.0
"""Hz from which on the rush of a fan falls by 6 dB an octave."""
VOICES = 5
"""Voices of a babble."""


def spoil(audio: Audio, another: Callable[[], Audio], random: np.random.Generator) -> Audio:
    """Puts speech (N,) into a noise of 5 to 30 dB below it and, every other time, reverberation.

    ``another`` draws other speech, for babble. As long and at the same time as what was given.
    """
    sound = reverberant(audio, random) if random.random() < REVERBERANT else audio
    noise = noise_of(str(random.choice(KINDS)), len(audio), random, another)
    wanted = np.sqrt(np.mean(sound**2)) * 10.0 ** (-random.uniform(*SNR_DB) / 20.0)
    noise *= wanted / max(1e-9, float(np.sqrt(np.mean(noise**2))))
    spoiled = sound + noise
    return np.asarray(spoiled / max(1.0, float(np.abs(spoiled).max())), dtype=np.float32)


def reverberant(audio: Audio, random: np.random.Generator) -> Audio:
    """Speech (N,) as in a room: the direct sound and, for its echoes, noise that decays."""
    seconds = random.uniform(*DECAY)
    length = int(seconds * SAMPLE_RATE)
    decay = 10.0 ** (-3.0 * np.arange(length) / length)
    echoes = random.standard_normal(length) * decay
    echoes[: int(0.002 * SAMPLE_RATE)] = 0.0
    echoes *= 10.0 ** (-random.uniform(*DIRECT_DB) / 20.0) / np.sqrt(np.sum(echoes**2))
    echoes[0] = 1.0
    size = 1 << int(len(audio) + length - 1).bit_length()
    sound = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(echoes, size), size)
    return np.asarray(sound[: len(audio)], dtype=np.float32)


def noise_of(
    kind: str,
    length: int,
    random: np.random.Generator,
    another: Callable[[], Audio] | None = None,
) -> Audio:
    """Noise (length,) of one of :data:`KINDS`, at a level of its own; babble is of other speech."""
    if kind == "babble":
        if another is None:
            raise ValueError("expected other speech to make babble of, got none")
        voices = [np.resize(another(), length) for _ in range(VOICES)]
        even = [voice / max(1e-4, float(np.sqrt(np.mean(voice**2)))) for voice in voices]
        return np.asarray(np.sum(even, axis=0), dtype=np.float32)
    made = random.standard_normal(length).astype(np.float32)
    if kind == "white":
        return made
    bins = np.maximum(np.arange(length // 2 + 1), 1)
    if kind == "pink":
        return np.fft.irfft(np.fft.rfft(made) / np.sqrt(bins), length).astype(np.float32)
    floor = FAN_FLOOR * length / SAMPLE_RATE
    noise = np.fft.irfft(np.fft.rfft(made) / np.maximum(bins / floor, 1.0), length)
    noise += _blades(length, random) * np.sqrt(np.mean(noise**2))
    return noise.astype(np.float32)


def _blades(length: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Tones of a fan: the rate its blades pass at, and overtones that fade."""
    rate, time = random.uniform(60.0, 240.0), np.arange(length) / SAMPLE_RATE
    tones = (
        random.uniform(0.0, 0.8) / n * np.sin(2 * np.pi * (n * rate * time + random.random()))
        for n in range(1, 6)
    )
    return np.asarray(np.sum(list(tones), axis=0), dtype=np.float64)
