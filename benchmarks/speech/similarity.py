"""Likeness of two voices: cosine similarity of Resemblyzer's speaker embeddings.

Resemblyzer is GE2E (Wan et al., ICASSP 2018) as trained by Jemine; it normalises the level and
cuts long silences first.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.extras import install

Audio = NDArray[np.float32]
Embedding = NDArray[np.float32]
QUIETEST = 1e-5
"""Mean square root below which there is no voice to tell."""


def embed(audio: Audio) -> Embedding:
    """audio (N,) at 16 kHz -> embedding (256,) of unit length; ValueError if it is silent."""
    if not len(audio) or float(np.sqrt(np.square(audio).mean())) < QUIETEST:
        raise ValueError("expected speech, to compare voices, got silence")
    library, encoder = _speaker_encoder()
    clipped = np.clip(audio, -1.0, 1.0)
    level = library.hparams.audio_norm_target_dBFS
    voiced = library.preprocess_wav(clipped)
    if not len(voiced):  # nothing in it passes for speech: judge all of it
        voiced = library.normalize_volume(clipped, level, increase_only=True)
    embedding: Embedding = encoder.embed_utterance(voiced)
    return embedding


def similarity(one: Embedding, other: Embedding) -> float:
    """Cosine of the angle between two embeddings of unit length."""
    return float(one @ other)


def similarity_matrix(rows: list[Embedding], columns: list[Embedding]) -> NDArray[np.float32]:
    """Similarity (R, C) of every row to every column."""
    similarity: NDArray[np.float32] = np.stack(rows) @ np.stack(columns).T
    return similarity


@cache
def _speaker_encoder() -> tuple[Any, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old interfaces that its imports use
            import resemblyzer
    except ImportError as error:
        raise ValueError(
            f"voices are compared with Resemblyzer, which does not load ({error}): "
            f"{install('bench')}"
        ) from error
    return resemblyzer, resemblyzer.VoiceEncoder("cpu", verbose=False)
