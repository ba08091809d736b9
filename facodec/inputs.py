"""Inputs and outputs of a codec: arrays and tensors, checked, of its own model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from facodec.arrays import Codes, Timbre, as_array, as_samples, check_timbre
from facodec.bitstream import check_codes
from facodec.bundled.background import without_background
from facodec.bundled.conditioning import condition
from facodec.bundled.levels import levelled, speech_level
from facodec.config import ABSENT, CODE_LAYERS, HOP
from facodec.identity import AGAIN, Array, ModelIdentity, belonging, model_of, need_model

DECODE = "decode them with the model they were encoded with (--model)"


class Inputs:
    """The checks of a codec, whose model has an ``identity`` and computes on a ``device``."""

    device: torch.device

    @property
    def identity(self) -> ModelIdentity:
        """Identity of the model that codes and timbres belong to."""
        raise NotImplementedError

    def tensor_codes(self, codes: ArrayLike | Tensor) -> Tensor:
        """Checked codes (K, n) -> (1, 6, n) for the model, layers left out marked absent."""
        checked = torch.from_numpy(np.ascontiguousarray(self.check_codes(codes)))
        filled = torch.full((1, CODE_LAYERS, checked.shape[1]), ABSENT, dtype=torch.long)
        filled[0, : checked.shape[0]] = checked
        return filled.to(self.device)

    def check_codes(self, codes: ArrayLike | Tensor) -> Codes:
        """Checked codes (K, n) of this model, as a plain array. Raises ValueError."""
        need_model("the codes were", model_of(codes), self.identity, DECODE)
        return check_codes(as_array(codes))

    def tensor_timbre(self, timbre: ArrayLike | Tensor) -> Tensor:
        """Checked timbre (256,) -> (1, 256) for the model."""
        array = self.check_voice(timbre)
        return torch.from_numpy(array.copy()).unsqueeze(0).to(self.device)

    def check_voice(self, timbre: ArrayLike | Tensor) -> Timbre:
        """Checked timbre (256,) of this model, as a plain array. Raises ValueError."""
        need_model("the voice was", model_of(timbre), self.identity, AGAIN)
        return check_timbre(timbre)

    def _own(self, array: Array) -> Array:
        return belonging(array, self.identity)

    def _reference(self, audio: ArrayLike | Tensor) -> Tensor:
        """Audio (N,) of a voice -> (1, N) for the model, at the level that it hears voices at."""
        samples = as_samples(audio)
        clear = without_background(samples)
        return self._audio(levelled(clear, speech_level(condition(clear))))

    def _audio(self, audio: ArrayLike | Tensor) -> Tensor:
        samples = as_samples(audio)
        if not len(samples):
            raise ValueError("expected at least one sample of audio, got none")
        padded = np.pad(samples, (0, -len(samples) % HOP))
        return torch.from_numpy(padded).unsqueeze(0).to(self.device)
