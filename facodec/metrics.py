"""Objective speech quality between a reference and what a codec made of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE
from facodec.features import mel_filterbank

Audio = NDArray[np.float32]
MEL_FFT, MEL_HOP, MEL_BANDS = 1024, 256, 80


def log_mel_distance(reference: Audio, degraded: Audio) -> float:
    """Mean absolute difference of log10 mels: 80 bands, n_fft 1024, hop 256, floor 1e-5."""
    window = torch.hann_window(MEL_FFT)
    both = torch.from_numpy(np.stack((reference, degraded)))
    spectrum = torch.stft(both, MEL_FFT, MEL_HOP, window=window, return_complex=True).abs()
    mels = spectrum.transpose(1, 2) @ mel_filterbank(MEL_BANDS, MEL_FFT)
    logs = mels.clamp_min(1e-5).log10()
    return float((logs[0] - logs[1]).abs().mean())


def quality(reference: Audio, degraded: Audio) -> dict[str, float]:
    """PESQ-wb, STOI, ESTOI and log-mel L1 of ``degraded`` (N,) against ``reference`` (N,)."""
    from pesq import pesq
    from pystoi import stoi

    return {
        "pesq": float(pesq(SAMPLE_RATE, reference, degraded, "wb")),
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
