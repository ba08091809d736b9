"""The asyncio client library: a session with a server, as audio and codes in and out.

async with connect("ws://127.0.0.1:8765", role="loopback") as session:
    await session.send_audio(samples)
    totals = await session.finish()
    async for packet in session:
        ...
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType

import numpy as np
from websockets.exceptions import ConnectionClosed

from clients.errors import ConnectError, ConnectionLost, UsageError
from clients.library.addresses import check_address, is_quic
from clients.library.certificates import client_context
from clients.library.packets import WireCount
from clients.library.refusals import explain_early_close
from clients.library.session import Session
from clients.library.socket import OPEN_TIMEOUT, open_socket
from clients.options import DEFAULT_URL
from facodec import renamed
from facodec.identity import ModelIdentity, model_of, need_model
from facodec.link.entropy import FrameCoder
from facodec.reasons import shown
from streaming.wire.protocol import (
    Format,
    Hello,
    PcmFormat,
    Replay,
    Role,
    Voice,
    VoiceForm,
)
from streaming.wire.tokens import check_token

__all__ = ["Session", "connect"]

__getattr__ = renamed.attributes(
    __name__,
    {
        name: f"clients.library.{home}.{name}"
        for home, names in {
            "packets": (
                "AudioPacket",
                "CodesPacket",
                "Packet",
                "Times",
                "VoicePacket",
                "WireCount",
            ),
            "session": ("FINISH_TIMEOUT", "MAX_PACKETS"),
        }.items()
        for name in names
    },
)


class connect:
    """Open a session: ``async with connect(url, role=...) as session``.

    ``voice``, and ``talker``, who is known to be about to talk: timbre (256,), or the name of a
    voice the server knows. ``ready_timeout``: seconds to wait for ``ready``; None waits for ever,
    which a subscriber may want. ``wire``: adds this session to an earlier count. ``identity``: the
    model of the client's own, where it encodes or decodes; by default that which ``voice`` or
    ``talker`` carry. ``voices``, ``stamps``, ``coder``, ``pauses``, ``redundancy``: wishes for the
    wire, which a server of ``facodec.v1`` does not know: short voices, packets for one with stamps,
    what makes packets of codes smaller, whether frames may be left out where nobody speaks, to be
    sent and to be read (:class:`clients.library.packets.PausePacket`), and how many packets of
    codes later one repeats what matters of it. ``fewer_layers``: packets of codes may come, and be
    sent, without detail where a link is slow (:attr:`CodesPacket.layers`). ``datagrams``: over
    ``quic://``, whether codes go in datagrams, some of which are lost
    (:class:`clients.library.packets.LostPacket`). ``replay``: the session goes on over another
    connection where this one is lost (not over ``quic://``, which itself lasts), after which
    ``all`` that was lost is sent again, or only the ``newest`` of live sound; None: it ends with
    its connection. ``tell``: gets a sentence when that happens. ``live``: of a room the newest is
    worth most, and what the link does not take in time is not sent. ``ca``: file with the
    certificates to trust for ``wss://`` and ``quic://``, by default the system's. The other options
    are those of :class:`streaming.wire.protocol.Hello`.

    Raises ConnectError (ServerUnreachable, ServerFull, NotAuthorized, WrongProtocol) when no
    session comes about, ServerError when the server refuses what was asked for, UsageError for a
    token or certificates that cannot be used, MissingExtra where there is no QUIC, and
    ModelMismatch where voice, client and server are of different models.
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
        replay: Replay | None = "all",
        tell: Callable[[str], None] | None = None,
        live: bool = False,
        redundancy: int | None = None,
        fewer_layers: bool = False,
        datagrams: bool = True,
        ready_timeout: float | None = OPEN_TIMEOUT,
        wire: WireCount | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._coder = coder
        self._ca = ca
        self._datagrams = datagrams
        self._ready_timeout = ready_timeout
        self._clock = clock
        self._wire = wire
        self._tell = tell
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
            model=None if model is None else _text(model, "model"),
            voice=_exact(voice),
            room=None if room is None else _text(room, "room"),
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
            live=live or None,
            redundancy=redundancy,
            fewer_layers=fewer_layers or None,
            replay=None if is_quic(url) else replay,
        )

    async def __aenter__(self) -> Session:
        reopen = partial(
            open_socket, self._url, self._hello.token, self._ca, datagrams=self._datagrams
        )
        self._session = Session(
            await reopen(), self._hello, self._wire, self._clock, self._coder, reopen, self._tell
        )
        try:
            await self._session.start(self._ready_timeout)
        except BaseException as error:
            await self._session.close()
            if (refusal := self._refusal(error)) is not None:
                raise refusal from error
            raise
        return self._session

    def _refusal(self, error: BaseException) -> ConnectError | None:
        """The refusal that an error before ``ready`` comes from, if any: over QUIC a connection is
        there before the server says whether it may be."""
        closed = error.__cause__
        if not isinstance(error, ConnectionLost) or not isinstance(closed, ConnectionClosed):
            return None
        told = closed.rcvd
        return None if told is None else explain_early_close(self._url, told.code, told.reason)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()


def check_server(url: str, token: str | None = None, ca: str | None = None) -> None:
    """See that a session can be asked for with this address, token and file of certificates. Raises
    ConnectError and UsageError as :class:`connect` would, before anything is done."""
    check_address(url)
    client_context(url, ca)
    if token is not None:
        _sendable(token)


def _sendable(token: str) -> str:
    try:
        return check_token(token)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _text(name: str, what: str) -> str:
    """A name that can be sent, which one of bytes that are no UTF-8 cannot."""
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(f"expected a {what}'s name in UTF-8, got '{shown(name)}'")
    return name


def _exact(timbre: np.ndarray | str | None) -> bytes | str | None:
    if timbre is None or isinstance(timbre, str):
        return None if timbre is None else _text(timbre, "voice")
    return Voice.exact(np.asarray(timbre)).data
