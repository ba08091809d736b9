"""Pictures of speech and of a run's numbers, drawn without a screen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE
from facodec.files import write_bytes

Audio = NDArray[np.float32]


def spectrograms(audios: dict[str, Audio], path: Path, seconds: float = 6.0) -> None:
    """Spectrograms, title -> audio (N,), one above the other, as a PNG."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(
        len(audios),
        1,
        figsize=(9, 2.5 * len(audios)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, audio) in zip(axes[:, 0], audios.items(), strict=True):
        shown = audio[: int(seconds * SAMPLE_RATE)] + 1e-7
        axis.specgram(shown, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, vmin=-140, vmax=-30)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("Hz")
    axes[-1, 0].set_xlabel("seconds")
    save_figure(figure, path, dpi=110)
    pyplot.close(figure)


def curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Every logged number over the steps, a panel each, as a PNG; nothing without a number."""
    pyplot = _pyplot()
    names = list(dict.fromkeys(k for line in lines for k in line if k not in ("step", "time")))
    rows = max(1, -(-len(names) // 3))
    figure, axes = pyplot.subplots(
        rows, 3, figsize=(11, 2.4 * rows), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes.flat, names, strict=False):
        points = [(line["step"], line[name]) for line in lines if name in line]
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_title(name, loc="left", fontsize=9)
    for axis in list(axes.flat)[len(names) :]:
        axis.set_visible(False)
    save_figure(figure, path, dpi=100)
    pyplot.close(figure)


def save_figure(figure: Any, path: Path, **options: Any) -> None:
    """Writes a figure of matplotlib, wholly or not at all, as the suffix has it. Raises
    FileError."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], **options)
    write_bytes(path, drawn.getvalue())


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
