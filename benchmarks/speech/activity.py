"""Labelled mixes of speech and noise, and what a voice-activity decision makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facodec.config import HOP, SAMPLE_RATE
from facodec.link.activity import VoiceActivity
from facodec.link.bands import Audio, BandMeter, Powers, decibel
from facodec.training.noise import noise_of

AUDIBLE = 30.0
"""dB below its loud frames that a frame of clean speech still counts as speech."""
P56_HOLD = 16
"""Hops, 200 ms, by which speech is prolonged in its activity as ITU-T P.56 measures it."""
KINDS = ("white", "pink", "babble")


@dataclass(frozen=True)
class Mix:
    """Sound (200 n,), and which of its hops (n,) hold speech."""

    audio: Audio
    speech: NDArray[np.bool_]


def conversation(clips: Sequence[Audio], activity: float, seed: int = 0, hold: int = 0) -> Mix:
    """Clips with pauses of random length between them, so that about ``activity`` is speech; the
    labels are by the energy of each clip's frames. ``hold``: hops after speech that count for the
    activity too: :data:`P56_HOLD` is how it is commonly measured."""
    r = np.random.default_rng(seed)
    parts, labels = [], []
    for clip in clips:
        whole = clip[: len(clip) // HOP * HOP]
        speech = energetic(whole)
        pause = int(held(speech, hold).sum() / activity - len(speech))
        pause = max(0, round(pause * r.uniform(0.5, 1.5)))
        parts += [np.zeros(pause * HOP, np.float32), whole]
        labels += [np.zeros(pause, bool), speech]
    return Mix(np.concatenate(parts), np.concatenate(labels))


def energetic(clip: Audio) -> NDArray[np.bool_]:
    """Hops of clean speech within :data:`AUDIBLE` dB of its loud ones."""
    levels = decibel(_powers(clip).sum(axis=1))
    return np.asarray(levels > np.quantile(levels, 0.95) - AUDIBLE)


def held(speech: NDArray[np.bool_], hold: int) -> NDArray[np.bool_]:
    """Hops (n,) of speech, and ``hold`` after each."""
    since = np.arange(len(speech)) - np.maximum.accumulate(
        np.where(speech, np.arange(len(speech)), -hold - 1)
    )
    return since <= hold


def with_noise(mix: Mix, noise: Audio, snr: float) -> Mix:
    """The mix with noise (N,) of any length, ``snr`` dB below the mean power of its speech. Speech
    that is masked, below the noise's mean in every band, is no longer labelled: nobody hears it."""
    speech = _hops(mix.audio)[mix.speech]
    noise = np.resize(noise, len(mix.audio))
    gain = np.sqrt(np.square(speech).mean() / np.square(noise).mean()) * 10.0 ** (-snr / 20.0)
    noisy = np.asarray(mix.audio + gain * noise, np.float32)
    masking = _powers(np.asarray(gain * noise, np.float32)).mean(axis=0)
    heard = (_powers(mix.audio) > masking).any(axis=1)
    return Mix(noisy, mix.speech & heard)


def noise(kind: str, seconds: float, voices: Sequence[Audio] = (), seed: int = 0) -> Audio:
    """White, pink, or babble of all ``voices`` at once."""
    count, r = int(seconds * SAMPLE_RATE), np.random.default_rng(seed)
    if kind == "babble":
        return np.asarray(
            sum(_even(np.resize(np.roll(v, 7 * i), count)) for i, v in enumerate(voices))
        )
    return noise_of(kind, count, r)


def decide(audio: Audio, prosody: Sequence[int] | None = None) -> NDArray[np.bool_]:
    """The decision for each hop."""
    detector = VoiceActivity()
    codes = [None] * (len(audio) // HOP) if prosody is None else prosody
    return np.array([detector.push(h, c) for h, c in zip(_hops(audio), codes, strict=True)])


def score(mix: Mix, sent: NDArray[np.bool_]) -> dict[str, float]:
    """Shares: of speech frames lost, of all frames sent, of all frames that are speech."""
    return {
        "lost": float((mix.speech & ~sent).sum() / mix.speech.sum()),
        "sent": float(sent.mean()),
        "speech": float(mix.speech.mean()),
    }


def _powers(audio: Audio) -> Powers:
    """Mean squares (n, 8) of each hop's bands."""
    meter = BandMeter()
    return np.array([meter.push(hop) for hop in _hops(audio)])


def _hops(audio: Audio) -> Audio:
    return audio[: len(audio) // HOP * HOP].reshape(-1, HOP)


def _even(voice: Audio) -> Audio:
    return voice / max(float(np.sqrt(np.square(voice).mean())), 1e-6)
