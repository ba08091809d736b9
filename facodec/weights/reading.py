"""The one door for files of weights: safetensors, and PyTorch's own files of plain tensors.

Nothing in a file is executed, nothing is unpacked to more than the file itself holds, and numbers
are finite.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from facodec.files import read_json
from facodec.reasons import FileError, shown, why

Config = TypeVar("Config")

LARGEST_FILE = 8 << 30
LARGEST_JSON = 1 << 20
LARGEST_WIDTH, MOST_BLOCKS = 2048, 64
"""Largest sizes of a model; ours has a width of 256 and 5 blocks."""
CHUNK = 1 << 20
SLACK = 1 << 16
"""Bytes that tensors may have more than their file, for alignment."""


class WeightsError(FileError):
    """A file of weights is missing, damaged, or not what it should be; the text says why."""


def read_tensors(path: Path, told: object = None) -> dict[str, Tensor]:
    """All tensors of a ``.safetensors`` or PyTorch file by name, on the CPU.

    ``told``: the SHA-256 that the file beside a ``.safetensors`` file has for it, None where it has
    none. Raises WeightsError for a file that is neither, is not as ``told``, holds numbers that are
    not finite, would run code, or would take more memory than its size.
    """
    if path.suffix != ".safetensors":
        found = read_pickled(path)
        if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
            raise WeightsError(
                f"{shown(path)}: expected tensors by name, got {type(found).__name__}"
            )
        tensors = {str(name): tensor for name, tensor in found.items()}
    else:
        _check_size(path)
        if told is not None:
            check_digest(path, told)
        try:
            tensors = safetensors.torch.load_file(path)
        except Exception as error:  # its own errors have no common base
            raise _no_tensors(path, error) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{shown(path)}: {name} holds numbers that are not finite")
    return tensors


def read_pickled(path: Path, device: str = "cpu") -> Any:
    """The values in a file that ``torch.save`` wrote: tensors, numbers, texts, and lists and
    dictionaries of them. Raises WeightsError like :func:`read_tensors`."""
    size = _check_size(path)
    _check_archive(path, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on what it then refuses or reads
            found = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:  # PyTorch's own words recommend to read it anyway
        reason = "it is damaged, or holds objects that would run code"
        raise WeightsError(f"{shown(path)}: not a file of plain tensors: {reason}") from error
    except Exception as error:  # damage meets any line of the reader of a foreign format
        raise _no_tensors(path, error) from error
    held: dict[int, int] = {}
    for tensor in _tensors(found):
        storage = tensor.untyped_storage()
        taken = tensor.numel() * tensor.element_size()
        held[storage.data_ptr()] = max(storage.nbytes(), held.get(storage.data_ptr(), 0))
        if taken > storage.nbytes() or sum(held.values()) > size + SLACK:
            raise WeightsError(f"{shown(path)}: its tensors would take more than its {size} bytes")
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises WeightsError."""
    found = sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(CHUNK):
                found.update(piece)
    except OSError as error:
        raise WeightsError(f"cannot read {shown(path)}: {why(error)}") from error
    return found.hexdigest()


def check_digest(path: Path, told: object) -> None:
    """Raises WeightsError where a file is not the one whose SHA-256 was noted beside it."""
    if (found := digest_of(path)) != told:
        raise WeightsError(
            f"{shown(path)} is damaged, or not the file that was written with those beside it: "
            f"expected the SHA-256 {str(told)[:64]}, got {found}"
        )


def read_config(path: Path, kind: type[Config]) -> Config:
    """Sizes of a model, a dataclass of whole numbers, from JSON; 0 is taken where it is what is
    meant without a number. Raises FileError."""
    return config_of(read_json(path, LARGEST_JSON), path, kind)


def config_of(values: object, path: Path, kind: type[Config]) -> Config:
    """Sizes of a model from what :func:`read_config` reads, which lay in ``path``."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict) or set(values) - known:
        named = sorted(set(values) - known) if isinstance(values, dict) else type(values).__name__
        raise FileError(f"{shown(path)}: expected sizes of a model, got {str(named)[:200]}")
    for name, value in values.items():
        most = MOST_BLOCKS if name.endswith("_blocks") else LARGEST_WIDTH
        least = 0 if getattr(kind, name, None) == 0 else 1
        if type(value) is not int or not least <= value <= most:
            raise FileError(
                f"{shown(path)}: expected {name} from {least} to {most}, got {str(value)[:80]}"
            )
    return kind(**values)


def _no_tensors(path: Path, error: Exception) -> WeightsError:
    reason = str(error).strip().partition("\n")[0]
    if " " not in reason:  # a bare key or number
        reason = "it is damaged"
    return WeightsError(f"{shown(path)}: not a file of plain tensors: {reason}")


def _check_size(path: Path) -> int:
    try:
        if not path.is_file():
            kind = "is no plain file" if os.path.lexists(path) else "is not there"
            raise WeightsError(f"{shown(path)} {kind}")
        size = os.stat(path).st_size
        with path.open("rb"):  # whoever reads it calls it missing where there is no permission
            pass
    except OSError as error:
        raise WeightsError(f"cannot read {shown(path)}: {why(error)}") from error
    if size > LARGEST_FILE:
        raise WeightsError(f"{shown(path)} has {size} bytes: expected at most {LARGEST_FILE}")
    return size


def _check_archive(path: Path, size: int) -> None:
    """PyTorch stores its archives uncompressed: one that unpacks to more is not its work."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            # PyTorch itself does not look at the checksums.
            damaged = archive.testzip() if unpacked <= size + SLACK else None
    except zipfile.BadZipFile:
        return  # of the older format, or damaged
    except Exception as error:  # damage meets any line of the reader of a foreign format
        raise _no_tensors(path, error) from error
    if unpacked > size + SLACK:
        raise WeightsError(f"{shown(path)} would unpack from {size} to {unpacked} bytes")
    if damaged is not None:
        raise WeightsError(f"{shown(path)} is damaged: {shown(damaged)} in it has another checksum")


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists and dictionaries."""
    waiting, seen = [value], set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, (Mapping, list, tuple)) and id(each) not in seen:
            seen.add(id(each))
            waiting += each.values() if isinstance(each, Mapping) else each
