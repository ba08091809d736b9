"""One live session of the load generator, what it sends, and the account of what came back.

It speaks the protocol through the sans-I/O WebSocket on a bare transport, which costs a third of
what a client library costs: the generator shares the machine with what it measures.
"""

from __future__ import annotations

import asyncio
import base64
import math
import socket
import struct
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from facodec import bitstream
from facodec.config import CODE_LAYERS, CODEBOOK_SIZE, HOP, SAMPLE_RATE
from streaming.wire import protocol
from streaming.wire.framing import framing_of
from streaming.wire.protocol import Audio, Codes, Done, End, Error, Hello, Ready, Voice

HOP_SECONDS = HOP / SAMPLE_RATE
SUBPROTOCOLS = {version: name for name, version in protocol.VERSIONS.items()}
TCP_COUNTS = struct.Struct("=120xQQII8xII")
"""The counters inside Linux's ``struct tcp_info``, from bytes_acked to data_segs_out."""


@dataclass(frozen=True)
class Load:
    """Work of each session. ``settle``: seconds at the start whose times are not counted (frames
    always are). ``send`` off: a session that is open and says nothing. ``stamped``: whether packets
    carry the time, without which the server's own times are not told."""

    url: str
    sessions: int
    seconds: float
    hello: Hello
    send: bool = True
    stamped: bool = True
    settle: float = 1.0
    seed: int = 0

    @property
    def period(self) -> float:
        """Seconds between two packets of one session."""
        return HOP_SECONDS * self.hello.frames_per_packet


TIMES = ("server", "turnaround", "delivery", "late")
"""Arrays of a :class:`Tally`."""


@dataclass
class Tally:
    """Observations of all sessions of a generator together.

    ``server``: queue + encode + decode of each packet, by the server's stamps. ``turnaround``: from
    when a packet was due until its answer was here. ``delivery``: of pairs, from when a packet was
    sent until its listener had it. ``late``: how late the generator itself sent. All in s.
    ``outcomes``: sessions by how they ended; ``lost``: frames sent that never came back. ``cpu``:
    seconds of the generator's own while the sessions talked.
    """

    server: array[float] = field(default_factory=lambda: array("f"))
    turnaround: array[float] = field(default_factory=lambda: array("f"))
    delivery: array[float] = field(default_factory=lambda: array("f"))
    late: array[float] = field(default_factory=lambda: array("f"))
    worst_session: float = 0.0
    cpu: float = 0.0
    sent: int = 0
    received: int = 0
    lost: int = 0
    misnumbered: int = 0
    miscounted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    payload: Counter[str] = field(default_factory=Counter)
    tcp: list[dict[str, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        times = {name: base64.b64encode(getattr(self, name).tobytes()).decode() for name in TIMES}
        return {
            **times,
            "worst_session": self.worst_session,
            "cpu": self.cpu,
            "sent": self.sent,
            "received": self.received,
            "lost": self.lost,
            "misnumbered": self.misnumbered,
            "miscounted": self.miscounted,
            "outcomes": dict(self.outcomes),
            "payload": dict(self.payload),
            "tcp": self.tcp,
        }


def times_from_json(text: str) -> np.ndarray:
    """Reads one array of :meth:`Tally.to_json`: seconds (n,) float32."""
    return np.frombuffer(base64.b64decode(text), np.float32)


class Talker(asyncio.Protocol):
    """One session, from its handshake to its close. In version 2 its clock has to be the server's,
    as it is on one machine."""

    def __init__(self, load: Load, media: Media, tally: Tally) -> None:
        self._load, self._media, self._tally = load, media, tally
        subprotocol = SUBPROTOCOLS[load.hello.version]
        self._framing = framing_of(subprotocol)
        self._socket = ClientProtocol(
            parse_uri(load.url), subprotocols=[Subprotocol(subprotocol)], max_size=1 << 20
        )
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._outcome = "unanswered"
        self._counted_from = float("inf")
        self._server = array("f")
        self._sent = self._received = 0
        self._done: Done | None = None
        self._tcp_before: dict[str, int] | None = None

    # ------------------------------------------------------------------------------ the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._socket.send_request(self._socket.connect())
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._socket.receive_data(data)
        self._handle()

    def eof_received(self) -> None:
        self._socket.receive_eof()
        self._handle()

    def connection_lost(self, error: Exception | None) -> None:
        self._settle(self._outcome)

    def _handle(self) -> None:
        for event in self._socket.events_received():
            opcode = getattr(event, "opcode", None)
            if opcode is Opcode.BINARY:
                self._on_message(bytes(event.data))  # type: ignore[union-attr]
            elif opcode is Opcode.CLOSE and self._done is None and self._outcome == "open":
                self._outcome = f"closed {self._socket.close_code}"
        refused = self._socket.handshake_exc
        if refused is not None:
            status = getattr(getattr(refused, "response", None), "status_code", None)
            self._outcome = f"refused {status}" if status else "no handshake"
        elif self._socket.state is State.OPEN and self._outcome == "unanswered":
            self._outcome = "open"
            self._send(self._load.hello)
        self._flush()

    def _flush(self) -> None:
        assert self._transport is not None
        for data in self._socket.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                self._transport.write_eof()
        if self._socket.close_expected() and self._outcome != "open":
            self._transport.close()

    def _send(self, message: protocol.ClientMessage) -> None:
        data = self._framing.to_server(message)
        self._tally.payload["up"] += len(data)
        self._tally.payload["messages_up"] += 1
        self._socket.send_binary(data)

    # ------------------------------------------------------------------------------- the messages

    def _on_message(self, data: bytes) -> None:
        now = time.perf_counter()
        self._tally.payload["down"] += len(data)
        self._tally.payload["messages_down"] += 1
        message = self._framing.from_server(data, now)
        if isinstance(message, (Audio, Codes)):
            self._on_media(message, now)
        elif isinstance(message, Voice):
            self._tally.payload["voices_down"] += 1
            self._tally.payload["voice_bytes_down"] += len(data)
        elif isinstance(message, Ready) and not self.ready.done():
            self.ready.set_result(True)
        elif isinstance(message, Error):
            self._outcome = f"error {message.code}"
        elif isinstance(message, Done):
            self._done = message
            self._outcome = "done"

    def _on_media(self, message: Audio | Codes, now: float) -> None:
        frames = message.n if isinstance(message, Codes) else self._media.frames(message.data)
        if message.seq != self._received:
            self._tally.misnumbered += 1
        self._received += frames
        stamps = message.stamps
        if stamps is None or stamps.t is None or stamps.t < self._counted_from:
            return
        self._server.append(stamps.queue + stamps.encode + stamps.decode)
        self._tally.turnaround.append(now - stamps.t)

    @property
    def sent(self) -> int:
        """Frames sent so far."""
        return self._sent

    # ------------------------------------------------------------------------------ what it's told

    def begin(self, due: float) -> None:
        """Packets go out from ``due`` (perf_counter) on, one a period."""
        self._counted_from = due + self._load.settle
        # By number: sums of periods would end a packet more or less, as the clock's digits fall.
        self._packets, self._wanted = 0, math.ceil(self._load.seconds / self._load.period - 1e-6)
        self._first = self._due = due
        self._tcp_before = tcp_counts(self._transport)
        if self._load.send:
            self._schedule()

    def _schedule(self) -> None:
        wait = max(0.0, self._due - time.perf_counter())
        asyncio.get_running_loop().call_later(wait, self._speak)

    def _speak(self) -> None:
        if self._outcome != "open" or self.over.done():
            return
        now = time.perf_counter()
        while self._due <= now and self._packets < self._wanted:
            if self._due >= self._counted_from:
                self._tally.late.append(now - self._due)
            self._on_send(self._sent, now)
            self._send(self._media.packet(self._sent, self._due if self._load.stamped else None))
            self._sent += self._load.hello.frames_per_packet
            self._packets += 1
            self._due = self._first + self._packets * self._load.period
        self._flush()
        if self._packets < self._wanted:
            self._schedule()

    def _on_send(self, seq: int, now: float) -> None:
        """A packet goes out."""

    def stop(self) -> None:
        """No more packets: say ``end``."""
        self._wanted = 0
        if self._outcome == "open":
            self._send(End())
            self._flush()

    def cut(self) -> None:
        """Hangs up, whatever is still missing."""
        if self._transport is not None:
            self._transport.abort()
        self._settle("unfinished" if self._outcome == "open" else self._outcome)

    def read_tcp(self) -> None:
        """Adds what the kernel counted on this connection since the talking began, where it
        tells."""
        before, now = self._tcp_before, tcp_counts(self._transport)
        if before is not None and now is not None:
            self._tally.tcp.append({name: now[name] - before[name] for name in now})

    def _settle(self, outcome: str) -> None:
        if self.over.done():
            return
        self.over.set_result(None)
        if not self.ready.done():
            self.ready.set_result(False)
        tally = self._tally
        tally.outcomes["lost connection" if outcome == "open" else outcome] += 1
        tally.sent += self._sent
        tally.received += self._received
        tally.lost += self._sent - self._received
        done = self._done
        if done is not None and not self._agrees(done):
            tally.miscounted += 1
        tally.server.extend(self._server)
        if self._server:
            tally.worst_session = max(
                tally.worst_session, float(np.percentile(np.array(self._server), 99))
            )

    def _agrees(self, done: Done) -> bool:
        """Whether the server's totals are these."""
        return (done.frames_in, done.frames_out) == (self._sent, self._received)


class Speaker(Talker):
    """A session that publishes in a room for a :class:`Listener`."""

    def __init__(self, load: Load, media: Media, tally: Tally) -> None:
        super().__init__(load, media, tally)
        self.sent_at: dict[int, float] = {}
        """Time at which the packet of each frame was sent (perf_counter), until it is heard."""

    def _on_send(self, seq: int, now: float) -> None:
        self.sent_at[seq] = now


class Listener(Talker):
    """A session that hears in a room what ``speaker`` publishes, whose frames are those sent."""

    def __init__(self, load: Load, media: Media, tally: Tally, speaker: Speaker) -> None:
        super().__init__(load, media, tally)
        self._speaker = speaker

    def begin(self, due: float) -> None:
        """Listens; what is sent from ``due`` on is timed."""
        self._counted_from = due + self._load.settle
        self._tcp_before = tcp_counts(self._transport)

    def _on_media(self, message: Audio | Codes, now: float) -> None:
        super()._on_media(message, now)
        sent = self._speaker.sent_at.pop(message.seq, None)
        if sent is not None and sent >= self._counted_from:
            self._tally.delivery.append(now - sent)

    def stop(self) -> None:
        """Nothing to say: it ends when the speaker does."""
        self._sent = self._speaker.sent

    def _agrees(self, done: Done) -> bool:
        return done.frames_out == self._received


class Media:
    """Packets of a session's input: speech at an offset of its own, or random codes."""

    def __init__(self, hello: Hello, speech: np.ndarray, seed: int) -> None:
        frames = hello.frames_per_packet
        self._width = 2 if hello.pcm == "s16" else 4
        self._frames = frames
        self._codes = hello.formats()[0] == "codes"
        random = np.random.default_rng(seed)
        if self._codes:
            drawn = random.integers(0, CODEBOOK_SIZE, (CODE_LAYERS, 64, frames))
            packed = [bitstream.pack(drawn[: hello.layers, i]) for i in range(64)]
        else:
            turned = np.roll(speech, -int(random.integers(len(speech))))
            size = frames * HOP
            packed = [
                protocol.pcm_to_bytes(turned[at : at + size], hello.pcm)
                for at in range(0, len(turned) - size + 1, size)
            ]
        self._packets = packed

    def packet(self, seq: int, t: float | None) -> Audio | Codes:
        data = self._packets[seq // self._frames % len(self._packets)]
        return Codes(seq, self._frames, data, t) if self._codes else Audio(seq, data, t)

    def frames(self, data: bytes) -> int:
        return len(data) // (self._width * HOP)


def tcp_counts(transport: asyncio.Transport | None) -> dict[str, int] | None:
    """Bytes and segments of a connection as Linux counts them in ``struct tcp_info``; segments
    include those that only acknowledge. None elsewhere."""
    if transport is None or not hasattr(socket, "TCP_INFO"):
        return None
    handle = transport.get_extra_info("socket")
    if handle is None or handle.fileno() < 0:
        return None
    with socket.fromfd(handle.fileno(), socket.AF_INET, socket.SOCK_STREAM) as own:
        raw = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_COUNTS.size)
    if len(raw) < TCP_COUNTS.size:
        return None
    acked, received, out, into, data_in, data_out = TCP_COUNTS.unpack(raw)
    return {
        "bytes_up": acked,
        "bytes_down": received,
        "segments_up": out,
        "segments_down": into,
        "data_segments_up": data_out,
        "data_segments_down": data_in,
    }
