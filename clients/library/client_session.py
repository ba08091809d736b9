"""One session on the client as a state machine: messages in, events out. No sockets, no tasks.

The shell around it sends the messages that :meth:`ClientSession.open` and the methods for media
return, and feeds :meth:`ClientSession.receive` with what comes. The server's end is
:mod:`streaming.wire.session`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clients.errors import ConnectionLost, ServerError, ServerFull
from clients.library.clock import ClockEstimate
from clients.library.packets import AudioPacket, CodesPacket, Packet, Times, VoicePacket, WireCount
from facodec.config import CODE_BITS, HOP, MIN_LAYERS
from facodec.identity import AGAIN, ModelIdentity, belonging, model_of, need_model
from streaming.wire import protocol
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
    Ready,
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

    ``wire``: adds this session to an earlier count. ``clock``: monotonic time, s. Messages count
    as sent when they are taken from here.
    """

    def __init__(
        self,
        hello: Hello,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.hello = hello
        self.wire = wire or WireCount()
        self.clock = ClockEstimate()
        self.totals: Done | None = None
        self._now = clock
        self._ready: Ready | None = None
        self._identity: ModelIdentity | None = None
        self._sent: OrderedDict[float, tuple[float, float]] = OrderedDict()
        self._samples_sent = 0
        self._frames_sent = 0

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
        from facodec import bitstream

        need_model("the codes were", model_of(codes), self.identity, BOTH_ENDS)
        codes = codes[: self.hello.layers]
        if len(codes) < max(self.hello.layers, MIN_LAYERS):
            raise ValueError(f"wanted {self.hello.layers} layers of codes, got {len(codes)}")
        for start in range(0, codes.shape[1], self.ready.limits.max_frames):
            part = codes[:, start : start + self.ready.limits.max_frames]
            count, stamp = part.shape[1], self._stamp(captured)
            yield self._message(Codes(self._frames_sent, count, bitstream.pack(part), stamp))
            self._frames_sent += count

    def voice(self, timbre: np.ndarray, *, exact: bool = True) -> Iterator[bytes]:
        """Messages for a timbre (256,). Raises ModelMismatch for one of another model."""
        model = model_of(timbre)
        need_model("the voice was", model, self.identity)
        if exact:
            told = None if model is None else str(model)
            yield self._message(Voice(Voice.exact(timbre).data, told))
        else:
            yield self._message(Voice.estimate(timbre))

    def ask(self, now: float) -> bytes:
        """The question what the server's clock shows, which :class:`Answered` answers."""
        return self._message(Clock(now))

    def end(self) -> Iterator[bytes]:
        """Messages that all is sent."""
        yield self._message(End())

    def _message(self, message: ClientMessage) -> bytes:
        data = protocol.encode(message)
        self.wire.bytes_up += len(data)
        self.wire.messages_up += 1
        if isinstance(message, Audio):
            self.wire.sound_bits_up += 8 * len(message.data)
        elif isinstance(message, Codes):
            self.wire.codes_bits_up += CODE_BITS * self.hello.layers * message.n
        return data

    def _stamp(self, captured: float | None) -> float | None:
        """Stamps travel on the server's clock, so that any other client can read them too."""
        if captured is None or not self.clock.known:
            return None
        stamp = captured + self.clock.offset
        self._sent[stamp] = captured, self._now()
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
            return [Ended(message)]
        try:
            packet = self._packet(message, arrived)
        except protocol.ProtocolError as error:
            raise _invalid(error.sentence) from error
        except ValueError as error:
            raise _invalid(str(error)) from error
        return [] if packet is None else [packet]

    def _decode(self, data: bytes) -> ServerMessage:
        self.wire.bytes_down += len(data)
        self.wire.messages_down += 1
        try:
            return protocol.decode_server(data)
        except protocol.ProtocolError as error:
            raise _invalid(error.sentence) from error

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
        return Opened(ready)

    def _packet(self, message: ServerMessage, arrived: float) -> Packet | None:
        if isinstance(message, Audio):
            self.wire.sound_bits_down += 8 * len(message.data)
            samples = protocol.pcm_from_bytes(message.data, self.hello.pcm)
            return AudioPacket(message.seq, samples, self._times(message.stamps, arrived))
        if isinstance(message, Codes):
            from facodec import bitstream

            self.wire.codes_bits_down += CODE_BITS * self.ready.layers * message.n
            codes = bitstream.unpack(message.data, layers=self.ready.layers, frames=message.n)
            codes = belonging(codes, self.identity)
            return CodesPacket(message.seq, codes, self._times(message.stamps, arrived))
        if isinstance(message, Voice):
            timbre = belonging(message.vector(), self.identity)
            return VoicePacket(timbre, message.is_exact, message.alike)
        return None

    def _times(self, stamps: Stamps | None, arrived: float) -> Times:
        if stamps is None:
            return Times(arrived)
        if stamps.t is None:
            return Times(arrived, stamps=stamps)
        captured, sent = self._sent.get(stamps.t, (stamps.t - self.clock.offset, None))
        return Times(arrived, captured, sent, stamps)


def _invalid(why: str) -> ConnectionLost:
    return ConnectionLost(f"the server sent what is no {protocol.SUBPROTOCOL} message: {why}")
