"""Agreement of both ends of a session on its wire, beyond what it carries."""

from __future__ import annotations

from dataclasses import dataclass

from facodec.link.entropy import FrameCoder
from streaming.wire.protocol import STAMP_EVERY, VERSION, Hello


@dataclass(frozen=True)
class Agreed:
    """Form of media on a session's wire; by default as in version 1.

    ``compact``: voices in their short form, by a budget. ``stamp_every``: packets for one with
    stamps. ``coder``: makes packets of codes smaller. ``pauses``: frames may be left out where
    nobody speaks. ``redundancy``: packets from one of codes to its repeat. ``fewer_layers``: some
    may leave out detail. ``lossy``: some may be lost, so that pauses have to be told to their end.
    """

    compact: bool = False
    stamp_every: int = 1
    coder: FrameCoder | None = None
    pauses: bool = False
    redundancy: int | None = None
    fewer_layers: bool = False
    lossy: bool = False


def agree(
    hello: Hello, coder: FrameCoder | None = None, *, pauses: bool = True, lossy: bool = False
) -> Agreed:
    """Answers the wishes of a hello. ``coder``: what its codes may be coded with here. ``pauses``:
    whether the model's frames can stand for a pause. ``lossy``: of the transport."""
    if hello.version == VERSION:
        return Agreed()
    fits = coder is not None and bool(coder.identity) and coder.identity == hello.coder
    return Agreed(
        # An enrolment is there for its voice, exact.
        compact=hello.voices == "compact" and hello.role != "enroll",
        stamp_every=hello.stamps or STAMP_EVERY,
        coder=coder if fits else None,
        pauses=pauses and bool(hello.pauses) and "codes" in hello.formats(),
        redundancy=hello.redundancy if "codes" in hello.formats() else None,
        fewer_layers=bool(hello.fewer_layers) and "codes" in hello.formats(),
        lossy=lossy,
    )
