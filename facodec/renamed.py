"""Old names of public modules, and of names in them, which stand for the new ones for one version,
with a DeprecationWarning."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, str] = {
    "benchmarks.activity": "benchmarks.speech.activity",
    "benchmarks.statistics": "benchmarks.kit.statistics",
    "clients.connection": "clients.library.connection",
    "clients.devices": "clients.audio.devices",
    "clients.files": "clients.audio.files",
    "clients.local_server": "clients.session.local_server",
    "clients.packets": "clients.library.packets",
    "clients.reconnect": "clients.library.reconnect",
    "clients.voices": "clients.offline.voicebook",
    "facodec.activity": "facodec.link.activity",
    "facodec.arithmetic": "facodec.link.arithmetic",
    "facodec.backends": "facodec.published.precisions",
    "facodec.checkpoint": "facodec.published.checkpoint",
    "facodec.comfort": "facodec.link.comfort",
    "facodec.compiled": "facodec.native.compiled",
    "facodec.concealment": "facodec.link.concealment",
    "facodec.conditioning": "facodec.bundled.conditioning",
    "facodec.conversion": "facodec.streams.conversion",
    "facodec.entropy": "facodec.link.entropy",
    "facodec.fast": "facodec.bundled.steps",
    "facodec.features": "facodec.bundled.features",
    "facodec.live": "facodec.bundled.model",
    "facodec.loudness": "facodec.bundled.loudness",
    "facodec.metrics": "facodec.training.metrics",
    "facodec.ns3": "facodec.published.model",
    "facodec.prosody": "facodec.bundled.prosody",
    "facodec.reading": "facodec.sound.reading",
    "facodec.synthesis": "facodec.bundled.synthesis",
    "facodec.talker": "facodec.bundled.talker",
    "facodec.talkers": "facodec.bundled.several_talkers",
    "streaming.protocol": "streaming.wire.protocol",
    "streaming.settings": "streaming.server.settings",
}
"""Old name -> new name; modules in an old package follow it."""


def new_name(old: str) -> str | None:
    """The name that a module has now; None for one that was not moved."""
    package, _, module = old.rpartition(".")
    return f"{MOVED[package]}.{module}" if package in MOVED else MOVED.get(old)


class OldNames:
    """A finder and loader of modules, asked first: for an old name it gives the module that has
    the new one, the same object."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if new_name(name) else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves an empty module to the import system, until the one of the new name is there."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = new_name(old)
        assert new is not None
        warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
        sys.modules[old] = import_module(new)


def install() -> None:
    """Lets old names be imported, from now on."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())


def attributes(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the ``__getattr__`` of a module: ``moved`` maps old names in it to the full new ones.

    AttributeError for any other name."""

    def find(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = moved[name].rpartition(".")
        warnings.warn(f"{module}.{name} is now {moved[name]}", DeprecationWarning, stacklevel=2)
        return getattr(import_module(home), new)

    return find
