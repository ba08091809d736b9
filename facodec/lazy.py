"""Public faces of packages whose names are imported when they are used: torch takes its time, and
a client does without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from facodec.extras import missing


def attributes(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Returns the ``__getattr__`` of a package: ``homes`` maps its public names to their modules.

    AttributeError for any other name, MissingExtra for one whose module wants an extra that is not
    installed."""

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import_module("numpy")  # torch's own import of it swallows a Ctrl-C
        try:
            return getattr(import_module(homes[name]), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == package:
                raise
            raise missing(error.name) from error

    return find
