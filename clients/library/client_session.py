"""One session on the client as a state machine: messages in, events out. No sockets, no tasks.

The shell around it sends the messages that :meth:`ClientSession.open` and the methods for media
return, and feeds :meth:`ClientSession.receive` with what comes. The server's end is
:mod:`streaming.wire.session`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clients.errors import ConnectionLost, ServerError, ServerFull
from clients.library.clock import ClockEstimate
from clients.library.packets import (
    AudioPacket,
    CodesPacket,
    LostPacket,
    Packet,
    PausePacket,
    Times,
    VoicePacket,
    WireCount,
)
from clients.library.wire import ClientWire
from facodec.config import CODE_BITS, HOP, MIN_LAYERS
from facodec.identity import AGAIN, ModelIdentity, belonging, model_of, need_model
from facodec.link.repair import widened
from streaming.wire import protocol
from streaming.wire.assembly import Assembly, Piece
from streaming.wire.belonging import BOTH_ENDS
from streaming.wire.protocol import (
    Audio,
    ClientMessage,
    Clock,
    Codes,
    Done,
    End,
    Error,
    Hello,
    Noise,
    Ready,
    Repeat,
    ServerMessage,
    Stamps,
    Voice,
)

MAX_STAMPS = 1024
"""Sent packets whose times are remembered until they come back; the oldest are forgotten."""


@dataclass(frozen=True)
class Opened:
    """The server has accepted the hello."""

    ready: Ready


@dataclass(frozen=True)
class Answered:
    """The server has taken in all that was sent before :meth:`ClientSession.ask` at ``asked``."""

    asked: float


@dataclass(frozen=True)
class Ended:
    """The server sends nothing more."""

    totals: Done


Event: TypeAlias = Opened | Answered | Ended | Packet


class ClientSession:
    """The client's end of one session.

    ``wire``: adds this session to an earlier count. ``clock``: monotonic time, s. ``encoding``: how
    messages become bytes, by default as ``facodec.v1`` has it. Messages count as sent when they are
    taken from here.
    """

    def __init__(
        self,
        hello: Hello,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
        encoding: ClientWire | None = None,
    ) -> None:
        self._encoding = encoding or ClientWire(None)
        self.hello = self._encoding.hello(hello)
        self.wire = wire or WireCount()
        self.clock = ClockEstimate()
        self.totals: Done | None = None
        self._now = clock
        self._ready: Ready | None = None
        self._identity: ModelIdentity | None = None
        self._sent: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._samples_sent = 0
        self._frames_sent = 0
        self._untold = 0
        self._is_paused = False
        self._frames_read = 0
        self._assembly: Assembly | None = None
        self._last: np.ndarray | None = None

    @property
    def ready(self) -> Ready:
        """The server's answer to the hello."""
        if self._ready is None:
            raise RuntimeError("no ready yet")
        return self._ready

    @property
    def identity(self) -> ModelIdentity:
        """The model that codes and voices belong to, as both ends agreed."""
        if self._identity is None:
            raise RuntimeError("no ready yet")
        return self._identity

    @property
    def frames_sent(self) -> int:
        """Frames of audio or codes sent so far; a part counts as one."""
        return max(-(-self._samples_sent // HOP), self._frames_sent)

    # -------------------------------------------------------------------------- client -> server

    def open(self) -> bytes:
        """The hello."""
        return self._message(self.hello)

    def audio(self, samples: np.ndarray, captured: float | None = None) -> Iterator[bytes]:
        """Messages for samples float32 (n,), any n. ``captured``: time of the last one, s."""
        most = self.ready.limits.max_frames * HOP
        for start in range(0, len(samples), most):
            part = samples[start : start + most]
            data = protocol.pcm_to_bytes(part, self.hello.pcm)
            yield self._message(Audio(self._samples_sent // HOP, data, self._stamp(captured)))
            self._samples_sent += len(part)

    def codes(self, codes: np.ndarray, captured: float | None = None) -> Iterator[bytes]:
        """Messages for codes int (K, n), of which the session's layers are taken. Raises ValueError
        where K is less, and ModelMismatch for codes of another model."""
        need_model("the codes were", model_of(codes), self.identity, BOTH_ENDS)
        codes = codes[: self.hello.layers]
        if len(codes) < max(self.hello.layers, MIN_LAYERS):
            raise ValueError(f"expected {self.hello.layers} layers of codes, got {len(codes)}")
        for start in range(0, codes.shape[1], self.ready.limits.max_frames):
            part = codes[:, start : start + self.ready.limits.max_frames]
            count = part.shape[1]
            if self._untold and self._encoding.lossy:  # else it might be taken for a loss
                yield self._tell_pause()
            estimate = self._encoding.due_estimate(self._frames_sent)
            if estimate is not None:
                yield self._message(estimate)
            stamp = self._stamp(captured) if self._encoding.stamps_codes() else None
            data, repeat = self._encoding.pack(part), self._encoding.repeat(self._frames_sent, part)
            yield self._message(Codes(self._frames_sent, count, data, stamp, repeat=repeat))
            self._frames_sent += count
            self._untold, self._is_paused = 0, False

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out where nobody speaks."""
        return self._encoding.pauses

    def pause(self, frames: int, noise: bytes = b"") -> Iterator[bytes]:
        """Messages that frames are left out. ``noise``: how they sound
        (:class:`facodec.link.comfort.Description`), empty where that is as before. Raises
        ValueError where :attr:`pauses` does not hold."""
        if not self.pauses:
            raise ValueError("expected a session that takes pauses, got one that does not")
        tell, self._is_paused = bool(noise) or not self._is_paused, True
        while frames:
            step = min(frames, self.ready.limits.max_frames - self._untold)
            self._frames_sent += step
            self._untold += step
            frames -= step
            if self._untold == self.ready.limits.max_frames:
                yield self._tell_pause(noise)
                tell, noise = False, b""
        if tell:
            yield self._tell_pause(noise)

    def _tell_pause(self, noise: bytes = b"") -> bytes:
        self._untold = 0
        return self._message(Noise(self._frames_sent, noise))

    def voice(
        self, timbre: np.ndarray | str, *, exact: bool = True, shift: float = 0.0
    ) -> Iterator[bytes]:
        """Messages for a timbre (256,), or the name of a voice that the server knows; an exact one
        ``shift`` semitones higher. Raises ModelMismatch for one of another model."""
        model = model_of(timbre)
        need_model("the voice was", model, self.identity)
        if exact or isinstance(timbre, str):
            told = None if model is None else str(model)
            data = timbre if isinstance(timbre, str) else Voice.exact(timbre).data
            yield self._message(Voice(data, told, shift=shift or None))
        elif self._encoding.estimate(np.asarray(timbre)):
            yield self._message(Voice.estimate(timbre))

    def ask(self, now: float) -> bytes:
        """The question what the server's clock shows, which :class:`Answered` answers."""
        return self._message(Clock(now))

    def end(self) -> Iterator[bytes]:
        """Messages that all is sent."""
        if self._untold:
            yield self._tell_pause()
        yield self._message(End())

    def _message(self, message: ClientMessage) -> bytes:
        data = self._encoding.encode(message)
        self.wire.bytes_up += len(data)
        self.wire.messages_up += 1
        if isinstance(message, Audio):
            self.wire.sound_bits_up += 8 * len(message.data)
        elif isinstance(message, Codes):
            self.wire.codes_bits_up += _bits(message, self.hello.layers)
        return data

    def _stamp(self, captured: float | None) -> float | None:
        """Stamps travel on the server's clock, so that any other client can read them too."""
        if captured is None or not self.clock.known:
            return None
        stamp = captured + self.clock.offset
        self._sent[self._encoding.ticks(stamp)] = captured, self._now()
        if len(self._sent) > MAX_STAMPS:
            self._sent.popitem(last=False)
        return stamp

    # -------------------------------------------------------------------------- server -> client

    def receive(self, data: bytes) -> list[Event]:
        """The events of one message of the server. Raises ServerError (ServerFull before ready)
        for the server's own reason, ConnectionLost for what is no message, and ModelMismatch where
        client and server are of different models."""
        arrived = self._now()
        message = self._decode(data)
        if isinstance(message, Error):
            raise self._refused(message)
        if self._ready is None:
            return [self._open(message)] if isinstance(message, Ready) else []
        if isinstance(message, Clock):
            if message.t1 is not None:
                self.clock.add(message.t0, message.t1, arrived)
            return [Answered(message.t0)]
        if isinstance(message, Done):
            self.totals = message
            return [*self.settled(arrived, ended=True), Ended(message)]
        if self._assembly is not None and isinstance(message, (Codes, Noise)):
            with self._valid():
                self._assembly.put(message, arrived)
            return self.settled(arrived)
        with self._valid():
            events = (self._left_out(message), self._packet(message, arrived))
        return [event for event in events if event is not None]

    def settled(self, now: float, *, ended: bool = False) -> list[Event]:
        """Returns codes of a lossy way that are in order by now, or in place of lost ones; all
        where it has ``ended``. Raises like :meth:`receive`."""
        if self._assembly is None:
            return []
        pieces = self._assembly.flush() if ended else self._assembly.take(now)
        with self._valid():
            return [self._settled(piece, now) for piece in pieces]

    def patience(self, now: float) -> float | None:
        """Seconds until :meth:`settled` may return more though nothing comes; None: never."""
        return None if self._assembly is None else self._assembly.wait(now)

    def _settled(self, piece: Piece, now: float) -> Packet:
        message = piece.message
        if isinstance(message, Codes):
            packet = self._codes(message, now)
            self._last = packet.codes[:, -1]
            return packet
        if isinstance(message, Repeat):
            essence = self._encoding.unpack_repeat(message)
            codes = belonging(widened(essence, self._last, self.ready.layers), self.identity)
            self._last = codes[:, -1]
            return CodesPacket(piece.first, codes, Times(now), repaired=True)
        if isinstance(message, Noise):
            return PausePacket(piece.first, piece.count, message.data)
        return LostPacket(piece.first, piece.count)

    @contextmanager
    def _valid(self) -> Iterator[None]:
        """Takes what is wrong with the server's messages for what it is."""
        try:
            yield
        except protocol.ProtocolError as error:
            raise self._invalid(error.sentence) from error
        except ValueError as error:
            raise self._invalid(str(error)) from error

    def _decode(self, data: bytes) -> ServerMessage:
        self.wire.bytes_down += len(data)
        self.wire.messages_down += 1
        try:
            now = self._now() + self.clock.offset if self.clock.known else None
            return self._encoding.decode(data, now)
        except protocol.ProtocolError as error:
            raise self._invalid(error.sentence) from error

    def _invalid(self, why: str) -> ConnectionLost:
        spoken = self._encoding.subprotocol
        return ConnectionLost(f"the server sent what is no {spoken} message: {why}")

    def _refused(self, error: Error) -> ServerError | ServerFull:
        if self._ready is None and error.code == "overloaded":
            return ServerFull(f"the server is full ({error.message}): try again later")
        return ServerError(error.code, error.message)

    def _open(self, ready: Ready) -> Opened:
        """An older server tells its model's name alone, and did not look whether the client's is
        another."""
        theirs = ModelIdentity.parse(ready.identity or ready.model)
        own = None if self.hello.identity is None else ModelIdentity.parse(self.hello.identity)
        sends_codes = "codes" in self.hello.formats()
        what = "what this client encodes or decodes was" if sends_codes else "the voice was"
        need_model(what, own, theirs, BOTH_ENDS if sends_codes else AGAIN)
        self._ready, self._identity = ready, theirs
        self._encoding.agree(ready)
        self._frames_read = ready.first or 0
        self._assembly = Assembly(self._frames_read) if self._encoding.lossy else None
        return Opened(ready)

    def _left_out(self, message: ServerMessage) -> PausePacket | None:
        """The frames that were left out before a message."""
        if not self.pauses or not isinstance(message, (Codes, Noise)):
            return None
        first, self._frames_read = self._frames_read, message.seq
        if isinstance(message, Noise):
            return PausePacket(first, message.seq - first, message.data)
        self._frames_read += message.n
        return PausePacket(first, message.seq - first, b"") if message.seq > first else None

    def _packet(self, message: ServerMessage, arrived: float) -> Packet | None:
        if isinstance(message, Audio):
            self.wire.sound_bits_down += 8 * len(message.data)
            samples = protocol.pcm_from_bytes(message.data, self.hello.pcm)
            return AudioPacket(message.seq, samples, self._times(message.stamps, arrived))
        if isinstance(message, Codes):
            return self._codes(message, arrived)
        if isinstance(message, Voice):
            timbre = belonging(message.vector(), self.identity)
            return VoicePacket(timbre, message.is_exact, message.alike)
        return None

    def _codes(self, message: Codes, arrived: float) -> CodesPacket:
        self.wire.codes_bits_down += _bits(message, self.ready.layers)
        codes = self._encoding.unpack(message.data, self.ready.layers, message.n)
        codes = belonging(codes, self.identity)
        return CodesPacket(message.seq, codes, self._times(message.stamps, arrived))

    def _times(self, stamps: Stamps | None, arrived: float) -> Times:
        if stamps is None:
            return Times(arrived)
        if stamps.t is None:
            return Times(arrived, stamps=stamps)
        known = self._sent.get(self._encoding.ticks(stamps.t))
        captured, sent = known or (stamps.t - self.clock.offset, None)
        return Times(arrived, captured, sent, stamps)


def _bits(message: Codes, layers: int) -> int:
    """Bits of the codes in a message, which may be entropy coded."""
    return min(8 * len(message.data), CODE_BITS * layers * message.n)
