"""A live command: sound in, a server in between, sound out, until the end or Ctrl-C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clients.audio.denoise import DenoisedSource
from clients.audio.endpoints import Sink, Source, open_sink, open_source
from clients.audio.feed import Feed
from clients.audio.files import AudioWriter
from clients.audio.microphone import Block
from clients.errors import ClientError, ConnectionLost
from clients.library.addresses import without_secrets
from clients.library.connection import Session, connect
from clients.library.packets import AudioPacket, CodesPacket, PausePacket
from clients.library.reconnect import keep_connected
from clients.session.controls import Choice, Controls
from clients.session.live_options import LiveOptions
from clients.session.losses import Losses
from clients.session.opening import opening
from clients.session.pausing import Filling, Piece, Run, SpeechGate, Surplus, paced
from clients.session.shaping import Shaping
from clients.session.status import Progress, Reporter, Sampler
from clients.session.stopping import until_stopped
from clients.session.talkers import SourceTalker
from clients.session.tape import Tape
from clients.session.uplink import Uplink
from clients.session.voicing import Voicing
from facodec.config import HOP, SAMPLE_RATE
from streaming.wire.protocol import Done

if TYPE_CHECKING:
    from clients.offline.local import AnyEncoder, Computed, LocalCodec, LocalDecoder

STATUS_EVERY = 0.25
JSON_EVERY = 1.0
FLUSH_DEADLINE = 30.0
"""Seconds for which nothing may come of what the server still owes at the end of the input."""
STOP_DEADLINE = 5.0
"""Seconds for which nothing may come after Ctrl-C, when somebody waits."""


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
        first = Choice(options.voice_name, options.voice)
        self.controls = Controls(first, options.shift, options.gain)
        self._shaping = Shaping(self.controls, options.gate)
        self._voicing = Voicing(options, self.controls, self._talker, local, reporter.say)
        self._source: Source | None = None
        self._sink: Sink | None = None
        self._tape: Tape | None = None
        self._recording: AudioWriter | None = None
        self._feed: Feed | None = None
        self._gate: SpeechGate | None = None
        self._uplink: Uplink | None = None
        self._connections = self._surplus = 0
        self._resume: str | None = None
        self._losses: Losses | None = None
        self._heard = -1
        self._in_session = self._goes_on = self._told = False
        self.stopped = asyncio.Event()
        self.progress = Progress(time.monotonic())

    def _patience(self) -> float:
        """Seconds for the end from now on: none where no session is open, or nothing has come since
        this was asked last; what a file is owed is also waited for while its connection is lost."""
        before, self._heard = self._heard, self.progress.samples_out
        away = self._options.fast and self._losses is not None and self._losses.session.is_away
        return STOP_DEADLINE if self._in_session and (away or before != self._heard) else 0.0

    def stop(self) -> None:
        """End the input; what is under way still comes out."""
        self.stopped.set()
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
                work = self._talker.attempt(self._connected)
                if not await until_stopped(work, self.stopped, self._patience):
                    self._reporter.say(
                        f"nothing more came from the server within {STOP_DEADLINE:g} s"
                    )
                if self._sink is not None:
                    await self._sink.drain()
            finally:
                status.cancel()
                if self._feed is not None:
                    await self._feed.close()
                self.progress.count_devices(self._source, self._sink)
                if self._connections:
                    self._reporter.conclude(self.progress, time.monotonic())
        return self.progress

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
        self._goes_on = True
        while self._goes_on and not self.stopped.is_set():
            self._goes_on = False
            try:
                await self._connected_once()
            except (ClientError, ValueError) as error:
                self._goes_on = self._voicing.take_back(error)
                if not self._goes_on:
                    raise

    async def _connected_once(self) -> None:
        if self._options.reconnect:
            await keep_connected(self._connect, self._use, self._tell_reconnect, self._sleep)
            return
        async with self._connect() as session:
            await self._use(session)

    def _tell_reconnect(self, sentence: str) -> None:
        self.progress.reconnects += 1
        self._told = False
        self._reporter.say(sentence)

    async def _sleep(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.stopped.wait(), seconds)
        except asyncio.TimeoutError:
            return True
        return False

    def _connect(self) -> connect:
        self._voicing.prepare()
        return opening(
            self._options, self._voicing, self._talker, self._local,
            resume=self._resume, wire=self.progress.wire, tell=self._reporter.say,
        )  # fmt: skip

    async def _use(self, session: Session) -> None:
        self._connections += 1
        self._resume = session.ready.resume
        self._losses = Losses(session, self.progress.link)
        self._in_session = True
        if self._tape is not None and (remark := self._tape.begin(session.identity)):
            self._reporter.say(remark)
        self._say_connected(session)
        self._shaping.begin()
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
        if self._told:  # the last session gave way to another voice
            return
        self._told, ready = True, session.ready
        delay = (ready.latency.encoder + ready.latency.decoder) / ready.sample_rate * 1000
        ends = [end.name for end in (self._source, self._sink, self._tape) if end is not None]
        server = without_secrets(self._options.url)
        self._reporter.say(
            f"connected to {server}: {' -> '.join(ends)}, model {ready.model} "
            f"({delay:.1f} ms of its own). Ctrl-C ends."
        )

    def _check_end(self, totals: Done | None) -> None:
        if totals is None or self.stopped.is_set():
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
            await self.stopped.wait()
        else:
            self._feed.start_afresh()
            encoder = None
            self._gate = SpeechGate() if session.pauses else None
            frames, live = self._options.frames_per_packet, self._feed.live
            self._uplink = uplink = Uplink(session, self.progress.link, frames=frames, live=live)
            if self._local is not None:
                encoder = self._encoder_here(self._local)
            await self._voicing.begin(session, encoder)
            async for block in self._packets(self._feed):
                await self._send_block(session, uplink, block, encoder)
                if not await self._voicing.follow(session, encoder):
                    self._goes_on = True
                    self._shaping.leave()
                    break
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
            held.append(self._account(block.samples))
            if sum(map(len, held)) >= size:
                yield replace(block, samples=np.concatenate(held))
                held = []
        if held:
            yield Block(np.concatenate(held), time.monotonic())

    def _account(self, samples: np.ndarray) -> np.ndarray:
        """Counts samples (n,) of the input; returns those to be sent."""
        self.progress.samples_in += len(samples)
        self.progress.level.add(samples)
        if self._uplink is not None:
            self._uplink.look()
        shaped = self._shaping.to_send(samples)
        if self._recording is not None:
            self._recording.write(shaped)
        return shaped

    async def _send_block(
        self, session: Session, uplink: Uplink, block: Block, encoder: AnyEncoder | None
    ) -> None:
        computing, dropped = 0.0, self.progress.link.dropped
        self._shaping.sent(block.samples)
        if encoder is None:
            await uplink.send_audio(block.samples, block.captured)
        else:
            if self._gate is not None:
                self._gate.hear(block.samples)
            computed = await encoder.push(block.samples)
            computing = computed.seconds
            await self._send_codes(session, uplink, computed, block.captured)
        if self._losses is not None:
            self._losses.count_up()
        self._shaping.dropped(HOP * (self.progress.link.dropped - dropped))
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
        converts = self._voicing.role == "convert" or wanted.converts_here
        given = wanted.voice is not None and not converts
        for item in computed.media:
            if isinstance(item, Timbre) and not given:
                await session.send_voice(item.vector, exact=item.exact)
            elif isinstance(item, Frames):
                await self._send_frames(uplink, item.codes, captured)

    async def _send_frames(self, uplink: Uplink, codes: np.ndarray, captured: float | None) -> None:
        whole = [Run(codes, codes.shape[1])]
        for run in whole if self._gate is None else self._gate.judge(codes):
            if run.codes is None:
                await uplink.send_pause(run.frames, run.noise)
            else:
                spoken = None if captured is None else captured - run.after * HOP / SAMPLE_RATE
                await uplink.send_codes(run.codes, spoken)

    async def _receive(self, session: Session) -> Done | None:
        decoder = None
        if self._local is not None and self._options.plays:
            decoder = self._local.decoder(self._options.seed)
        async for packet in paced(session) if self._plays_live(session) else session:
            await self._take(session, packet, decoder)
        if decoder is not None:
            self._play((await decoder.flush()).sound)
        return session.totals

    def _plays_live(self, session: Session) -> bool:
        """Whether pauses are to be heard as time passes, and not when they are told."""
        return session.pauses and self._sink is not None and self._sink.counters is not None

    async def _take(self, session: Session, packet: Piece, decoder: LocalDecoder | None) -> None:
        computing = 0.0
        if isinstance(packet, Surplus):
            self._surplus = packet.frames * HOP
            return
        if self._losses is not None:
            self._shaping.skipped(HOP * self._losses.count_down(packet))
        if self._tape is not None:
            self.progress.samples_out += self._tape.take(packet)
            return
        if isinstance(packet, AudioPacket):
            samples = packet.samples
        elif decoder is not None:
            computed = await decoder.push(packet)
            samples, computing = computed.sound, computed.seconds
        else:
            return
        wait = self._play(samples, packet)
        if isinstance(packet, (AudioPacket, CodesPacket)) and not self._options.fast:
            self.progress.ledger.book(
                packet.times,
                session.ready.latency,
                computing,
                wait,
                packet_wait=self._options.packet_wait,
                computes=self._local is not None,
            )

    def _play(self, samples: np.ndarray, packet: Piece | None = None) -> float | None:
        surplus, self._surplus = self._surplus, 0
        self.progress.samples_out += len(samples) - surplus
        shaped = self._shaping.to_hear(samples, surplus)
        if self._sink is None:
            return None
        fills, pause = isinstance(packet, Filling), isinstance(packet, PausePacket)
        return self._sink.play(shaped, surplus, fills=fills, pause=pause)

    async def _show_status(self) -> None:
        sampler = Sampler(self.progress)
        while True:
            await asyncio.sleep(JSON_EVERY if self._reporter.as_json else STATUS_EVERY)
            self.progress.count_devices(self._source, self._sink)
            link = "" if self._uplink is None else self._uplink.trouble
            self.progress.trouble = (
                self._losses.trouble if self._losses is not None else ""
            ) or link
            self._reporter.show(sampler.take(time.monotonic()))
