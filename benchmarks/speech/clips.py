"""The clips a benchmark runs on, and how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE
from facodec.reasons import shown
from facodec.training.corpus import SHORTEST, find_files, leave_out, read_each, too_short

Audio = NDArray[np.float32]


def clips(folder: Path, most: int | None = None) -> list[tuple[str, Audio]]:
    """Speech files below ``folder`` as (name, samples at 16 kHz); ``most`` of them, spread over
    the folder so that many speakers take part. Shorter ones than training takes, which PESQ and
    STOI cannot judge either, are left out, by name; a folder without others is a ValueError."""
    files = find_files(folder)
    if most is not None and most < len(files):
        files = [files[i * len(files) // most] for i in range(most)]
    read = list(_read(files, folder))
    found = [(name, audio) for name, audio in read if len(audio) >= SHORTEST]
    if not found:
        raise too_short(folder, SHORTEST, max((len(audio) for _, audio in read), default=0))
    for name, audio in read:
        if len(audio) < SHORTEST:
            leave_out(
                f"{shown(name)}: expected at least {SHORTEST / SAMPLE_RATE:g} s, "
                f"got {len(audio) / SAMPLE_RATE:.2g} s"
            )
    return found


def use_one_thread() -> None:
    """One thread for PyTorch: clips are too short to share, and two such processes on two cores
    would take turns waiting for each other's threads."""
    torch.set_num_threads(1)


def _read(files: list[Path], folder: Path) -> Iterator[tuple[str, Audio]]:
    for path, audio in read_each(files):
        yield str(path.relative_to(folder)), audio
