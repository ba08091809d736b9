"""One session on the client as a state machine: messages in, events out. No sockets, no tasks.

The shell around it sends the messages that :meth:`ClientSession.open` and the methods for media
return, and feeds :meth:`ClientSession.receive` with what comes. The server's end is
:mod:`streaming.wire.session`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from clients.errors import ConnectionLost, ServerError, ServerFull
from clients.library.clock import ClockEstimate
from clients.library.events import Answered as Answered
from clients.library.events import Ended as Ended
from clients.library.events import Event as Event
from clients.library.events import Opened as Opened
from clients.library.incoming import IncomingCodes
from clients.library.packets import (
    AudioPacket,
    Packet,
    PausePacket,
    VoicePacket,
    WireCount,
)
from clients.library.stamps import MAX_STAMPS as MAX_STAMPS
from clients.library.stamps import SentStamps, codes_bits
from clients.library.unacknowledged import SAMPLE_BYTES, Unacknowledged
from clients.library.wire import ClientWire
from facodec.config import HOP, MIN_LAYERS
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
    Noise,
    Presence,
    Ready,
    ServerMessage,
    Voice,
)
from streaming.wire.replay import COUNTED

ACKNOWLEDGE = 64 * 1024
"""Bytes from the server after which it should know that they have come."""


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
        self._stamps = SentStamps(self._encoding, self.clock, clock)
        self._samples_sent = 0
        self._frames_sent = 0
        self._untold = 0
        self._is_paused = False
        self._frames_read = 0
        self._unacknowledged = Unacknowledged(hello.pcm)
        self._received = 0
        self._is_back = False
        self.owed_bytes = 0
        """Bytes that came since the server was last told what has come."""
        self.frames_dropped = 0
        """Frames that were lost with a connection on their way to the server."""
        self.frames_skipped = 0
        """Frames that were lost on their way back."""
        self.incoming = IncomingCodes(self._encoding, self._stamps, self.wire)
        self._layers: int | None = None
        self._holds_voices = False

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
            yield self._message(
                Audio(self._samples_sent // HOP, data, self._stamps.stamp(captured))
            )
            self._samples_sent += len(part)

    def codes(self, codes: np.ndarray, captured: float | None = None) -> Iterator[bytes]:
        """Messages for codes int (K, n), of which the session's layers are taken. Raises ValueError
        where K is less, and ModelMismatch for codes of another model."""
        need_model("the codes were", model_of(codes), self.identity, BOTH_ENDS)
        codes = codes[: self.hello.layers]
        if len(codes) < max(self.hello.layers, MIN_LAYERS):
            raise ValueError(f"expected {self.hello.layers} layers of codes, got {len(codes)}")
        fewer = self._layers is not None and self._layers < len(codes)
        codes = codes[: self._layers] if fewer else codes
        for start in range(0, codes.shape[1], self.ready.limits.max_frames):
            part = codes[:, start : start + self.ready.limits.max_frames]
            count = part.shape[1]
            if self._untold and self._encoding.lossy:  # else it might be taken for a loss
                yield self._tell_pause()
            estimate = self._encoding.due_estimate(count, hold=self._holds_voices)
            is_first = self._frames_sent == 0
            if estimate is not None and is_first:
                yield self._message(estimate)
            stamp = self._stamps.stamp(captured) if self._encoding.stamps_codes() else None
            data, repeat = self._encoding.pack(part), self._encoding.repeat(self._frames_sent, part)
            layers = self._layers if fewer else None
            yield self._message(
                Codes(self._frames_sent, count, data, stamp, repeat=repeat, layers=layers)
            )
            self._frames_sent += count
            self._untold, self._is_paused = 0, False
            if estimate is not None and not is_first:  # on a slow link codes are not to wait for it
                yield self._message(estimate)

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out where nobody speaks."""
        return self._encoding.pauses

    @property
    def may_leave_out_detail(self) -> bool:
        """Whether :meth:`leave_out_detail` changes anything."""
        return self._encoding.fewer_layers and self.hello.layers > MIN_LAYERS

    def leave_out_detail(self, *, leave: bool) -> None:
        """From here on packets of codes hold prosody and content alone, or all layers again, where
        that was agreed."""
        self._layers = MIN_LAYERS if leave and self.may_leave_out_detail else None

    def hold_voices(self, *, hold: bool) -> None:
        """From here on estimates of the talker's voice wait, or go out when they are due."""
        self._holds_voices = hold

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
        estimate = self._encoding.estimate_in_pause(hold=self._holds_voices)
        if estimate is not None:
            yield self._message(estimate)

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
        self._unacknowledged.ask(now)
        self.owed_bytes = 0
        all_kept = self._ready is not None and self._ready.replay == "all"
        return self._message(Clock(now, received=self._received if all_kept else None))

    def end(self) -> Iterator[bytes]:
        """Messages that all is sent."""
        if self._untold:
            yield self._tell_pause()
        yield self._message(End())

    def _message(self, message: ClientMessage) -> bytes:
        if self.can_come_back and isinstance(message, (Audio, Codes, Voice, Noise, End)):
            self._unacknowledged.add(message)
        return self._encoded(message)

    def _encoded(self, message: ClientMessage) -> bytes:
        data = self._encoding.encode(message)
        self.wire.bytes_up += len(data)
        self.wire.messages_up += 1
        if isinstance(message, Audio):
            self.wire.sound_bits_up += 8 * len(message.data)
        elif isinstance(message, Codes):
            self.wire.codes_bits_up += codes_bits(message, message.layers or self.hello.layers)
        return data

    # ------------------------------------------------------------------- after a lost connection

    @property
    def can_come_back(self) -> bool:
        """Whether the session may go on over another connection."""
        ready = self._ready
        return ready is not None and None not in (ready.replay, ready.resume) and not self.totals

    def come_back(self) -> bytes:
        """The hello over another connection, which :class:`Opened` answers."""
        hello = replace(self.hello, resume=self.ready.resume, received=self._received)
        return self._encoded(hello)

    def lacking(self, ready: Ready) -> list[bytes]:
        """Messages that the server lacks, as its ``ready`` says. Raises ConnectionLost for what
        cannot be."""
        newest = ready.replay == "newest"
        try:
            messages, dropped = self._unacknowledged.come_back(ready.received or 0, newest=newest)
        except ValueError as error:
            raise self._invalid(str(error)) from error
        if self.hello.formats()[0] == "pcm":
            self._samples_sent -= dropped
            dropped = -(-dropped // HOP)
        else:
            self._frames_sent -= dropped
        self.frames_dropped += dropped
        self._is_back = newest
        return [self._encoded(message) for message in messages]

    # -------------------------------------------------------------------------- server -> client

    def receive(self, data: bytes) -> list[Event]:
        """The events of one message of the server. Raises ServerError (ServerFull before ready)
        for the server's own reason, ConnectionLost for what is no message, and ModelMismatch where
        client and server are of different models."""
        arrived = self._now()
        message = self._decode(data)
        if isinstance(message, Error):
            raise self._refused(message)
        if isinstance(message, Ready):
            return [Opened(message) if self._ready is not None else self._open(message)]
        if self._ready is None:
            return []
        if isinstance(message, Clock):
            if message.t1 is not None:
                self.clock.add(message.t0, message.t1, arrived)
            self._unacknowledged.answer(message.t0)
            return [Answered(message.t0)]
        if isinstance(message, Presence):
            return [message]
        self._received += isinstance(message, COUNTED)
        self.owed_bytes += len(data)
        if isinstance(message, Done):
            self.totals = message
            return [*self.settled(arrived, ended=True), Ended(message)]
        if self._encoding.lossy and isinstance(message, (Codes, Noise)):
            with self._valid():
                self.incoming.put(message, arrived)
            return self.settled(arrived)
        with self._valid():
            events = (self._left_out(message), self._packet(message, arrived))
        return [event for event in events if event is not None]

    def settled(self, now: float, *, ended: bool = False) -> list[Event]:
        """Returns codes of a lossy way that are in order by now, or in place of lost ones; all
        where it has ``ended``. Raises like :meth:`receive`."""
        with self._valid():
            return list(self.incoming.settled(now, ended=ended))

    def patience(self, now: float) -> float | None:
        """Seconds until :meth:`settled` may return more though nothing comes; None: never."""
        return self.incoming.patience(now)

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
        self.incoming.begin(ready.layers, theirs, self._frames_read)
        return Opened(ready)

    def _left_out(self, message: ServerMessage) -> PausePacket | None:
        """The frames that were left out before a message."""
        if not isinstance(message, (Audio, Codes, Noise)):
            return None
        first, self._frames_read = self._frames_read, message.seq
        gap, is_back, self._is_back = message.seq - first, self._is_back, False
        if isinstance(message, Codes):
            self._frames_read += message.n
        elif isinstance(message, Audio):
            self._frames_read += -(-len(message.data) // (HOP * SAMPLE_BYTES[self.hello.pcm]))
        # A pause is told before it is that long.
        if is_back and (not self.pauses or gap > self.ready.limits.max_frames):
            self.frames_skipped += gap
            return None
        if isinstance(message, Noise):
            return PausePacket(first, gap, message.data)
        return PausePacket(first, gap, b"") if self.pauses and gap > 0 else None

    def _packet(self, message: ServerMessage, arrived: float) -> Packet | None:
        if isinstance(message, Audio):
            self.wire.sound_bits_down += 8 * len(message.data)
            samples = protocol.pcm_from_bytes(message.data, self.hello.pcm)
            return AudioPacket(message.seq, samples, self._stamps.times(message.stamps, arrived))
        if isinstance(message, Codes):
            return self.incoming.packet(message, arrived)
        if isinstance(message, Voice):
            timbre = belonging(message.vector(), self.identity)
            return VoicePacket(timbre, message.is_exact, message.alike)
        return None
