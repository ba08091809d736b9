"""Pictures for reports, drawn without a screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]


def spectrogram_pair(before: Audio, after: Audio, path: Path, seconds: float = 6.0) -> None:
    """Spectrograms of what went in and what came out, one above the other, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, audio, title in zip(
        axes, (before, after), ("in", "out, after 4.8 kbit/s"), strict=True
    ):
        shown = audio[: int(seconds * SAMPLE_RATE)] + 1e-7
        axis.specgram(shown, NFFT=512, Fs=SAMPLE_RATE, noverlap=384, vmin=-140, vmax=-30)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("Hz")
    axes[-1].set_xlabel("seconds")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
