"""The verifier of speakers as a teacher: its numbers, and whom it tells apart."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.training.voiceprint import PACKAGE, SHORTEST, VoicePrint, load_voiceprint
from tests.conftest import missing

TRACE = "models/camplusplus_traced_cuda_optimized.pt"


@pytest.fixture(scope="module")
def verifier() -> VoicePrint:
    if find_spec(PACKAGE) is None:
        missing("the extra 'teachers'")
    return load_voiceprint()


@pytest.fixture(scope="module")
def trace() -> Any:
    """The package's own graph, whose fused operations are of CUDA alone, with those of a CPU."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        missing("the extra 'teachers'")
    operations = torch.library.Library("aten", "IMPL")

    def convolve(x: Tensor, w: Tensor, b: Tensor, *rest: Any) -> Tensor:
        result: Tensor = F.conv2d(x, w, b, *rest)
        return result

    def add(x: Tensor, w: Tensor, z: Tensor, _: float, b: Tensor, *rest: Any) -> Tensor:
        return (convolve(x, w, b, *rest) + z).relu()

    operations.impl("cudnn_convolution_relu", lambda *a: convolve(*a).relu(), "CPU")
    operations.impl("cudnn_convolution_add_relu", add, "CPU")
    yield torch.jit.load(str(Path(spec.origin).parent / TRACE), map_location="cpu")
    operations._destroy()


@pytest.mark.parametrize("frames", [150, 251])
def test_it_gives_the_numbers_of_the_traced_graph(
    verifier: VoicePrint, trace: Any, monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    random = torch.Generator().manual_seed(frames)
    features = torch.randn(2, frames, 80, generator=random)
    monkeypatch.setattr(verifier, "_features", lambda audio: features)
    found = verifier(torch.zeros(2, 1)).relu()  # the graph ends in one
    wanted = trace(features - features.mean(1, keepdim=True))
    assert float(torch.cosine_similarity(found, wanted).min()) > 0.9999


def test_its_features_are_those_of_kaldi(verifier: VoicePrint, hello: np.ndarray) -> None:
    """One window, step by step: mean, pre-emphasis, Povey's window, powers, triangles."""
    said = hello[8000:8400].astype(np.float64)
    (found,) = verifier._features(torch.from_numpy(hello[8000:8400])[None])[0].numpy()
    said = said - said.mean()
    said[1:], said[0] = said[1:] - 0.97 * said[:-1], 0.03 * said[0]
    said *= np.hanning(400) ** 0.85
    power = np.abs(np.fft.rfft(said, 512)) ** 2
    mel = lambda hertz: 1127.0 * np.log(1.0 + hertz / 700.0)  # noqa: E731
    edges, at = np.linspace(mel(20.0), mel(8000.0), 82), mel(np.arange(256) * 31.25)
    for band in (0, 17, 79):
        triangle = np.interp(at, edges[band : band + 3], [0.0, 1.0, 0.0])
        assert abs(np.log(power[:256] @ triangle) - found[band]) < 1e-3


def test_it_tells_voices_apart(verifier: VoicePrint, hello: np.ndarray, reply: np.ndarray) -> None:
    length = 2 * SHORTEST
    parts = [hello[:length], hello[-length:], reply[:length]]
    voices = verifier(torch.from_numpy(np.stack(parts)))
    same, other = (float(voices[0] @ voices[i]) for i in (1, 2))
    assert same > other + 0.3


def test_a_gradient_gets_through_frozen_weights(verifier: VoicePrint, hello: np.ndarray) -> None:
    audio = torch.from_numpy(hello[:SHORTEST].copy())[None].requires_grad_()
    verifier(audio)[0, 0].backward()
    assert audio.grad is not None and bool(audio.grad.abs().sum() > 0)
    assert not any(weight.requires_grad for weight in verifier.buffers())
