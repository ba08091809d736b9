"""The asyncio client library: a session with a server, as audio and codes in and out.

async with connect("ws://127.0.0.1:8765", role="loopback") as session:
    await session.send_audio(samples)
    totals = await session.finish()
    async for packet in session:
        ...
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType

import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, ProxyError

from clients.errors import (
    ClientError,
    ConnectError,
    ConnectionLost,
    FinishTimeout,
    ServerError,
    ServerFull,
    UsageError,
)
from clients.library.addresses import proxy_for
from clients.library.certificates import client_context
from clients.library.clock import ClockEstimate
from clients.library.packets import (
    AudioPacket,
    CodesPacket,
    Packet,
    PausePacket,
    Times,
    VoicePacket,
    WireCount,
)
from clients.library.refusals import explain_close, explain_failure, explain_handshake
from clients.library.silence import Silence
from clients.library.wire import ClientWire
from clients.options import DEFAULT_URL
from facodec.config import CODE_BITS, HOP, MIN_LAYERS, SAMPLE_RATE
from facodec.identity import AGAIN, ModelIdentity, belonging, model_of, need_model
from facodec.link.entropy import FrameCoder
from streaming.wire import protocol
from streaming.wire.belonging import BOTH_ENDS
from streaming.wire.protocol import (
    Audio,
    Clock,
    Codes,
    Done,
    End,
    Error,
    Format,
    Hello,
    Noise,
    PcmFormat,
    Ready,
    Role,
    ServerMessage,
    Stamps,
    Voice,
    VoiceForm,
)
from streaming.wire.tokens import check_token

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
FINISH_TIMEOUT = 10.0
PING_INTERVAL = 5.0
SILENCE = 12.0
"""A server from which nothing has come for so many s, not even the answer to a ping, is lost: well
before the server gives up a client that it hears nothing from (20 s), so that a publisher comes
back in time to find its listeners."""
LOOK_EVERY = 0.5
MAX_MESSAGE = 1 << 20
CLOCK_FIRST, CLOCK_EVERY = 3, 2.0
"""Questions asked before the session is handed out, and s between later ones."""
CLOCK_PATIENCE = 2.0
MAX_STAMPS = 1024
"""Sent packets whose times are remembered until they come back; the oldest are forgotten."""
MAX_PACKETS = 1024
"""Packets that wait for the reader of a session. Policy when full: nothing more is taken from the
socket, so TCP holds the server back, whose own bound then decides."""


class connect:
    """Open a session: ``async with connect(url, role=...) as session``.

    ``voice``, and ``talker``, who is known to be about to talk: timbre (256,), or the name of a
    voice the server knows. ``ready_timeout``: seconds to wait for ``ready``; None waits for ever,
    which a subscriber may want. ``wire``: adds this session to an earlier count. ``identity``: the
    model of the client's own, where it encodes or decodes; by default that which ``voice`` or
    ``talker`` carry. ``voices``, ``stamps``, ``coder``, ``pauses``: wishes for the wire, which a
    server of ``facodec.v1`` does not know: short voices, packets for one with stamps, what makes
    packets of codes smaller, and whether frames may be left out where nobody speaks, to be sent and
    to be read (:class:`PausePacket`). ``ca``: file with the certificates to trust for ``wss://``,
    by default the system's. The other options are those of
    :class:`streaming.wire.protocol.Hello`.

    Raises ConnectError (ServerUnreachable, ServerFull, NotAuthorized, WrongProtocol) when no
    session comes about, ServerError when the server refuses what was asked for, UsageError for a
    token or certificates that cannot be used, and ModelMismatch where voice, client and server are
    of different models.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        role: Role,
        input: Format | None = None,
        output: Format | None = None,
        pcm: PcmFormat = "f32",
        model: str | None = None,
        voice: np.ndarray | str | None = None,
        room: str | None = None,
        layers: int = 6,
        frames_per_packet: int = 1,
        token: str | None = None,
        ca: str | None = None,
        seed: int = 0,
        resume: str | None = None,
        pitch: float | None = None,
        talker: np.ndarray | str | None = None,
        identity: ModelIdentity | None = None,
        voices: VoiceForm = "exact",
        stamps: int | None = None,
        coder: FrameCoder | None = None,
        pauses: bool = False,
        ready_timeout: float | None = OPEN_TIMEOUT,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._coder = coder
        self._ca = ca
        self._ready_timeout = ready_timeout
        self._clock = clock
        self._wire = wire
        own = identity
        for known in (model_of(voice), model_of(talker)):
            if own is not None:
                need_model("the voice was", known, own)
            own = own or known
        self._hello = Hello(
            role=role,
            input=input,
            output=output,
            pcm=pcm,
            model=model,
            voice=_exact(voice),
            room=room,
            layers=layers,
            frames_per_packet=frames_per_packet,
            token=None if token is None else _sendable(token),
            seed=seed,
            resume=resume,
            pitch=pitch,
            talker=_exact(talker),
            identity=None if own is None else str(own),
            voices=None if voices == "exact" else voices,
            stamps=stamps,
            pauses=pauses or None,
        )

    async def __aenter__(self) -> Session:
        socket = await _open_socket(self._url, self._hello.token, self._ca)
        self._session = Session(socket, self._hello, self._wire, self._clock, self._coder)
        try:
            await self._session._start(self._ready_timeout)
        except BaseException:
            await self._session.close()
            raise
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()


class Session:
    """An open session; made by :class:`connect`. Iterate over it for what the server sends.

    One task may send while another iterates. Sending after the server has failed raises the
    server's own reason.
    """

    def __init__(
        self,
        socket: Line,
        hello: Hello,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
        coder: FrameCoder | None = None,
    ) -> None:
        self._bytes = ClientWire(socket.subprotocol, coder)
        self.hello = self._bytes.hello(hello)
        self.wire = wire or WireCount()
        self.clock = ClockEstimate()
        self.totals: Done | None = None
        self._socket = socket
        self._now = clock
        self._packets: asyncio.Queue[Packet | None] = asyncio.Queue(MAX_PACKETS)
        self._tasks: list[asyncio.Task[None]] = []
        self._done = asyncio.Event()
        self._failure: ClientError | None = None
        self._answers: dict[float, asyncio.Event] = {}
        self._sent: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._samples_sent = 0
        self._frames_sent = 0
        self._untold = 0
        self._is_paused = False
        self._frames_read = 0
        self._deaf = False
        self._reader: asyncio.Task[None] | None = None

    @property
    def ready(self) -> Ready:
        """What the server answered to hello."""
        return self._ready

    @property
    def identity(self) -> ModelIdentity:
        """The model that codes and voices of this session belong to. The codes and timbres in
        packets carry it; those of another model are not sent, with a ModelMismatch."""
        return self._identity

    @property
    def transport(self) -> asyncio.Transport:
        """What carries the session, for who counts its bytes."""
        return self._socket.transport

    @property
    def talker(self) -> np.ndarray | None:
        """Who the server has heard by the end, timbre (256,); None before, and where it heard less
        than 3 s of voice."""
        if self.totals is None or self.totals.talker is None:
            return None
        return belonging(protocol.voice_vector(self.totals.talker), self._identity)

    @property
    def frames_sent(self) -> int:
        """Frames of audio or codes sent so far; a part counts as one."""
        return max(-(-self._samples_sent // HOP), self._frames_sent)

    # ------------------------------------------------------------------ sending

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None:
        """Send samples float32 (n,), any n. ``captured``: monotonic time of the last one, s."""
        most = self.ready.limits.max_frames * HOP
        for start in range(0, len(samples), most):
            part = samples[start : start + most]
            data = protocol.pcm_to_bytes(part, self.hello.pcm)
            await self._send(Audio(self._samples_sent // HOP, data, self._stamp(captured)))
            self._samples_sent += len(part)

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None:
        """Send codes int (K, n), K at least the session's layers: what is more is left out."""
        need_model("the codes were", model_of(codes), self._identity, BOTH_ENDS)
        codes = codes[: self.hello.layers]
        if len(codes) < max(self.hello.layers, MIN_LAYERS):
            raise ValueError(f"wanted {self.hello.layers} layers of codes, got {len(codes)}")
        for start in range(0, codes.shape[1], self.ready.limits.max_frames):
            part = codes[:, start : start + self.ready.limits.max_frames]
            count = part.shape[1]
            estimate = self._bytes.due_estimate(self._frames_sent)
            if estimate is not None:
                await self._send(estimate)
            stamp = self._stamp(captured) if self._bytes.stamps_codes() else None
            await self._send(Codes(self._frames_sent, count, self._bytes.pack(part), stamp))
            self._frames_sent += count
            self._untold, self._is_paused = 0, False

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out where nobody speaks."""
        return self._bytes.pauses

    async def send_pause(self, frames: int, noise: bytes = b"") -> None:
        """Leave out frames, where :attr:`pauses` holds. ``noise``: how they sound
        (:class:`facodec.link.comfort.Description`), empty where that is as before."""
        if not self.pauses:
            raise ValueError("expected a session that takes pauses, got one that does not")
        tell, self._is_paused = bool(noise) or not self._is_paused, True
        while frames:
            step = min(frames, self.ready.limits.max_frames - self._untold)
            self._frames_sent += step
            self._untold += step
            frames -= step
            if self._untold == self.ready.limits.max_frames:
                await self._tell_pause(noise)
                tell, noise = False, b""
        if tell:
            await self._tell_pause(noise)

    async def _tell_pause(self, noise: bytes = b"") -> None:
        self._untold = 0
        await self._send(Noise(self._frames_sent, noise))

    async def send_voice(self, timbre: np.ndarray, *, exact: bool = True) -> None:
        """Send a timbre (256,): an exact one replaces the voice, an estimate is a hint."""
        model = model_of(timbre)
        need_model("the voice was", model, self._identity)
        if exact:
            told = None if model is None else str(model)
            await self._send(Voice(Voice.exact(timbre).data, told))
        elif self._bytes.estimate(np.asarray(timbre)):
            await self._send(Voice.estimate(timbre))

    async def synchronise(self) -> None:
        """Wait until the server has taken in all that was sent: it answers in order.

        Whoever sends faster than real time waits here now and then, so that neither side's
        buffers fill with minutes of audio. Refines the clock estimate too."""
        asked = self._now()
        answered = self._answers[asked] = asyncio.Event()
        try:
            await self._send(Clock(asked))
            await answered.wait()
        finally:
            del self._answers[asked]
        if self._failure is not None:
            raise self._failure

    async def finish(self, timeout: float = FINISH_TIMEOUT) -> Done:
        """Say that all is sent and wait for the server's totals; iterate for what is left.

        Raises FinishTimeout, ServerError or ConnectionLost."""
        if not self._done.is_set():
            if self._untold:
                await self._tell_pause()
            await self._send(End())
        try:
            await asyncio.wait_for(self._done.wait(), timeout)
        except asyncio.TimeoutError as error:
            full = self._packets.full()
            raise FinishTimeout(
                f"the server did not finish within {timeout:g} s"
                + (f"; {MAX_PACKETS} packets wait to be read: iterate while sending" * full)
            ) from error
        if self.totals is None:
            raise self._reason()
        return self.totals

    async def process(self, audio: np.ndarray, timeout: float = FINISH_TIMEOUT) -> np.ndarray:
        """Send all of audio float32 (n,) and return all samples (m,) that come back, however long
        it is: for sessions that send and receive sound. Ends the stream.

        ``timeout``: seconds that the server has for its last frames. Raises like :meth:`finish`.
        """
        sending = asyncio.create_task(self._send_all(audio, timeout))
        receiving = asyncio.create_task(self._receive_all())
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
            received = await receiving
            await sending
        finally:
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)
        return received

    async def _send_all(self, audio: np.ndarray, timeout: float) -> None:
        for start in range(0, len(audio), SAMPLE_RATE):
            await self.send_audio(audio[start : start + SAMPLE_RATE])
            await self.synchronise()
        await self.finish(timeout)

    async def _receive_all(self) -> np.ndarray:
        parts = [np.zeros(0, np.float32)]
        async for packet in self:
            if isinstance(packet, AudioPacket):
                parts.append(packet.samples)
        return np.concatenate(parts)

    # ------------------------------------------------------------------ receiving

    def __aiter__(self) -> AsyncIterator[Packet]:
        return self

    async def __anext__(self) -> Packet:
        packet = None
        if not (self._done.is_set() and self._packets.empty()):
            packet = await self._packets.get()
        if packet is not None:
            return packet
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def close(self) -> None:
        """Hang up; safe to call again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._release()
        with suppress(asyncio.QueueFull):  # full: then nobody waits for a packet
            self._packets.put_nowait(None)
        await self._socket.close()

    # ------------------------------------------------------------------ inside

    async def _start(self, ready_timeout: float | None) -> None:
        self._tasks = [asyncio.create_task(self._watch())]
        await self._send(self.hello)
        try:
            self._ready = await asyncio.wait_for(self._wait_ready(), ready_timeout)
        except asyncio.TimeoutError as error:
            raise ConnectError(f"the server did not answer within {ready_timeout:g} s") from error
        self._identity = self._agreed_identity()
        self._bytes.agree(self._ready)
        self._frames_read = self._ready.first or 0
        self._reader = asyncio.create_task(self._read())
        self._tasks.append(self._reader)
        with suppress(asyncio.TimeoutError):  # without a clock there are no stamps, no more
            await asyncio.wait_for(self._ask_time(), CLOCK_PATIENCE)
        self._tasks.append(asyncio.create_task(self._keep_time()))

    def _agreed_identity(self) -> ModelIdentity:
        """The session's model. An older server tells its name alone, and did not look whether the
        client's is another."""
        theirs = ModelIdentity.parse(self._ready.identity or self._ready.model)
        own = None if self.hello.identity is None else ModelIdentity.parse(self.hello.identity)
        sends_codes = "codes" in self.hello.formats()
        what = "what this client encodes or decodes was" if sends_codes else "the voice was"
        need_model(what, own, theirs, BOTH_ENDS if sends_codes else AGAIN)
        return theirs

    async def _wait_ready(self) -> Ready:
        while True:
            message = await self._receive()
            if isinstance(message, Ready):
                return message
            if isinstance(message, Error):
                if message.code == "overloaded":
                    raise ServerFull(f"the server is full ({message.message}): try again later")
                raise ServerError(message.code, message.message)

    async def _watch(self) -> None:
        """Breaks off a connection that has gone deaf, which no end of it is told otherwise."""
        silence = Silence(SILENCE, self._now())
        seen = -1
        while True:
            await asyncio.sleep(LOOK_EVERY)
            # With a full queue it is we who read nothing.
            heard = self._socket.received != seen or self._packets.full()
            seen = self._socket.received
            if silence.is_too_long(self._now(), heard=heard):
                self._deaf = True
                self._socket.transport.abort()
                return

    async def _read(self) -> None:
        try:
            await self._read_until_done()
        except ClientError as error:
            self._failure = error
        self._release()
        await self._packets.put(None)

    def _release(self) -> None:
        """Nothing more will be read: nobody may wait for it."""
        self._done.set()
        for answered in self._answers.values():
            answered.set()

    async def _read_until_done(self) -> None:
        while self.totals is None:
            message = await self._receive()
            arrived = self._now()
            if isinstance(message, Clock):
                self._on_clock(message, arrived)
            elif isinstance(message, Error):
                raise ServerError(message.code, message.message)
            elif isinstance(message, Done):
                self.totals = message
            else:
                pause = self._pause(message)
                if pause is not None:
                    await self._packets.put(pause)
                packet = self._packet(message, arrived)
                if packet is not None:
                    await self._packets.put(packet)

    def _pause(self, message: ServerMessage) -> PausePacket | None:
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
            self.wire.codes_bits_down += _bits(message, self.ready.layers)
            codes = self._bytes.unpack(message.data, self.ready.layers, message.n)
            codes = belonging(codes, self._identity)
            return CodesPacket(message.seq, codes, self._times(message.stamps, arrived))
        if isinstance(message, Voice):
            timbre = belonging(message.vector(), self._identity)
            return VoicePacket(timbre, message.is_exact, message.alike)
        return None

    def _times(self, stamps: Stamps | None, arrived: float) -> Times:
        if stamps is None:
            return Times(arrived)
        if stamps.t is None:
            return Times(arrived, stamps=stamps)
        known = self._sent.get(self._bytes.ticks(stamps.t))
        captured, sent = known or (stamps.t - self.clock.offset, None)
        return Times(arrived, captured, sent, stamps)

    def _on_clock(self, message: Clock, arrived: float) -> None:
        if message.t1 is not None:
            self.clock.add(message.t0, message.t1, arrived)
        if message.t0 in self._answers:
            self._answers[message.t0].set()

    async def _ask_time(self) -> None:
        with suppress(ClientError):  # whoever sends or reads next learns the reason
            for _ in range(CLOCK_FIRST):
                await self.synchronise()

    async def _keep_time(self) -> None:
        with suppress(ClientError):
            while True:
                await asyncio.sleep(CLOCK_EVERY)
                await self._send(Clock(self._now()))

    async def _send(self, message: protocol.ClientMessage) -> None:
        data = self._bytes.encode(message)
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            await self._reader_has_finished()
            raise self._reason() from error
        self.wire.bytes_up += len(data)
        self.wire.messages_up += 1
        if isinstance(message, Audio):
            self.wire.sound_bits_up += 8 * len(message.data)
        elif isinstance(message, Codes):
            self.wire.codes_bits_up += _bits(message, self.hello.layers)

    async def _receive(self) -> ServerMessage:
        try:
            data = await self._socket.recv(decode=False)
        except ConnectionClosed as error:
            raise ConnectionLost(self._explain(error)) from error
        self.wire.bytes_down += len(data)
        self.wire.messages_down += 1
        try:
            now = self._now() + self.clock.offset if self.clock.known else None
            return self._bytes.decode(data, now)
        except protocol.ProtocolError as error:
            spoken = self._socket.subprotocol or protocol.SUBPROTOCOL
            raise ConnectionLost(
                f"the server sent what is no {spoken} message: {error.sentence}"
            ) from error

    async def _reader_has_finished(self) -> None:
        """What the server said last may still wait to be read: its error explains the close."""
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=CLOSE_TIMEOUT)

    def _explain(self, error: ConnectionClosed) -> str:
        if self._deaf:
            return f"nothing came from the server for {SILENCE:g} s: the connection was lost"
        return explain_close(error)

    def _reason(self) -> ClientError:
        if self._failure is None and self.totals is not None and self.totals.reason == "shutdown":
            return ConnectionLost("the server is shutting down")
        return self._failure or ConnectionLost("the session is over")

    def _stamp(self, captured: float | None) -> float | None:
        """Stamps travel on the server's clock, so that any other client can read them too."""
        if captured is None or not self.clock.known:
            return None
        stamp = captured + self.clock.offset
        self._sent[self._bytes.ticks(stamp)] = captured, self._now()
        if len(self._sent) > MAX_STAMPS:
            self._sent.popitem(last=False)
        return stamp


class Line(ClientConnection):
    """A WebSocket that counts what comes in: ``received`` reads so far, whatever they bring."""

    received = 0

    def data_received(self, data: bytes) -> None:
        self.received += 1
        super().data_received(data)


async def _open_socket(url: str, token: str | None, ca: str | None) -> Line:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    tls = client_context(url, ca)
    proxy = proxy_for(url)
    try:
        socket = await websocket_connect(
            url,
            create_connection=Line,
            proxy=proxy,
            subprotocols=list(protocol.VERSIONS),  # type: ignore[arg-type]
            additional_headers=headers,
            ssl=tls,
            compression=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=PING_INTERVAL,
            ping_timeout=None,  # Session watches; a pong may wait in line behind media
            max_size=MAX_MESSAGE,
        )
    except ProxyError as error:
        raise explain_failure(url, proxy, error) from error
    except InvalidHandshake as error:
        raise explain_handshake(url, error) from error
    except Exception as error:  # also ImportError and what else a proxy of any kind brings
        raise explain_failure(url, proxy, error) from error
    assert isinstance(socket, Line)
    return socket


def _bits(message: Codes, layers: int) -> int:
    """Of the codes in a message, which may be entropy coded."""
    return min(8 * len(message.data), CODE_BITS * layers * message.n)


def _sendable(token: str) -> str:
    try:
        return check_token(token)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _exact(timbre: np.ndarray | str | None) -> bytes | str | None:
    if timbre is None or isinstance(timbre, str):
        return timbre
    return Voice.exact(np.asarray(timbre)).data
