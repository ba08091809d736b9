"""Kinds of places on a server: a session is counted by what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from streaming.wire.protocol import Hello

Place = Literal["computing", "publisher", "listener"]
"""``computing``: the model computes for it; ``publisher``: its codes are only passed on;
``listener``: it only hears what others send."""


def place_of(hello: Hello) -> Place:
    """The place that a session takes."""
    if hello.role == "subscribe":
        return "listener"
    return "publisher" if hello.is_passed_on else "computing"
