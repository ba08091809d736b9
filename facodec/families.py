"""Model families and the backends they compute in: a table of how, or why not.

A family is one network, whatever its weights. This module is light: a family's own modules are
imported by what the table names, when a model is loaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from facodec.reasons import FileError, shown, why

if TYPE_CHECKING:
    from facodec.bundled.model import LiveModel
    from facodec.codec import Codec
    from facodec.published.model import Ns3Model

log = logging.getLogger(__name__)

Make: TypeAlias = "Callable[[Path, str, str], Codec]"
"""A folder, a device as PyTorch names it, and the backend -> a codec."""

Read: TypeAlias = "Callable[[Path], LiveModel | Ns3Model]"

BACKENDS = ("auto", "float32", "bf16", "int8", "native", "onnx")
"""``auto`` is the fastest that keeps the codes and the equality of streams and offline calls."""


@dataclass(frozen=True)
class Family:
    """A row of the table. ``files``: those of its weights; ``holds``: whether a folder has weights
    of this family; ``read``: the network in it, on the CPU and in plain float32, None where there
    is no network but graphs; ``backends``: how a codec is made, or the reason why there is none,
    by the name of the backend."""

    name: str
    files: str
    holds: Callable[[Path], bool]
    read: Read | None
    backends: Mapping[str, Make | str]

    @property
    def offered(self) -> tuple[str, ...]:
        """Names of the backends that it computes in, where the machine can."""
        return tuple(name for name in BACKENDS if not isinstance(self.backends[name], str))

    def load(self, folder: Path, device: str, backend: str) -> Codec:
        """A codec from a folder of its weights. Raises ValueError with the reason for a backend
        that it does not compute in."""
        make = self.backends[backend]
        if isinstance(make, str):
            raise ValueError(
                f"expected a backend of {self.name} ({', '.join(self.offered)}), got {backend!r}: "
                f"{make}"
            )
        return make(folder, device, backend)


def family_of(folder: Path, families: Sequence[Family] | None = None) -> Family:
    """The family, of these or of all, whose weights are in a folder. Raises FileError where there
    are none, saying what was looked for."""
    known = FAMILIES if families is None else families
    for family in known:
        if family.holds(folder):
            return family
    try:
        there = ", ".join(sorted(map(shown, os.listdir(folder)))[:10]) or "nothing"
    except OSError as error:
        raise FileError(f"cannot read the folder {shown(folder)}: {why(error)}") from error
    looked_for = " or ".join(family.files for family in known)
    raise FileError(f"no weights in {shown(folder)}: expected {looked_for}, got {there}")


def read_model(folder: Path) -> LiveModel | Ns3Model:
    """The network whose weights are in ``folder``, on the CPU and in plain float32. Raises
    ValueError or FileError where there are none."""
    networks = [family for family in FAMILIES if family.read is not None]
    read = family_of(folder, networks).read
    assert read is not None
    return read(folder)


def _holds_graphs(folder: Path) -> bool:
    from facodec.onnx import SIDECAR

    return os.path.lexists(folder / SIDECAR)


def _holds_live(folder: Path) -> bool:
    from facodec.bundled.storage import WEIGHTS

    return os.path.lexists(folder / WEIGHTS)


def _holds_ns3(folder: Path) -> bool:
    from facodec.published.checkpoint import ENDINGS, PARTS

    names = (stem + ending for stem in PARTS.values() for ending in ENDINGS)
    return any(os.path.lexists(folder / name) for name in names)


def _read_live(folder: Path) -> LiveModel:
    from facodec.bundled.storage import load_live

    return load_live(folder)


def _read_ns3(folder: Path) -> Ns3Model:
    from facodec.published.checkpoint import load_ns3

    return load_ns3(folder)


def _live(folder: Path, device: str, backend: str) -> Codec:
    from facodec.codec import Codec
    from facodec.weights.hashing import identity_of
    from facodec.weights.timbres import load_voices

    network = _read_live(folder)
    identity = identity_of(network)
    codec = Codec(network.to(device), load_voices(folder, identity), backend, identity, folder)
    if backend == "native":
        codec.steps  # noqa: B018 - says at once where it cannot be had
    return codec


def _ns3(folder: Path, device: str, backend: str) -> Codec:
    from facodec.codec import Codec
    from facodec.published.precisions import prepare
    from facodec.weights.hashing import identity_of

    network = _read_ns3(folder)
    identity = identity_of(network)
    prepared = prepare(network.to(device), backend)
    return Codec(prepared, backend=prepared.backend, identity=identity)


def _graphs(folder: Path, device: str, backend: str) -> Codec:
    _need_cpu(device)
    return _codec_of_graphs(folder, folder)


def _exported(folder: Path, device: str, backend: str) -> Codec:
    from facodec.onnx.cache import exported

    _need_cpu(device)
    return _codec_of_graphs(exported(folder, read_model), folder)


def _codec_of_graphs(graphs: Path, weights: Path) -> Codec:
    from facodec.codec import Codec
    from facodec.onnx.runtime import load_exported
    from facodec.weights.timbres import load_voices

    model = load_exported(graphs)
    if not model.identity.weights:
        log.warning(
            "the graphs in %s do not say which weights they were exported from: codes and voices "
            "of any model %r are taken to be theirs; export them again to tell them apart",
            graphs, model.name,
        )  # fmt: skip
    voices = load_voices(weights, model.identity)
    return Codec(model, voices, model.backend, model.identity, weights)


def _need_cpu(device: str) -> None:
    if device.partition(":")[0] != "cpu":
        raise ValueError(f"expected device 'cpu' for exported graphs, got {device!r}")


ONNX_ALONE = "graphs run in ONNX Runtime alone"
NS3_ALONE = "only products of ns3 are computed in fewer bits"

FAMILIES = (
    Family(
        "graphs",
        "facodec.json and its graphs",
        _holds_graphs,
        None,
        {
            "auto": _graphs,
            "float32": ONNX_ALONE,
            "bf16": ONNX_ALONE,
            "int8": ONNX_ALONE,
            "native": ONNX_ALONE,
            "onnx": _graphs,
        },
    ),
    Family(
        "live",
        "live.safetensors",
        _holds_live,
        _read_live,
        {
            "auto": _live,
            "float32": _live,
            "bf16": NS3_ALONE,
            "int8": NS3_ALONE,
            "native": _live,
            "onnx": _exported,
        },
    ),
    Family(
        "ns3",
        "ns3_facodec_encoder and ns3_facodec_decoder (.safetensors or .bin)",
        _holds_ns3,
        _read_ns3,
        {
            "auto": _ns3,
            "float32": _ns3,
            "bf16": _ns3,
            "int8": _ns3,
            "native": "its steps are not written in C",
            "onnx": _exported,
        },
    ),
)
"""Asked in this order whether a folder is theirs."""
