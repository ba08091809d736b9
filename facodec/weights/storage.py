"""Reading and writing weights of the live model.

float16 on disk, float32 in memory. Beside them ``model.json`` holds the sizes of the model and
``train.json`` the settings it was trained with.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from facodec.config import LiveConfig
from facodec.live import LiveModel

WEIGHTS = "live.safetensors"
SIZES = "model.json"


def save_live(model: LiveModel, folder: Path) -> None:
    """Write the weights as float16 safetensors, and the sizes beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    save_file(half, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes files that their owner alone can read
    (folder / SIZES).write_text(json.dumps(asdict(model.config), indent=2) + "\n")


def load_live(folder: Path) -> LiveModel:
    """Read what :func:`save_live` wrote; missing, unexpected or mis-shaped weights are a
    ValueError naming them."""
    try:
        config = LiveConfig(**json.loads((folder / SIZES).read_text()))
        weights = load_file(folder / WEIGHTS)
    except (OSError, TypeError, ValueError, SafetensorError) as e:
        raise ValueError(f"cannot read a live model from {folder}: {e}") from e
    model = LiveModel(config)
    try:
        model.load_state_dict({k: v.float() for k, v in weights.items()})
    except RuntimeError as e:
        raise ValueError(f"{folder / WEIGHTS} does not fit its {SIZES}: {e}") from e
    return model.eval()
