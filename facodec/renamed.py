"""Old names of public modules, which import their new ones for one version, with a
DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED: dict[str, str] = {
    "clients.connection": "clients.library.connection",
    "clients.files": "clients.audio.files",
    "clients.packets": "clients.library.packets",
    "clients.reconnect": "clients.library.reconnect",
    "facodec.checkpoint": "facodec.published.checkpoint",
    "facodec.live": "facodec.bundled.model",
    "facodec.metrics": "facodec.training.metrics",
    "facodec.ns3": "facodec.published.model",
    "facodec.reading": "facodec.sound.reading",
}
"""Old name -> new name."""


class OldNames:
    """A finder and loader of modules, asked first: for an old name it gives the module that has
    the new one, the same object."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves an empty module to the import system, until the one of the new name is there."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        warnings.warn(f"{old} is now {MOVED[old]}", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(MOVED[old])


def install() -> None:
    """Lets old names be imported, from now on."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())  # type: ignore[arg-type]
