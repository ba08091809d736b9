"""One session on the server as a state machine: messages in, events out. No sockets, no codec.

The shell around it feeds :meth:`ServerSession.receive`, sends what :meth:`ServerSession.open`,
:meth:`ServerSession.send` and :meth:`ServerSession.finish` return, and calls
:meth:`ServerSession.check` with the time now and then. Whatever breaks the protocol raises
:class:`ProtocolError`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto

import numpy as np

from facodec import renamed
from facodec.config import HOP, LOUDEST, SAMPLE_RATE, Latency
from facodec.identity import ModelIdentity
from facodec.link.entropy import FrameCoder
from streaming.wire import protocol
from streaming.wire.agreed import agree
from streaming.wire.belonging import need_own_voice
from streaming.wire.events import Arrived as Arrived
from streaming.wire.events import Ended as Ended
from streaming.wire.events import Event as Event
from streaming.wire.events import Opened as Opened
from streaming.wire.events import Reply as Reply
from streaming.wire.events import Totals as Totals
from streaming.wire.framing import Framing
from streaming.wire.incoming import REMEMBERED as REMEMBERED
from streaming.wire.incoming import IncomingCodes
from streaming.wire.media import Media, Pause, Sound, Talker, Timbre
from streaming.wire.packets import Packetizer
from streaming.wire.protocol import (
    VERSION,
    Audio,
    Clock,
    Codes,
    Done,
    DoneReason,
    End,
    Hello,
    LatencyInfo,
    Limits,
    Presence,
    PresenceState,
    ProtocolError,
    Ready,
    Stamps,
    Voice,
    exact_voice,
)
from streaming.wire.replay import COUNTED, SentMessages, lasting, replay_of

__getattr__ = renamed.attributes(__name__, {"Session": f"{__name__}.ServerSession"})

ROLES_WITHOUT_VOICE = ("subscribe", "enroll")
"""Roles that have no use for a ``voice``."""


class _State(Enum):
    NEW = auto()
    OPENING = auto()
    OPEN = auto()
    ENDED = auto()


class ServerSession:
    """The server's side of one connection.

    ``identity``: the session id. ``hello_timeout``: seconds from ``started`` that the client has
    for its hello; after that ``limits.idle_timeout`` holds whenever the server waits for it.
    ``framing``: of its subprotocol; where it is lossy, codes come from :meth:`settled`.
    """

    def __init__(
        self,
        identity: str,
        limits: Limits,
        hello_timeout: float,
        started: float = 0.0,
        framing: Framing | None = None,
    ) -> None:
        self.identity = identity
        self.totals = Totals()
        self._limits = limits
        self._hello_timeout = hello_timeout
        self._started = started
        self._state = _State.NEW
        self._hello: Hello | None = None
        self._waiting_since: float | None = None
        self._packets: Packetizer | None = None
        self._model: ModelIdentity | None = None
        self.timbre_of: Callable[[Voice], np.ndarray] | None = None
        """Timbre (256,) that a voice means; without it names are not understood."""
        self._framing = framing or Framing()
        self._codes: IncomingCodes | None = None
        self._taken = 0
        self._ready: Ready | None = None
        self.may_last = True
        """Whether the session may outlive its connection."""
        self.sent: SentMessages | None = None
        """Messages for a client that comes back; None where the session ends with its
        connection."""

    @property
    def hello(self) -> Hello:
        if self._hello is None:
            raise RuntimeError("no hello yet")
        return self._hello

    @property
    def frames_out(self) -> int:
        """Frames of media sent so far."""
        return 0 if self._packets is None else self._packets.frames_out

    @property
    def is_open(self) -> bool:
        return self._packets is not None

    @property
    def has_ended(self) -> bool:
        """Whether the client has said that it sends no more."""
        return self._state is _State.ENDED

    # -------------------------------------------------------------------------- client -> server

    def receive(self, data: bytes | str, now: float) -> Event | None:
        """One message. ``now``: the server's clock, s. What :meth:`settled` returns then came
        before it; None: it is in there too."""
        self._waiting_since = None
        if isinstance(data, str):
            raise ProtocolError("text-frame", "expected binary msgpack, got a text message")
        if len(data) > self._limits.max_message:
            raise ProtocolError(
                "too-big",
                f"expected at most {self._limits.max_message} bytes, got {len(data)}",
            )
        self.totals.bytes_in += len(data)
        message = self._framing.from_client(data, now)
        if isinstance(message, Hello):
            return self._on_hello(message)
        if self._state is _State.NEW:
            raise _unexpected(message, "before hello")
        if isinstance(message, Clock):
            if message.received is not None and self.sent is not None:
                self.sent.acknowledge(message.received)
            return Reply(self._count(self._framing.to_client(Clock(message.t0, now))))
        if self._state is _State.ENDED:
            if self._framing.lossy and isinstance(message, Codes):
                return None  # overtaken by the end
            raise _unexpected(message, "after end")
        self._taken += isinstance(message, COUNTED)
        if isinstance(message, End):
            self._state = _State.ENDED
            return Ended()
        if isinstance(message, Voice):
            return self._on_voice(message)
        return self._on_media(message, now)

    def listen(self, now: float) -> None:
        """The server starts to wait for the client: its silence counts from here."""
        self._waiting_since = now

    def check(self, now: float) -> None:
        """Raises ProtocolError when the client has kept the server waiting for too long."""
        if self._state is _State.NEW:
            # From the start, whatever else comes: nobody prolongs it.
            if now - self._started > self._hello_timeout:
                raise ProtocolError("hello-timeout", f"no hello within {self._hello_timeout:g} s")
            return
        if self._waiting_since is None or self._state is _State.ENDED:
            return
        silent = now - self._waiting_since
        listens_only = self._hello is not None and self._hello.role == "subscribe"
        if not listens_only and silent > self._limits.idle_timeout:
            raise ProtocolError("idle-timeout", f"nothing came for {self._limits.idle_timeout:g} s")

    def _on_hello(self, hello: Hello) -> Event:
        if self._state is not _State.NEW:
            raise _unexpected(hello, "twice")
        if hello.role in ("publish", "subscribe") and hello.room is None:
            raise ProtocolError("bad-field", f"role {hello.role!r}: expected a room, got none")
        self._hello = hello
        self._codes = IncomingCodes(
            hello.layers, self._limits, self.totals, lossy=self._framing.lossy
        )
        self._state = _State.OPENING
        return Opened(hello)

    def _on_voice(self, voice: Voice) -> Event:
        if self.hello.role in ROLES_WITHOUT_VOICE:
            raise _unexpected(voice, f"in role {self.hello.role!r}")
        if self.hello.formats()[0] == "pcm" and not voice.is_exact:
            raise ProtocolError(
                "bad-voice",
                f"the voice in PCM is estimated here: expected an exact one of "
                f"{protocol.VOICE_EXACT_BYTES} bytes, got {len(voice.data)}",
            )
        need_own_voice(voice, self._model)
        timbre = voice.vector() if self.timbre_of is None else self.timbre_of(voice)
        return Arrived(Timbre(timbre, exact=voice.is_exact), None)

    def settled(self, now: float) -> list[Arrived]:
        """Returns codes of a lossy way that are in order by now, or in place of lost ones; at the
        end all."""
        ended = self._state is _State.ENDED
        return [] if self._codes is None else self._codes.settled(now, ended=ended)

    def patience(self, now: float) -> float | None:
        """Seconds until :meth:`settled` may return more though nothing comes; None: never."""
        return None if self._codes is None else self._codes.patience(now)

    def pause_due(self, now: float) -> tuple[Pause | None, float | None]:
        """Returns what :meth:`streaming.wire.incoming.IncomingCodes.pause_due` does."""
        if self._codes is None or self._state is not _State.OPEN:
            return None, None
        return self._codes.pause_due(now)

    def _on_media(self, message: protocol.ClientMessage, now: float) -> Event | None:
        wanted, _ = self.hello.formats()
        if isinstance(message, Audio) and wanted == "pcm":
            return Arrived(self._sound(message), message.t)
        if wanted == "codes" and self._codes is not None and self._codes.takes(message):
            return self._codes.take(message, now)
        raise _unexpected(message, f"where the input is {wanted or 'nothing'}")

    def _sound(self, message: Audio) -> Sound:
        self._expect_seq(message.seq, self.totals.samples_in // HOP)
        samples = protocol.pcm_from_bytes(message.data, self.hello.pcm)
        most = self._limits.max_frames * HOP
        if len(samples) > most:
            raise ProtocolError("bad-size", f"expected at most {most} samples, got {len(samples)}")
        peak = float(np.abs(samples).max(initial=0.0))
        if not peak <= LOUDEST:
            raise ProtocolError(
                "bad-audio", f"expected finite samples at full scale 1.0, got a peak of {peak:g}"
            )
        self.totals.samples_in += len(samples)
        self.totals.frames_in = -(-self.totals.samples_in // HOP)
        return Sound(samples)

    @staticmethod
    def _expect_seq(got: int, wanted: int) -> None:
        if got != wanted:
            raise ProtocolError("bad-seq", f"expected seq {wanted}, got {got}")

    # -------------------------------------------------------------------------- server -> client

    def open(
        self,
        model: ModelIdentity,
        latency: Latency,
        layers: int,
        first_frame: int = 0,
        resume: str | None = None,
        coder: FrameCoder | None = None,
        *,
        pauses: bool = False,
    ) -> bytes:
        """Accepts the hello: ``ready``. ``first_frame``: seq of the first frame to be sent.
        ``resume``: with which a publisher may replace this session. ``coder``: with which codes
        may be coded; ``pauses``: whether frames may be left out."""
        if self._state is _State.OPENING:
            self._state = _State.OPEN
        self._model = model
        hello = self.hello
        agreed = agree(hello, coder, pauses=pauses, lossy=self._framing.lossy)
        if self._codes is not None:
            self._codes.agree(agreed, says_level=pauses)
        self._packets = Packetizer(
            hello.frames_per_packet, hello.pcm, first_frame, self._framing, agreed
        )
        ready = Ready(
            session=self.identity,
            model=model.name,
            sample_rate=SAMPLE_RATE,
            hop=HOP,
            layers=layers,
            latency=LatencyInfo(latency.encoder, latency.decoder),
            limits=self._limits,
            resume=resume,
            identity=str(model) if model.weights else None,
            version=self._framing.version,
            voices="compact" if agreed.compact else None,
            coder=None if agreed.coder is None else agreed.coder.identity,
            pauses=agreed.pauses or None,
            redundancy=agreed.redundancy,
            fewer_layers=agreed.fewer_layers or None,
            first=first_frame if first_frame and self._framing.version > VERSION else None,
            replay=replay_of(hello) if self.may_last else None,
        )
        if ready.replay is not None:
            self.sent = SentMessages(ready.replay)
        self._ready = ready
        self._framing.compact_voices = agreed.compact
        return self._count(self._framing.to_client(ready))

    def come_back(self, hello: Hello) -> list[tuple[bytes, int]]:
        """Another connection of the client's: ``ready`` and what it lacks. Raises ProtocolError
        for a hello of another session."""
        if self._ready is None or self.sent is None or not self.sent.is_whole:
            raise ProtocolError("unknown-session", "this session cannot come back")
        if lasting(hello) != lasting(self.hello):
            raise ProtocolError("bad-field", "expected the hello of the session to come back to")
        lacking = self.sent.replay(hello.received or 0)
        ready = replace(self._ready, received=self._taken)
        messages = [(self._framing.to_client(ready), 0), *lacking]
        return [(self._count(data), frames) for data, frames in messages]

    def tell_presence(self, state: PresenceState) -> bytes | None:
        """The message about a room's publisher, for a client that knows it."""
        if self.sent is None:
            return None
        return self._count(self._framing.to_client(Presence(state)))

    def send(self, item: Media, stamps: Stamps | None = None) -> list[tuple[bytes, int]]:
        """Media for the client as messages, each with the frames in it; what does not fill a
        packet yet stays for the next call."""
        if self._packets is None:
            raise RuntimeError("media before ready")
        return self._counted(self._packets.add(item, stamps))

    def finish(self, reason: DoneReason, talker: Talker | None = None) -> list[tuple[bytes, int]]:
        """The last media and ``done``. ``talker``: who was heard."""
        self._state = _State.ENDED
        messages = self._counted(self._packets.flush() if self._packets is not None else [])
        totals = self.totals
        done = Done(
            frames_in=totals.frames_in,
            frames_out=self.frames_out,
            bytes_in=totals.bytes_in,
            bytes_out=totals.bytes_out,
            encode=totals.encode,
            decode=totals.decode,
            queue_max=totals.queue_max,
            reason=reason,
            talker=None if talker is None else exact_voice(talker.timbre),
            pitch=None if talker is None else talker.pitch,
        )
        last = self._framing.to_client(done)
        if self.sent is not None:
            self.sent.add(last, 0)
        return [*messages, (last, 0)]

    def _counted(self, messages: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
        """Messages, each with its frames, as they are to be sent now and perhaps again."""
        for data, frames in messages:
            self._count(data)
            if self.sent is not None:
                self.sent.add(data, frames)
        return messages

    def _count(self, data: bytes) -> bytes:
        self.totals.bytes_out += len(data)
        return data


def _unexpected(message: protocol.Message, where: str) -> ProtocolError:
    kind = protocol.TYPE_NAMES[type(message)]
    return ProtocolError("unexpected-message", f"got {kind!r} {where}")
