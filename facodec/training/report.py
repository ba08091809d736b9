"""How a run is doing: a validation through the real codec path, and curves to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facodec.codec import Codec
from facodec.config import HOP
from facodec.live import LiveModel
from facodec.metrics import level_change, log_mel_distance, pitch_agreement
from facodec.training.corpus import find_files, read_speech
from facodec.training.pitch import track_pitch

CLIPS = 12


def validate(model: LiveModel, folder: Path) -> dict[str, float]:
    """Mean measures, ``valid_*``, of a dozen clips of ``folder`` sent through the codec."""
    files = find_files(folder)
    chosen = [files[i * len(files) // CLIPS] for i in range(CLIPS)] if len(files) > CLIPS else files
    was_training, codec = model.training, Codec(model)
    rows = []
    for path in chosen:
        audio = read_speech(path)
        frames = codec.encode(audio)
        decoded = codec.decode(frames.codes, frames.timbre)[: len(audio)]
        whole = len(decoded) // HOP * HOP
        row = pitch_agreement(track_pitch(audio[:whole]), track_pitch(decoded[:whole]))
        row["log_mel"] = log_mel_distance(audio, decoded)
        row["level_db"] = level_change(audio, decoded)
        rows.append(row)
    model.train(was_training)
    return {f"valid_{k}": float(np.mean([row[k] for row in rows])) for k in rows[0]}


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one cut short by a kill is left out."""
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def plot_curves(log: Path, picture: Path) -> None:
    """Draw every logged number over the steps, a panel each, as a PNG; nothing without a log."""
    if not log.exists():
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_log(log)
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
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)


def averaged_model(checkpoint: Path) -> tuple[LiveModel, int]:
    """The averaged weights of a checkpoint as a model, and the step they are from."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    model = LiveModel()
    model.load_state_dict(state["average"])
    return model.eval(), int(state["step"])
