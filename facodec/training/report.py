"""Progress of a run: measured through the real codec path, and a page to look at and listen to."""

from __future__ import annotations

import contextlib
import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import HOP, LiveConfig
from facodec.files import write_text
from facodec.reasons import FileError, shown
from facodec.sound.writing import write_wav
from facodec.training import pictures
from facodec.training.corpus import find_files, read_each
from facodec.training.metrics import level_change, log_mel_distance, pitch_agreement
from facodec.training.pitch import track_pitch

CLIPS = 12
"""Clips that are measured."""
HEARD = 4
"""Clips that the page lets one hear."""
PAGE = "report.html"


def validate(model: LiveModel, folder: Path) -> dict[str, float]:
    """Mean measures, ``valid_*``, of a dozen clips of ``folder`` sent through the codec."""
    was_training, codec = model.training, Codec(model)
    rows = []
    for _, audio in read_each(_spread(find_files(folder), CLIPS)):
        frames = codec.encode(audio)
        decoded = codec.decode(frames.codes, frames.timbre)[: len(audio)]
        whole = len(decoded) // HOP * HOP
        row = pitch_agreement(track_pitch(audio[:whole]), track_pitch(decoded[:whole]))
        row["log_mel"] = log_mel_distance(audio, decoded)
        row["level_db"] = level_change(audio, decoded)
        rows.append(row)
    model.train(was_training)
    if not rows:
        raise ValueError(f"no file below {shown(folder)} can be read")
    return {f"valid_{k}": float(np.mean([row[k] for row in rows])) for k in rows[0]}


def keep_examples(model: LiveModel, folder: Path, target: Path) -> None:
    """Write a few clips of ``folder`` into ``target``: as they went in, as they came out, and in
    the next one's voice, with a picture of the three."""
    was_training, codec = model.training, Codec(model)
    target.mkdir(parents=True, exist_ok=True)
    clips = [audio for _, audio in read_each(_spread(find_files(folder), HEARD))]
    for number, audio in enumerate(clips):
        frames = codec.encode(audio)
        heard = {"in": audio, "out": codec.decode(frames.codes, frames.timbre)}
        with contextlib.suppress(ValueError):  # no voice in it
            other = codec.voice(clips[(number + 1) % len(clips)])
            heard["other_voice"] = codec.convert(audio, other)
        for name, samples in heard.items():
            write_wav(target / f"{number}_{name}.wav", samples)
        pictures.spectrograms(heard, target / f"{number}.png")
    model.train(was_training)


def write_page(run: Path) -> None:
    """Draw the run's curves, and its page: them, the measures so far and the newest examples."""
    lines = read_log(run / "log.jsonl") if (run / "log.jsonl").exists() else []
    if not lines:
        return
    pictures.curves(lines, run / "curves.png")
    measured = [line for line in lines if "valid_log_mel" in line]
    examples = sorted(run.glob("examples/step_*"))
    name = html.escape(shown(run.name))
    body = [
        f"<h1>{name}: step {lines[-1]['step']}</h1>",
        '<img src="curves.png" alt="every logged number over the steps">',
        _table(measured),
        _players(examples[-1], run) if examples else "",
    ]
    style = "<style>body{font:16px sans-serif;margin:2em;max-width:70em}img{max-width:100%}</style>"
    page = f'<!doctype html><meta charset="utf-8"><title>{name}</title>{style}\n'
    write_text(run / PAGE, page + "\n".join(body) + "\n")


def _table(measured: list[dict[str, Any]]) -> str:
    if not measured:
        return "<p>Give <code>--valid DIR</code> to measure on other speech and to hear it.</p>"
    names = [name for name in measured[-1] if name.startswith("valid_")]
    head = "".join(f"<th>{name.removeprefix('valid_')}</th>" for name in names)
    rows = [
        f"<tr><td>{line['step']}</td>"
        + "".join(f"<td>{line.get(name, float('nan')):.3f}</td>" for name in names)
        for line in measured
    ]
    return f"<table><tr><th>step</th>{head}</tr>{''.join(rows)}</table>"


def _players(examples: Path, run: Path) -> str:
    parts = [f"<h2>Heard at {examples.name.replace('_', ' ')}</h2>"]
    for picture in sorted(examples.glob("*.png")):
        where = picture.relative_to(run)
        parts.append(f'<img src="{where}" alt="spectrograms">')
        for audio in sorted(examples.glob(f"{picture.stem}_*.wav")):
            name = audio.stem.partition("_")[2].replace("_", " ")
            parts.append(f'<p>{name} <audio controls src="{audio.relative_to(run)}"></audio></p>')
    return "\n".join(parts)


def _spread(files: list[Path], count: int) -> list[Path]:
    """At most ``count`` of the files, evenly spread."""
    if len(files) <= count:
        return files
    return [files[i * len(files) // count] for i in range(count)]


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; one cut short by a kill is left out."""
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def averaged_model(checkpoint: Path) -> tuple[LiveModel, int]:
    """The averaged weights of a checkpoint as a model, and the step they are from."""
    from facodec.training.loop import read_checkpoint

    state = read_checkpoint(checkpoint)
    try:
        model = LiveModel(LiveConfig(**state.get("sizes", {})))
        model.load_state_dict(state["average"])
        return model.eval(), int(state["step"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FileError(f"{shown(checkpoint)} is not a checkpoint of the model: {error}") from error
