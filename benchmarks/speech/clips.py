"""The clips a benchmark runs on, and how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facodec.reasons import shown
from facodec.training.corpus import find_files, read_each

Audio = NDArray[np.float32]


def clips(folder: Path, most: int | None = None) -> list[tuple[str, Audio]]:
    """Speech files below ``folder`` as (name, samples at 16 kHz); ``most`` of them, spread over
    the folder so that many speakers take part."""
    files = find_files(folder)
    if most is not None and most < len(files):
        files = [files[i * len(files) // most] for i in range(most)]
    found = list(_read(files, folder))
    if not found:
        raise ValueError(f"no file below {shown(folder)} can be read")
    return found


def use_one_thread() -> None:
    """One thread for PyTorch: clips are too short to share, and two such processes on two cores
    would take turns waiting for each other's threads."""
    torch.set_num_threads(1)


def _read(files: list[Path], folder: Path) -> Iterator[tuple[str, Audio]]:
    for path, audio in read_each(files):
        yield str(path.relative_to(folder)), audio
