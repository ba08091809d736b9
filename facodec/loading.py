"""Find a model by name or folder and make a codec of it."""

from __future__ import annotations

from pathlib import Path

from facodec.codec import Codec
from facodec.weights import bundled_path, load_live

BUNDLED = "live"


def load(model: str | Path = BUNDLED, device: str = "cpu") -> Codec:
    """A codec from the bundled model's name, or from a folder of weights.

    A folder holds either the official ``ns3_facodec_encoder.bin`` and ``ns3_facodec_decoder.bin``
    (or the same as ``.safetensors``), or ``live.safetensors`` that ``facodec train`` exported.
    Raises ValueError where there is neither, saying what was looked for.
    """
    folder = bundled_path() if str(model) == BUNDLED else Path(model)
    if not folder.is_dir():
        raise ValueError(
            f"no model {str(model)!r}: wanted {BUNDLED!r} or a folder with the weights"
        )
    if (folder / "live.safetensors").exists():
        return Codec(load_live(folder).to(device))
    from facodec.checkpoint import load_ns3

    return Codec(load_ns3(folder).to(device))
