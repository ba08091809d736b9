"""A session with a server, for programs: sound, codes and voices in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import numpy as np

from clients.errors import (
    FinishTimeout,
)
from clients.library.exchange import LOOK_EVERY, Exchange
from clients.library.exchange import MAX_PACKETS as MAX_PACKETS
from clients.library.packets import AudioPacket, Packet
from clients.library.silence import Standstill
from facodec.config import SAMPLE_RATE
from streaming.wire.protocol import Done

FINISH_TIMEOUT = 10.0


class Session(Exchange):
    """An open session; made by :class:`clients.library.connection.connect`. Iterate over it for
    what the server sends.

    One task may send while another iterates. Sending after the server has failed raises the
    server's own reason. Where the connection is lost, sending and iterating wait for up to 30 s
    until the session goes on over another.
    """

    # ------------------------------------------------------------------ sending

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None:
        """Send samples float32 (n,), any n. ``captured``: monotonic time of the last one, s."""
        await self._send_each(self._state.audio(samples, captured))

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None:
        """Send codes int (K, n), K at least the session's layers: what is more is left out."""
        await self._send_each(self._state.codes(codes, captured))

    @property
    def pauses(self) -> bool:
        """Whether frames may be left out where nobody speaks."""
        return self._state.pauses

    @property
    def may_leave_out_detail(self) -> bool:
        """Whether packets of codes may hold prosody and content alone."""
        return self._state.may_leave_out_detail

    def leave_out_detail(self, *, leave: bool) -> None:
        """From here on codes are sent without their detail, three of each frame, or all again;
        nothing changes where :attr:`may_leave_out_detail` does not hold."""
        self._state.leave_out_detail(leave=leave)

    def hold_voices(self, *, hold: bool) -> None:
        """From here on estimates of the talker's voice wait, or go out when they are due."""
        self._state.hold_voices(hold=hold)

    @property
    def repeats(self) -> bool:
        """Whether packets of up to 8 frames are repeated in part."""
        return self.ready.redundancy is not None

    async def send_pause(self, frames: int, noise: bytes = b"") -> None:
        """Leave out frames, where :attr:`pauses` holds. ``noise``: how they sound
        (:class:`facodec.link.comfort.Description`), empty where that is as before."""
        await self._send_each(self._state.pause(frames, noise))

    async def send_voice(
        self, timbre: np.ndarray | str, *, exact: bool = True, shift: float = 0.0
    ) -> None:
        """Send a timbre (256,), or the name of a voice that the server knows: an exact one replaces
        the voice, an estimate is a hint. ``shift``: semitones that an exact one is to speak higher
        than it does."""
        await self._send_each(self._state.voice(timbre, exact=exact, shift=shift))

    async def finish(self, timeout: float = FINISH_TIMEOUT) -> Done:
        """Say that all is sent and wait for the server's totals; iterate for what is left.
        ``timeout``: seconds in which nothing of it comes.

        Raises FinishTimeout, ServerError or ConnectionLost."""
        if not self._done.is_set():
            await self._send_each(self._state.end())
        await self._wait_done(timeout)
        if self.totals is None:
            raise self._reason()
        return self.totals

    async def _wait_done(self, timeout: float) -> None:
        """Waits for the end as long as something comes: a link may be slow."""
        standstill = Standstill(timeout, self._now(), self._bytes_received)
        while not self._done.is_set():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._done.wait(), min(timeout, LOOK_EVERY))
                return
            if self._line.is_away:
                standstill.restart(self._now(), self._bytes_received)
            elif standstill.is_too_long(self._now(), self._bytes_received):
                full = self._packets.full()
                raise FinishTimeout(
                    f"the server did not finish: nothing came for {timeout:g} s"
                    + (f"; {MAX_PACKETS} packets wait to be read: iterate while sending" * full)
                )

    @property
    def _bytes_received(self) -> int:
        return self._line.socket.bytes_received

    async def process(self, audio: np.ndarray, timeout: float = FINISH_TIMEOUT) -> np.ndarray:
        """Send all of audio float32 (n,) and return all samples (m,) that come back, however long
        it is: for sessions that send and receive sound. Ends the stream.

        ``timeout``: seconds in which nothing of the last frames comes. Raises like :meth:`finish`.
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
