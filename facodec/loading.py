"""Find a model by name or folder and make a codec of it."""

from __future__ import annotations

from pathlib import Path

import torch

from facodec.codec import Codec
from facodec.weights import BUNDLED_MODEL, bundled_path
from facodec.weights.storage import load_live
from facodec.weights.voices import load_voices


def load(model: str | Path = BUNDLED_MODEL, device: str = "cpu") -> Codec:
    """A codec from the bundled model's name, or from a folder of weights.

    A folder holds either the official ``ns3_facodec_encoder.bin`` and ``ns3_facodec_decoder.bin``
    (or the same as ``.safetensors``), or ``live.safetensors`` that ``facodec train`` exported.
    ``device``: as PyTorch names it (``cpu``, ``cuda``, ``cuda:1``, ``mps``).
    Raises ValueError where there is neither, saying what was looked for, or no such device.
    """
    _check_device(device)
    folder = bundled_path() if str(model) == BUNDLED_MODEL else Path(model)
    if not folder.is_dir():
        raise ValueError(
            f"no model {str(model)!r}: wanted {BUNDLED_MODEL!r} or a folder with the weights"
        )
    if (folder / "live.safetensors").exists():
        return Codec(load_live(folder).to(device), load_voices(folder))
    from facodec.checkpoint import load_ns3

    return Codec(load_ns3(folder).to(device))


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}") from error
