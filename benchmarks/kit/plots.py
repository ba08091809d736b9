"""Pictures for reports, drawn without a screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.config import HOP, SAMPLE_RATE
from facodec.training.pictures import save_figure

Audio = NDArray[np.float32]


def similarity_matrices(
    panels: dict[str, NDArray[np.float32]], rows: list[str], columns: list[str], path: Path
) -> None:
    """Heat maps side by side, title -> similarity (R, C) of each row's audio to each column's
    voice; where row and column belong to one pair, a conversion should be brightest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    side = 1.5 + 0.32 * len(columns)
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(len(panels) * side + 1.5, side + 0.5), layout="constrained"
    )
    for axis, (title, matrix) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        image = axis.imshow(matrix, vmin=0.4, vmax=1.0, cmap="viridis")
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(len(columns)), columns, rotation=90, fontsize=7)
        axis.set_yticks(range(len(rows)), rows, fontsize=7)
        axis.set_xlabel("voice of the target")
    np.atleast_1d(axes)[0].set_ylabel("spoken by")
    figure.colorbar(image, ax=axes, shrink=0.8, label="similarity")
    save_figure(figure, path, dpi=110)
    pyplot.close(figure)


def pitch_tracks(tracks: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Pitch over time, name -> (T,) in Hz at 80 frames a second, 0 where unvoiced."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 3.5), layout="constrained")
    for name, track in tracks.items():
        seconds = np.arange(len(track)) * HOP / SAMPLE_RATE
        shown = np.where(track > 0, track, np.nan)
        middle = float(np.median(track[track > 0])) if (track > 0).any() else float("nan")
        axis.plot(seconds, shown, linewidth=1.2, label=f"{name}, median {middle:.0f} Hz")
    axis.set_yscale("log")
    axis.set_yticks([60, 100, 150, 200, 300, 450], ["60", "100", "150", "200", "300", "450"])
    axis.minorticks_off()
    axis.set_xlabel("seconds")
    axis.set_ylabel("Hz")
    axis.legend(fontsize=8)
    save_figure(figure, path, dpi=110)
    pyplot.close(figure)
