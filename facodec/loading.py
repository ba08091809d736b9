"""Find a model by name or folder and make a codec of it."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from facodec.bundled.model import LiveModel
from facodec.bundled.storage import WEIGHTS, load_live
from facodec.codec import Codec
from facodec.onnx import SIDECAR
from facodec.published.checkpoint import load_ns3
from facodec.published.model import Ns3Model
from facodec.published.precisions import PRECISIONS, prepare
from facodec.weights import BUNDLED_MODEL, bundled_path
from facodec.weights.hashing import identity_of
from facodec.weights.timbres import load_voices

log = logging.getLogger(__name__)

LIVE_BACKENDS = ("auto", "float32", "native")
BACKENDS = (*PRECISIONS, "native", "onnx")
"""``bf16`` and ``int8`` are for the published model on a CPU (:mod:`facodec.published.precisions`),
``native`` for the bundled one, in C (:mod:`facodec.bundled.steps.native`); ``onnx`` runs exported
graphs in ONNX Runtime."""


def load(model: str | Path = BUNDLED_MODEL, device: str = "cpu", backend: str = "auto") -> Codec:
    """A codec from the bundled model's name, or from a folder of weights.

    A folder holds the official ``ns3_facodec_encoder.bin`` and ``ns3_facodec_decoder.bin`` (or
    the same as ``.safetensors``), ``live.safetensors`` that ``facodec train`` exported, or graphs
    that ``facodec export`` wrote.
    ``device``: as PyTorch names it (``cpu``, ``cuda``, ``cuda:1``, ``mps``).
    ``backend``: how it computes, see :data:`BACKENDS`. ``auto`` takes the fastest that keeps the
    codes and the equality of streams and offline calls; :attr:`Codec.backend` says which that is.
    Raises ValueError where there is no such model, device or backend, saying what
    was looked for.
    """
    if backend not in BACKENDS:
        raise ValueError(f"got backend {backend!r}, wanted one of {', '.join(BACKENDS)}")
    _check_device(device)
    folder = weights_folder(model)
    if (folder / SIDECAR).exists():
        return _load_graphs(folder, folder, device, backend)
    if backend == "onnx":
        from facodec.onnx.cache import exported

        return _load_graphs(exported(folder, read_model), folder, device, backend)
    read = read_model(folder)
    identity = identity_of(read)
    read = read.to(device)
    if isinstance(read, Ns3Model):
        return Codec(prepare(read, backend), identity=identity)
    if backend not in LIVE_BACKENDS:
        raise ValueError(
            f"backend {backend!r} is not for this model: wanted {', '.join(LIVE_BACKENDS)} or onnx"
        )
    codec = Codec(read, load_voices(folder, identity), backend, identity, folder)
    if backend == "native":
        codec.steps  # noqa: B018 - says at once where it cannot be had
    return codec


def weights_folder(model: str | Path) -> Path:
    """Where the weights of a model are, by name or folder; a ValueError where there are none."""
    folder = bundled_path() if str(model) == BUNDLED_MODEL else Path(model)
    if not folder.is_dir():
        raise ValueError(
            f"no model {str(model)!r}: wanted {BUNDLED_MODEL!r} or a folder with the weights"
        )
    return folder


def read_model(folder: Path) -> LiveModel | Ns3Model:
    """The model whose weights are in ``folder``, on the CPU and in plain float32."""
    return load_live(folder) if (folder / WEIGHTS).exists() else load_ns3(folder)


def _load_graphs(graphs: Path, weights: Path, device: str, backend: str) -> Codec:
    from facodec.onnx.runtime import load_exported

    if torch.device(device).type != "cpu" or backend not in ("auto", "onnx"):
        raise ValueError(
            f"got device {device!r} and backend {backend!r}: exported graphs run on the CPU, "
            "as backend onnx"
        )
    model = load_exported(graphs)
    if not model.identity.weights:
        log.warning(
            "the graphs in %s do not say which weights they were exported from: codes and voices "
            "of any model %r are taken to be theirs; export them again to tell them apart",
            graphs, model.name,
        )  # fmt: skip
    return Codec(
        model, load_voices(weights, model.identity), identity=model.identity, folder=weights
    )


def _check_device(device: str) -> None:
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device {device!r} cannot be used here: {reason}") from error
