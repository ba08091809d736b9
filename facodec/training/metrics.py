"""Objective speech quality between a reference and what a codec made of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from facodec.bundled.features import mel_filterbank
from facodec.config import SAMPLE_RATE
from facodec.extras import need

Audio = NDArray[np.float32]
MEL_FFT, MEL_HOP, MEL_BANDS = 1024, 256, 80
INAUDIBLE = -80.0
"""dB of full scale that counts as silence: quieter than that is not told apart."""
FLOOR_BLOCK, FLOOR_SHARE = 320, 0.1
"""The noise floor: the level that this share of the blocks of 20 ms stays below."""
CLICK_BLOCK, CLICK_SURROUNDINGS = 32, 10
"""A click lasts a block of 2 ms and is judged by as many blocks before and behind it."""
CLICK_RISE, CLICK_EXCESS = 10.0, 6.0
"""dB that the changes from sample to sample in a click stand out of what surrounds it, and exceed
the largest ones there in the reference."""


def log_mel_distance(reference: Audio, degraded: Audio) -> float:
    """Mean absolute difference of log10 mels: 80 bands, n_fft 1024, hop 256, floor 1e-5."""
    window = torch.hann_window(MEL_FFT)
    both = torch.from_numpy(np.stack((reference, degraded)))
    spectrum = torch.stft(both, MEL_FFT, MEL_HOP, window=window, return_complex=True).abs()
    mels = spectrum.transpose(1, 2) @ mel_filterbank(MEL_BANDS, MEL_FFT)
    logs = mels.clamp_min(1e-5).log10()
    return float((logs[0] - logs[1]).abs().mean())


def quality(reference: Audio, degraded: Audio) -> dict[str, float]:
    """PESQ-wb, STOI, ESTOI and log-mel L1 of ``degraded`` (N,) against ``reference`` (N,).
    Raises ValueError where PESQ hears no speech."""
    need("bench", "pesq", "pystoi")
    from pesq import NoUtterancesError, pesq
    from pystoi import stoi

    try:
        opinion = float(pesq(SAMPLE_RATE, reference, degraded, "wb"))
    except NoUtterancesError:
        raise ValueError("expected speech that PESQ hears, got none") from None
    return {
        "pesq": opinion,
        "stoi": float(stoi(reference, degraded, SAMPLE_RATE)),
        "estoi": float(stoi(reference, degraded, SAMPLE_RATE, extended=True)),
        "log_mel": log_mel_distance(reference, degraded),
    }


def pitch_agreement(reference: NDArray[np.float32], decoded: Audio) -> dict[str, float]:
    """Voicing error (share of frames) and gross pitch error (share of frames voiced in both that
    are more than 20 % off) of pitch tracks (T,) in Hz, 0 where unvoiced."""
    voiced = (reference > 0) & (decoded > 0)
    off = np.abs(decoded[voiced] / reference[voiced] - 1.0) > 0.2
    return {
        "voicing_error": float(((reference > 0) != (decoded > 0)).mean()),
        "gross_pitch_error": float(off.mean()) if voiced.any() else 0.0,
    }


def level_change(reference: Audio, degraded: Audio) -> float:
    """Level of ``degraded`` over that of ``reference`` in dB."""
    power = [float(np.square(x, dtype=np.float64).mean()) + 1e-12 for x in (reference, degraded)]
    return 10.0 * float(np.log10(power[1] / power[0]))


def noise_floor_change(reference: Audio, degraded: Audio) -> float:
    """Noise floor of ``degraded`` over that of ``reference`` in dB, silence being the lowest."""
    floors = [
        float(np.quantile(_levels(x, FLOOR_BLOCK), FLOOR_SHARE)) for x in (reference, degraded)
    ]
    return max(floors[1], INAUDIBLE) - max(floors[0], INAUDIBLE)


def clicks(reference: Audio, degraded: Audio) -> int:
    """Clicks in ``degraded`` (N,) that ``reference`` (N,) has not: sudden jumps of the waveform."""
    steps = (np.diff(x, prepend=x[:1]) for x in (reference, degraded))
    before, after = (np.maximum(_levels(x, CLICK_BLOCK), INAUDIBLE) for x in steps)
    padded = [np.pad(x, CLICK_SURROUNDINGS, mode="edge") for x in (before, after)]
    around = [
        np.lib.stride_tricks.sliding_window_view(x, 2 * CLICK_SURROUNDINGS + 1) for x in padded
    ]
    sudden = after > np.median(around[1], axis=1) + CLICK_RISE
    return int((sudden & (after > around[0].max(axis=1) + CLICK_EXCESS)).sum())


def _levels(audio: Audio, block: int) -> NDArray[np.float64]:
    """Level of each whole block in dB of full scale."""
    whole = audio[: len(audio) // block * block].reshape(-1, block)
    return np.asarray(10.0 * np.log10(np.square(whole, dtype=np.float64).mean(axis=1) + 1e-12))
