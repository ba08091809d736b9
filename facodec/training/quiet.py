"""Silence, and noise in which nobody speaks, are trained to come out quiet, in any voice.

No loss of speech hears either. What is left of noise is to be no louder than a share of it in every
band, so that it neither hums nor murmurs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from facodec.bundled.features import mel_filterbank
from facodec.bundled.model import LiveModel
from facodec.config import HOP
from facodec.training.noise import noise_of
from facodec.training.spectra import spectrum

FRAMES = 60
"""Frames that are spoken, from the first of a stream."""
SILENT = 10.0**-8.5
"""Mean square that silence may have as spoken."""
HISSES = (0.0, 1e-4, 3e-4)
"""Standard deviations of the noise in what counts as silence."""
KINDS = ("white", "pink", "fan")
"""Noises that are told from speech by ear at once; babble is not."""
NOISE_DB = (-50.0, -30.0)
"""Levels of noise, of full scale."""
ALLOWED, SETTLED = 1e-3, 30
"""Share of the power of noise that may come out, from which frame on."""
WINDOW, BANDS, FLOOR = 640, 80, 1e-12

Speak = Callable[[Tensor, Tensor], Tensor]
"""Codes (B, 6, T) and timbre (B, 256) -> audio (B, 200 T)."""


class Quiet(nn.Module):
    """Codes of silence and of noise, as the encoder has them, and how loud they are as spoken.

    silence (H, 6, T) and noise (K, 6, T) are codes; timbre (K, 256) is the estimate of each noise,
    allowed (K, bands) the power that may be left of it. All are part of a checkpoint.
    """

    silence: Tensor
    noise: Tensor
    timbre: Tensor
    allowed: Tensor

    def __init__(self, model: LiveModel, random: torch.Generator) -> None:
        super().__init__()
        like = model.average_first
        basis = mel_filterbank(BANDS, WINDOW).to(like)
        self.register_buffer("basis", basis, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW).to(like), persistent=False)
        self.hear(model, random)

    basis: Tensor
    window: Tensor

    @torch.no_grad()
    def hear(self, model: LiveModel, random: torch.Generator) -> None:
        """Takes the codes anew from what the model's encoder says now."""
        like = model.average_first
        noise = torch.randn(len(HISSES), FRAMES * HOP, generator=random)
        hisses = (noise * torch.tensor(HISSES).unsqueeze(1)).to(like)
        self.register_buffer("silence", model.encode(hisses))
        noises = _noises(random).to(like)
        codes, timbre = model.encode_with_timbre(noises)
        self.register_buffer("noise", codes)
        self.register_buffer("timbre", timbre)
        self.register_buffer("allowed", ALLOWED * self._powers(noises) + FLOOR)

    def forward(self, model: LiveModel, speak: Speak, voices: Tensor) -> tuple[Tensor, Tensor]:
        """Mean bels by which silence, and by which noise, is louder than it may be: both converted
        to ``voices`` (V, 256) in turn, noise as it is as well."""
        count = len(self.silence) + len(self.noise)
        converted = model.convert_codes(torch.cat((self.silence, self.noise)), None, voices[0])
        timbre = torch.cat((voices[torch.arange(count) % len(voices)], self.timbre))
        audio = speak(torch.cat((converted, self.noise)), timbre)
        silence, noises = audio.split((len(self.silence), 2 * len(self.noise)))
        power = silence.unflatten(1, (-1, HOP)).square().mean(-1)
        rest = self._powers(noises[:, SETTLED * HOP :]) / self.allowed.repeat(2, 1)
        return (power / SILENT).clamp_min(1.0).log10().mean(), rest.clamp_min(1.0).log10().mean()

    def _powers(self, audio: Tensor) -> Tensor:
        """Audio (B, N) -> mean power in each band (B, bands)."""
        windows = audio.unfold(1, WINDOW, HOP) * self.window
        return spectrum(windows).square().sum(-1).mean(1) @ self.basis


def _noises(random: torch.Generator) -> Tensor:
    """Noise (K, N) of each kind at a level of its own."""
    seed = int(torch.randint(1 << 30, (), generator=random))
    draw = np.random.default_rng(seed)
    noises = np.stack([noise_of(kind, FRAMES * HOP, draw) for kind in KINDS])
    level = 10.0 ** (draw.uniform(*NOISE_DB, (len(KINDS), 1)) / 20.0)
    noises *= level / np.sqrt(np.mean(noises**2, axis=1, keepdims=True))
    return torch.from_numpy(noises.astype(np.float32))
