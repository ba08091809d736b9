"""Wishes that a live command opens its sessions with."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from clients.library.connection import connect
from clients.library.packets import WireCount
from clients.library.socket import OPEN_TIMEOUT
from clients.session.live_options import LiveOptions
from clients.session.talkers import SourceTalker
from clients.session.voicing import Voicing
from facodec.config import MIN_LAYERS
from streaming.wire.protocol import Format

if TYPE_CHECKING:
    from clients.offline.local import LocalCodec


def opening(
    wanted: LiveOptions,
    voicing: Voicing,
    talker: SourceTalker,
    local: LocalCodec | None,
    *,
    resume: str | None,
    wire: WireCount,
    tell: Callable[[str], None],
) -> connect:
    """The next session of a live command. ``resume``: what the last one may be taken over with;
    ``wire``: counts them all; ``tell``: gets a sentence on a connection that is lost."""
    media: Format = "codes" if local is not None or wanted.records else "pcm"
    here = wanted.converts_here
    return connect(
        wanted.url,
        role=voicing.role,
        input=media if wanted.listens else None,
        output=media if wanted.plays or wanted.records else None,
        # Nobody waits for a file, whose result is to be that of the codec to the last bit.
        pcm="f32" if wanted.fast else "s16",
        model=wanted.model,
        voice=voicing.voice,
        room=wanted.room,
        layers=MIN_LAYERS if here else wanted.layers,
        frames_per_packet=wanted.frames_per_packet,
        token=wanted.token,
        ca=wanted.ca,
        seed=wanted.seed,
        resume=resume,
        pitch=None if here else wanted.pitch,
        talker=talker.for_server,
        identity=None if local is None else local.codec.identity,
        # A file read fast is to come out as the codec gives it, to the last bit.
        voices="exact" if wanted.fast else "compact",
        coder=None if local is None else local.codec.coder,
        live=wanted.hears_live,
        pauses=local is not None and wanted.may_pause and voicing.role != "convert",
        redundancy=wanted.repeats,
        fewer_layers=local is not None and not wanted.fast,
        datagrams=not wanted.fast,
        # Of what is spoken now only the newest is worth hearing after an outage.
        replay="all" if wanted.fast else "newest",
        tell=tell,
        ready_timeout=None if wanted.role == "subscribe" else OPEN_TIMEOUT,
        wire=wire,
    )
