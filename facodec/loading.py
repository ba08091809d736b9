"""Find a model by name or folder and make a codec of it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from facodec.codec import Codec
from facodec.families import BACKENDS, family_of
from facodec.files import folder_fault
from facodec.reasons import shown, why
from facodec.weights import BUNDLED_MODEL, bundled_path


def load(model: str | Path = BUNDLED_MODEL, device: str = "cpu", backend: str = "auto") -> Codec:
    """A codec from the bundled model's name, or from a folder of weights.

    A folder holds the official ``ns3_facodec_encoder.bin`` and ``ns3_facodec_decoder.bin`` (or
    the same as ``.safetensors``), ``live.safetensors`` that ``facodec train`` exported, or graphs
    that ``facodec export`` wrote.
    ``device``: as PyTorch names it (``cpu``, ``cuda``, ``cuda:1``, ``mps``).
    ``backend``: how it computes, see :data:`facodec.families.FAMILIES`. ``auto`` takes the fastest
    that keeps the codes and the equality of streams and offline calls; :attr:`Codec.backend` says
    which that is, once there are streams.
    Raises ValueError where there is no such model, device or backend, saying what
    was looked for.
    """
    if backend not in BACKENDS:
        raise ValueError(f"expected a backend of {', '.join(BACKENDS)}, got {backend!r}")
    need_device(device)
    folder = weights_folder(model)
    return family_of(folder).load(folder, device, backend)


def weights_folder(model: str | Path) -> Path:
    """Returns the folder of a model's weights, by name or folder. Raises ValueError where there are
    none."""
    folder = bundled_path() if str(model) == BUNDLED_MODEL else Path(model)
    if not os.path.isdir(folder):  # which takes names of any length
        raise ValueError(
            f"no model '{shown(model)}': expected {BUNDLED_MODEL!r} or a folder with the weights, "
            f"got one that {folder_fault(folder)}"
        )
    try:
        os.stat(folder / os.curdir)
    except OSError as error:
        raise ValueError(f"cannot read the folder {shown(model)}: {why(error)}") from error
    return folder


def need_device(device: str) -> None:
    """Raises ValueError early for a device that PyTorch cannot use here."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}") from error
