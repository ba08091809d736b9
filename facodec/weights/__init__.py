"""Contents of the package beside code: weights of the bundled model, and voices for it."""

from __future__ import annotations

from pathlib import Path

BUNDLED_MODEL = "live"


def bundled_path() -> Path:
    """Folder of the weights that come with the package."""
    return Path(__file__).parent / BUNDLED_MODEL
