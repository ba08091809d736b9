"""A live command: sound in, a server in between, sound out, until the end or Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clients.audio.denoise import DenoisedSource
from clients.audio.endpoints import Sink, Source, open_sink, open_source
from clients.audio.feed import Feed
from clients.audio.files import AudioWriter
from clients.audio.microphone import Block
from clients.errors import ClientError, ConnectionLost
from clients.library.addresses import without_secrets
from clients.library.connection import Session, connect
from clients.library.packets import AudioPacket, CodesPacket, Packet, Times
from clients.library.reconnect import keep_connected
from clients.library.socket import OPEN_TIMEOUT
from clients.session.live_options import LiveOptions
from clients.session.pausing import SpeechGate, paced
from clients.session.status import Progress, Reporter, Sampler
from clients.session.talkers import SourceTalker
from clients.session.tape import Tape
from clients.session.uplink import Uplink
from facodec.config import HOP, MIN_LAYERS, SAMPLE_RATE
from streaming.wire.protocol import Done, Format

if TYPE_CHECKING:
    from clients.offline.local import AnyEncoder, Computed, LocalCodec, LocalDecoder

STATUS_EVERY = 0.25
JSON_EVERY = 1.0
FLUSH_DEADLINE = 30.0
"""Seconds the server has to send what it still owes after the end of the input."""
STOP_DEADLINE = 5.0
"""Seconds for the end after Ctrl-C, when somebody waits."""


class LiveRun:
    """One run of a live command, over as many connections as it takes."""

    def __init__(
        self,
        options: LiveOptions,
        reporter: Reporter,
        local: LocalCodec | None,
        talker: SourceTalker | None = None,
    ) -> None:
        """``local``: the codec to encode and decode with here, None to leave that to the server.
        ``talker``: what is known of who talks."""
        self._options = options
        self._reporter = reporter
        self._local = local
        self._talker = talker or SourceTalker()
        self._source: Source | None = None
        self._sink: Sink | None = None
        self._tape: Tape | None = None
        self._recording: AudioWriter | None = None
        self._feed: Feed | None = None
        self._gate: SpeechGate | None = None
        self._uplink: Uplink | None = None
        self._connections = 0
        self._resume: str | None = None
        self._in_session = False
        self._stop = asyncio.Event()
        self.progress = Progress(time.monotonic())

    def stop(self) -> None:
        """End the input; what is under way still comes out."""
        self._stop.set()
        if self._source is not None:
            self._source.stop()

    async def run(self) -> Progress:
        """Until the input ends, :meth:`stop`, or an error (ClientError)."""
        with ExitStack() as stack:
            self._open_endpoints(stack)
            self._talker.meet(self._source)
            self.progress.started = time.monotonic()
            status = asyncio.create_task(self._show_status())
            if self._source is not None:
                self._feed = Feed(self._source)
            try:
                await self._until_stopped(self._talker.attempt(self._connected))
                if self._sink is not None:
                    await self._sink.drain()
            finally:
                status.cancel()
                if self._feed is not None:
                    await self._feed.close()
                self._count_devices()
                if self._connections:
                    self._reporter.conclude(self.progress, time.monotonic())
        return self.progress

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """After :meth:`stop` the work has a deadline: none where no session is open."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            patience = STOP_DEADLINE if self._in_session else 0
            if not task.done():
                await asyncio.wait({task}, timeout=patience)
            if task.done():
                task.result()
            elif self._in_session:
                self._reporter.say(f"the server did not finish within {STOP_DEADLINE:g} s")
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    def _open_endpoints(self, stack: ExitStack) -> None:
        """Input first: where it is missing, no output file must come to be."""
        wanted = self._options
        if wanted.listens:
            self._source = open_source(wanted.input, wanted.device_in, fast=wanted.fast)
            stack.callback(self._source.close)
            if wanted.denoise:
                self._source = DenoisedSource(self._source)
        if wanted.save_input is not None:
            self._recording = stack.enter_context(AudioWriter(wanted.save_input))
        if wanted.records and wanted.output is not None:
            self._tape = stack.enter_context(Tape(wanted.output, append=wanted.append))
        if wanted.plays:
            self._sink = open_sink(wanted.output, wanted.device_out, wanted.playout)
            stack.callback(self._sink.close)
            self._sink.start()

    async def _connected(self) -> None:
        if self._options.role == "subscribe":
            self._reporter.say(f"waiting for a publisher in room {self._options.room}")
        if not self._options.reconnect:
            async with self._connect() as session:
                await self._use(session)
            return
        await keep_connected(self._connect, self._use, self._tell_reconnect, self._sleep)

    def _tell_reconnect(self, sentence: str) -> None:
        self.progress.reconnects += 1
        self._reporter.say(sentence)

    async def _sleep(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except asyncio.TimeoutError:
            return True
        return False

    def _connect(self) -> connect:
        wanted = self._options
        media: Format = "codes" if self._local is not None or wanted.records else "pcm"
        here = wanted.converts_here
        return connect(
            wanted.url,
            role="loopback" if here and wanted.role == "convert" else wanted.role,
            input=media if wanted.listens else None,
            output=media if wanted.plays or wanted.records else None,
            # Nobody waits for a file, whose result is to be that of the codec to the last bit.
            pcm="f32" if wanted.fast else "s16",
            model=wanted.model,
            voice=None if here else wanted.voice,
            room=wanted.room,
            layers=MIN_LAYERS if here else wanted.layers,
            frames_per_packet=wanted.frames_per_packet,
            token=wanted.token,
            ca=wanted.ca,
            seed=wanted.seed,
            resume=self._resume,
            pitch=None if here else wanted.pitch,
            talker=self._talker.for_server,
            identity=None if self._local is None else self._local.codec.identity,
            # A file read fast is to come out as the codec gives it, to the last bit.
            voices="exact" if wanted.fast else "compact",
            coder=None if self._local is None else self._local.codec.coder,
            pauses=self._local is not None and wanted.may_pause,
            ready_timeout=None if wanted.role == "subscribe" else OPEN_TIMEOUT,
            wire=self.progress.wire,
        )

    async def _use(self, session: Session) -> None:
        self._connections += 1
        self._resume = session.ready.resume
        self._in_session = True
        if self._tape is not None and (remark := self._tape.begin(session.identity)):
            self._reporter.say(remark)
        self._say_connected(session)
        tasks = [asyncio.create_task(self._receive(session))]
        tasks.append(asyncio.create_task(self._send(session)))
        try:
            totals = await self._both(*tasks)
            self._talker.heard(session.talker)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._in_session = False
        self._check_end(totals)

    async def _both(
        self, receiving: asyncio.Task[Done | None], sending: asyncio.Task[Done | None]
    ) -> Done | None:
        """Whichever fails first fails both; the server may end before we do."""
        await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        return await receiving

    def _say_connected(self, session: Session) -> None:
        ready = session.ready
        delay = (ready.latency.encoder + ready.latency.decoder) / ready.sample_rate * 1000
        ends = [end.name for end in (self._source, self._sink, self._tape) if end is not None]
        server = without_secrets(self._options.url)
        self._reporter.say(
            f"connected to {server}: {' -> '.join(ends)}, model {ready.model} "
            f"({delay:.1f} ms of its own). Ctrl-C ends."
        )

    def _check_end(self, totals: Done | None) -> None:
        if totals is None or self._stop.is_set():
            return
        if totals.reason == "shutdown":
            raise ConnectionLost("the server is shutting down")
        if totals.reason == "replaced":
            raise ClientError(f"room {self._options.room} was taken over by another connection")
        if totals.reason == "publisher-left":
            if self._options.reconnect:
                raise ConnectionLost(f"the publisher left room {self._options.room}")
            self._reporter.say(f"the publisher left room {self._options.room}")

    async def _send(self, session: Session) -> Done | None:
        if self._feed is None:
            await self._stop.wait()
        else:
            self._feed.start_afresh()
            encoder = None
            self._gate = SpeechGate() if session.pauses else None
            frames, live = self._options.frames_per_packet, self._feed.live
            self._uplink = uplink = Uplink(session, self.progress.link, frames=frames, live=live)
            if self._local is not None:
                encoder = self._encoder_here(self._local)
            async for block in self._packets(self._feed):
                await self._send_block(session, uplink, block, encoder)
            if encoder is not None:
                await self._send_codes(session, uplink, last := await encoder.flush(), None)
                self._talker.heard(last.talker)
            await uplink.flush()
        return await session.finish(FLUSH_DEADLINE)

    def _encoder_here(self, local: LocalCodec) -> AnyEncoder:
        wanted, talker = self._options, self._talker.for_encoder
        if wanted.converts_here and isinstance(wanted.voice, str):
            return local.anonymizer(wanted.voice, wanted.pitch, talker)
        return local.encoder(wanted.layers, talker)

    async def _packets(self, feed: Feed) -> AsyncIterator[Block]:
        """Blocks joined to the length of a packet; a file read fast comes in larger ones."""
        size = self._options.frames_per_packet * HOP
        held: list[np.ndarray] = []
        while (block := await feed.get()) is not None:
            self._account(block.samples)
            held.append(block.samples)
            if sum(map(len, held)) >= size:
                yield replace(block, samples=np.concatenate(held))
                held = []
        if held:
            yield Block(np.concatenate(held), time.monotonic())

    def _account(self, samples: np.ndarray) -> None:
        self.progress.samples_in += len(samples)
        self.progress.level.add(samples)
        if self._recording is not None:
            self._recording.write(samples)

    async def _send_block(
        self, session: Session, uplink: Uplink, block: Block, encoder: AnyEncoder | None
    ) -> None:
        computing = 0.0
        if encoder is None:
            await uplink.send_audio(block.samples, block.captured)
        else:
            if self._gate is not None:
                self._gate.hear(block.samples)
            computed = await encoder.push(block.samples)
            computing = computed.seconds
            await self._send_codes(session, uplink, computed, block.captured)
        if self._options.fast:
            await session.synchronise()
        else:
            waited = time.monotonic() - block.captured - computing
            self.progress.ledger.add("capture", waited - block.denoise + self._options.packet_wait)
            if self._options.denoise:
                self.progress.ledger.add("denoise", block.denoise)
            if encoder is not None:
                self.progress.ledger.add("encode", computing)

    async def _send_codes(
        self, session: Session, uplink: Uplink, computed: Computed, captured: float | None
    ) -> None:
        from streaming.wire.media import Frames, Timbre

        wanted = self._options
        given = not (wanted.voice is None or wanted.role == "convert" or wanted.converts_here)
        for item in computed.media:
            if isinstance(item, Timbre) and not given:
                await session.send_voice(item.vector, exact=item.exact)
            elif isinstance(item, Frames):
                await self._send_frames(uplink, item.codes, captured)

    async def _send_frames(self, uplink: Uplink, codes: np.ndarray, captured: float | None) -> None:
        speech, noise = (True, b"") if self._gate is None else self._gate.judge(codes)
        if speech:
            await uplink.send_codes(codes, captured)
        else:
            await uplink.send_pause(codes.shape[1], noise)

    async def _receive(self, session: Session) -> Done | None:
        decoder = None
        if self._local is not None and self._options.plays:
            decoder = self._local.decoder(self._options.seed)
        async for packet in paced(session) if self._plays_live(session) else session:
            await self._take(session, packet, decoder)
        if decoder is not None:
            self._play(_sound(await decoder.flush()))
        return session.totals

    def _plays_live(self, session: Session) -> bool:
        """Whether pauses are to be heard as time passes, and not when they are told."""
        return session.pauses and self._sink is not None and self._sink.counters is not None

    async def _take(self, session: Session, packet: Packet, decoder: LocalDecoder | None) -> None:
        computing = 0.0
        if self._tape is not None:
            self.progress.samples_out += self._tape.take(packet)
            return
        if isinstance(packet, AudioPacket):
            samples = packet.samples
        elif decoder is not None:
            computed = await decoder.push(packet)
            samples, computing = _sound(computed), computed.seconds
        else:
            return
        wait = self._play(samples)
        if isinstance(packet, (AudioPacket, CodesPacket)) and not self._options.fast:
            self._enter(session, packet.times, computing, wait)

    def _play(self, samples: np.ndarray) -> float | None:
        self.progress.samples_out += len(samples)
        return self._sink.play(samples) if self._sink is not None else None

    def _enter(
        self, session: Session, times: Times, decoding: float, playout: float | None
    ) -> None:
        """Book where this packet's newest input spent its time."""
        if times.captured is None:
            return
        ledger, stamps, latency = self.progress.ledger, times.stamps, session.ready.latency
        look_ahead = (latency.encoder + latency.decoder) / SAMPLE_RATE
        on_the_way = times.arrived - (times.sent if times.sent is not None else times.captured)
        served = stamps.queue + stamps.encode + stamps.decode
        ledger.add("look-ahead", look_ahead)
        ledger.add("queue", stamps.queue)
        if self._local is None or times.sent is None:
            ledger.add("encode", stamps.encode)
        ledger.add("decode", decoding if self._local is not None else stamps.decode)
        ledger.add("network", max(0.0, on_the_way - served))
        if playout is not None:
            ledger.add("playout", playout)
        total = times.arrived - times.captured + look_ahead + decoding + (playout or 0.0)
        ledger.add("sum", total + self._options.packet_wait)

    async def _show_status(self) -> None:
        sampler = Sampler(self.progress)
        while True:
            await asyncio.sleep(JSON_EVERY if self._reporter.as_json else STATUS_EVERY)
            self._count_devices()
            self.progress.trouble = self._uplink.trouble if self._uplink is not None else ""
            self._reporter.show(sampler.take(time.monotonic()))

    def _count_devices(self) -> None:
        progress = self.progress
        counters = self._sink.counters if self._sink is not None else None
        progress.overruns = self._source.overruns if self._source is not None else 0
        if counters is not None:
            progress.underruns = counters.underruns
            progress.overruns += counters.overruns
            progress.playout = counters.as_dict()


def _sound(computed: Computed) -> np.ndarray:
    from clients.offline.local import samples_of

    return samples_of(computed)
