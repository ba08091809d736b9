"""Cost of real speech on the wire: from an encoder here, through a room, to a listener here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.load.session import tcp_counts
from clients.library.connection import Session, connect
from clients.library.packets import CodesPacket, PausePacket
from clients.session.pausing import Run, SpeechGate
from facodec.codec import Codec
from facodec.config import CODE_LAYERS, HOP, SAMPLE_RATE
from streaming.engine.pipeline import Encode, Pipeline
from streaming.wire.media import Frames, Media, Timbre

IP_TCP = 20 + 20 + 12
"""Bytes of an IPv4 header, a TCP header and the time stamp option that every segment carries."""


@dataclass(frozen=True)
class Talk:
    """One way to send the same speech. ``size``: frames a packet."""

    size: int
    coder: bool = True
    pauses: bool = False
    voices: str = "compact"


Block = tuple[np.ndarray, list[Media]]


def encoded(codec: Codec, audio: np.ndarray, size: int) -> list[Block]:
    """Sound (n,) in blocks of ``size`` whole frames, each with the media that an encoder makes."""
    pipeline, step = Pipeline([Encode(codec, CODE_LAYERS)]), size * HOP
    whole = audio[: len(audio) // step * step].reshape(-1, step)
    return [(samples, pipeline.push(_sound(samples)).media) for samples in whole]


def _sound(samples: np.ndarray) -> Media:
    from streaming.wire.media import Sound

    return Sound(samples)


async def talk_all(
    url: str, codec: Codec, talks: Sequence[tuple[Talk, list[Block]]]
) -> list[dict[str, Any]]:
    """All talks at once, at the pace of speech: the rates of each."""
    rooms = enumerate(talks)
    return list(await asyncio.gather(*(_talk(url, codec, f"wire{i}", *t) for i, t in rooms)))


async def _talk(
    url: str, codec: Codec, room: str, talk: Talk, blocks: list[Block]
) -> dict[str, Any]:
    options: dict[str, Any] = {
        "room": room, "frames_per_packet": talk.size, "voices": talk.voices, "pauses": talk.pauses,
        "coder": codec.coder if talk.coder else None, "identity": codec.identity,
    }  # fmt: skip
    publisher = connect(url, role="publish", input="codes", **options)
    listener = connect(url, role="subscribe", output="codes", **options)
    async with publisher as out, listener as back:
        ends = {"up": out, "down": back}
        before = {way: (replace(end.wire), tcp_counts(end.transport)) for way, end in ends.items()}
        hearing = asyncio.create_task(_hear(back))
        await _speak(out, talk, blocks)
        seconds = len(blocks) * talk.size * HOP / SAMPLE_RATE
        row = {way: _rates(way, end, *before[way], seconds) for way, end in ends.items()}
        await out.finish()
        heard = await hearing
    wanted = len(blocks) * talk.size
    if heard != wanted:
        raise ValueError(f"expected {wanted} frames at the listener, got {heard}")
    return {"frames": talk.size, "coder": talk.coder, "pauses": talk.pauses, **row}


async def _speak(session: Session, talk: Talk, blocks: list[Block]) -> None:
    gate = SpeechGate() if session.pauses else None
    started = time.monotonic()
    for at, (samples, media) in enumerate(blocks, 1):
        due = started + at * talk.size * HOP / SAMPLE_RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if gate is not None:
            gate.hear(samples)
        for item in media:
            if isinstance(item, Timbre):
                await session.send_voice(item.vector, exact=item.exact)
            elif isinstance(item, Frames):
                whole = [Run(item.codes, item.codes.shape[1])]
                for run in whole if gate is None else gate.judge(item.codes):
                    if run.codes is None:
                        await session.send_pause(run.frames, run.noise)
                    else:
                        await session.send_codes(run.codes, due)


async def _hear(session: Session) -> int:
    frames = 0
    async for packet in session:
        if isinstance(packet, CodesPacket):
            frames += packet.codes.shape[1]
        elif isinstance(packet, PausePacket):
            frames += packet.frames
    return frames


def _rates(way: str, end: Session, wire: Any, tcp: dict[str, int] | None, seconds: float) -> Any:
    """kbit/s one way, of messages alone and of all that the kernel counted, with headers."""
    payload = getattr(end.wire, f"bytes_{way}") - getattr(wire, f"bytes_{way}")
    now = tcp_counts(end.transport)
    on_wire = None
    if tcp is not None and now is not None:
        grown = {name: now[name] - tcp[name] for name in now}
        on_wire = grown[f"bytes_{way}"] + IP_TCP * grown[f"segments_{way}"]
    kilobits = 8e-3 / seconds
    return {
        "payload_kbit_s": payload * kilobits,
        "on_wire_kbit_s": None if on_wire is None else on_wire * kilobits,
    }
