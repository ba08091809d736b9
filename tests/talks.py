"""Talks over paths with a clock of their own: who speaks, the server between and who listens are
the real ones, down to their bytes; the codec, the sockets and time are not.

Sound tells when it was said: a sample is its own time, so that what is heard tells its delay.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.link.conditions import Path, Way
from clients.library.client_session import ClientSession
from clients.library.packets import AudioPacket, CodesPacket, Packet, PausePacket, VoicePacket
from clients.library.wire import ClientWire
from clients.session.pausing import Filling, PausePacer, Piece, Surplus
from clients.session.uplink import LinkCounters, Uplink
from facodec.config import HOP, SAMPLE_RATE, TIMBRE_DIM, Latency
from facodec.identity import ModelIdentity
from streaming.playout.buffer import PlayoutBuffer
from streaming.server.downlink import Downlink
from streaming.wire.framing import CompactFraming
from streaming.wire.media import Frames, Media, Sound
from streaming.wire.protocol import Hello, Limits
from streaming.wire.session import Arrived, ServerSession

PERIOD = HOP / SAMPLE_RATE
BLOCK = 160
"""Samples that the loudspeaker asks for at a time."""
HEADERS, WEBSOCKET = 52, 6
"""Bytes of TCP and IP, and of a WebSocket, beside a message."""
AGAIN, TRIES, LONGEST = 0.06, 6, 1.0
"""Seconds beside the round trip after which TCP sends again what was lost, the times it does so at
that pace, and the most that it waits later on."""
ACKNOWLEDGED_LATE = 0.04
"""Seconds that a receiver waits before it acknowledges, as Linux does."""
QUIET, LEAST, TURN = 0.01, 1.0, 16.0
"""A sample of a pause, the least that is a time, and the seconds after which times begin again."""
TICK = 1e-5
"""Seconds that timers are late: numbers with a point never meet."""
SPOKEN = 1.0
"""Seconds that the clock shows when the talk begins."""
LIMITS = Limits(max_message=100_000, max_frames=80, backlog=2.0, idle_timeout=60.0)
MODEL = ModelIdentity("live", "0123456789ab")


class Clock:
    """Calls what is due in the order of its time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def call_at(self, at: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (max(at, self.now), self._count, call))

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, call = heapq.heappop(self._due)
            call()


class Connection:
    """One way of a TCP connection over a path: what is lost comes later, and what follows it waits.
    ``deliver`` gets each message."""

    def __init__(self, clock: Clock, path: Path, deliver: Callable[[bytes], None]) -> None:
        self._clock, self._deliver = clock, deliver
        self._there, self._back = Way(path, 0, SPOKEN), Way(path, 1, SPOKEN)
        self._delay = path.stages[0].delay
        self._came = 0.0
        self._unacknowledged: deque[tuple[float, int]] = deque()
        self.bytes_sent = 0

    def send(self, data: bytes) -> None:
        size = len(data) + WEBSOCKET
        self.bytes_sent += size
        at, tries = self._clock.now, 0
        wait = 2 * self._delay + AGAIN
        while (came := self._there.arrival(at, size + HEADERS)) is None:
            at, tries = at + wait, tries + 1
            wait = wait if tries < TRIES else min(2 * wait, LONGEST)
        self._came = max(self._came, came)
        # The next acknowledgement says what a lost one said.
        lost = self._came + self._delay + 0.05
        acknowledged = self._back.arrival(self._came + ACKNOWLEDGED_LATE, HEADERS) or lost
        self._unacknowledged.append((acknowledged, size))
        self._clock.call_at(self._came, lambda: self._deliver(data))

    @property
    def unacknowledged(self) -> int:
        while self._unacknowledged and self._unacknowledged[0][0] <= self._clock.now:
            self._unacknowledged.popleft()
        return sum(size for _, size in self._unacknowledged)


@dataclass
class Heard:
    """Outcome of a talk. ``times``, ``delays``: when blocks of speech were heard, and how long
    after they were said; ``arrivals`` (n, 2): of packets of speech, and how long after the
    beginning of what is in them; s of the talk."""

    times: NDArray[np.float64]
    delays: NDArray[np.float64]
    arrivals: NDArray[np.float64]
    counters: LinkCounters
    playout: PlayoutBuffer


class Talk:
    """``speaks``: whether somebody speaks in a frame. ``frames``: frames a packet. ``sound``:
    whether the listener hears sound that the server makes. ``down``: whether the path lies behind
    the server; ``live``: whether who listens says that it hears live; ``voices``: whether there are
    estimates of the talker's voice."""

    def __init__(
        self,
        path: Path,
        speaks: Callable[[int], bool],
        *,
        frames: int = 4,
        sound: bool = False,
        down: bool = False,
        live: bool = True,
        voices: bool = True,
    ) -> None:
        self._clock = Clock()
        clock = lambda: self._clock.now  # noqa: E731 - a clock
        self._speaks, self._frames, self._sound = speaks, frames, sound
        self._voices = voices
        clean = Path("near", "")
        self._up = Connection(self._clock, clean if down else path, self._at_server)
        self._down = Connection(self._clock, path if down else clean, self._at_listener)
        hello = Hello(
            "publish",
            "codes",
            room="r",
            frames_per_packet=frames,
            pauses=True,
            fewer_layers=True,
            voices="compact",
        )
        self._publisher = ClientSession(hello, clock=clock, encoding=ClientWire("facodec.v2"))
        self._session = _opened(self._publisher)
        wanted = "pcm" if sound else "codes"
        listens = Hello(
            "subscribe",
            output=wanted,
            room="r",
            pauses=not sound,
            frames_per_packet=1 if sound else frames,
            fewer_layers=not sound,
            voices="compact",
        )
        self._listener = ClientSession(listens, clock=clock, encoding=ClientWire("facodec.v2"))
        self._relay = _opened(self._listener)
        self._left_out: list[int] = []
        self._take: Callable[[Media], list[Media]] = lambda item: [item]
        if live:
            self._take = Downlink(
                lambda: self._down.bytes_sent,
                lambda: self._down.unacknowledged,
                self._left_out.append,
                clock,
                may_leave_out_detail=not sound,
            ).take
        self._counters = LinkCounters()
        self._uplink = Uplink(self, self._counters, frames=frames, live=True, clock=clock)
        self._pacer, self._playout = PausePacer(), PlayoutBuffer()
        self._surplus = 0
        self._random = np.random.default_rng(0)
        self._voice = self._random.normal(size=TIMBRE_DIM).astype(np.float32)
        self._timers = [0, 0]
        self._arrivals: list[tuple[float, float]] = []
        self._heard: list[tuple[float, float]] = []

    def over(self, seconds: float) -> Heard:
        """The talk, so many seconds of it."""
        self._clock.call_at(SPOKEN + self._frames * PERIOD, lambda: self._say(0))
        self._clock.call_at(0.0, self._pull)
        self._clock.call_at(SPOKEN, self._look)
        self._clock.run(SPOKEN + seconds)
        points = np.array(self._heard).reshape(-1, 2)
        arrivals = np.array(self._arrivals).reshape(-1, 2)
        return Heard(points[:, 0], points[:, 1], arrivals, self._counters, self._playout)

    # ------------------------------------------------------------------------- who speaks

    @property
    def bytes_sent(self) -> int:
        return self._up.bytes_sent

    @property
    def unacknowledged(self) -> int:
        return self._up.unacknowledged

    repeats = False

    @property
    def may_leave_out_detail(self) -> bool:
        return self._publisher.may_leave_out_detail

    def leave_out_detail(self, *, leave: bool) -> None:
        self._publisher.leave_out_detail(leave=leave)

    def hold_voices(self, *, hold: bool) -> None:
        self._publisher.hold_voices(hold=hold)

    async def send_audio(self, samples: np.ndarray, captured: float | None = None) -> None:
        raise AssertionError("codes are sent here")

    async def send_codes(self, codes: np.ndarray, captured: float | None = None) -> None:
        for data in self._publisher.codes(codes, captured):
            self._up.send(data)

    async def send_pause(self, frames: int, noise: bytes = b"") -> None:
        for data in self._publisher.pause(frames, noise):
            self._up.send(data)

    def _look(self) -> None:
        """Each hop of the microphone is a time to look."""
        self._clock.call_at(self._clock.now + PERIOD, self._look)
        self._uplink.look()

    def _say(self, first: int) -> None:
        """Counts frames, from this one on, that have been said."""
        self._clock.call_at(self._clock.now + self._frames * PERIOD, self._following(first))
        numbers = np.arange(first, first + self._frames)
        if any(self._speaks(number) for number in numbers.tolist()):
            codes = np.zeros((6, self._frames), np.int64)
            codes[1], codes[2] = (numbers + 1) % 1024, (numbers + 1) // 1024
            timbre = self._voice + self._random.normal(0, 0.2, TIMBRE_DIM).astype(np.float32)
            for _ in self._publisher.voice(timbre, exact=False) if self._voices else ():
                raise AssertionError("an estimate waits for codes")
            _finish(self._uplink.send_codes(codes, self._clock.now))
        else:
            _finish(self._uplink.send_pause(self._frames, b""))

    def _following(self, first: int) -> Callable[[], None]:
        return lambda: self._say(first + self._frames)

    # ------------------------------------------------------------------------- the server

    def _at_server(self, data: bytes) -> None:
        event = self._session.receive(data, self._clock.now)
        assert isinstance(event, Arrived)
        for item in (event.before, event.item):
            if item is not None:
                self._pass_on(item)
        self._watch_pause()

    def _watch_pause(self, number: int | None = None) -> None:
        if number is not None and number != self._timers[0]:
            return
        self._timers[0] += 1
        made, wait = self._session.pause_due(self._clock.now)
        if made is not None:
            self._pass_on(made)
        if wait is not None:
            mine = self._timers[0]
            self._clock.call_at(self._clock.now + wait + TICK, lambda: self._watch_pause(mine))

    def _pass_on(self, item: Media) -> None:
        if self._sound:
            if not item.frames:
                return
            assert isinstance(item, Frames)
            item = Sound(_sound(item.codes))
        for kept in self._take(item):
            for data, _ in self._relay.send(kept):
                self._down.send(data)

    # ------------------------------------------------------------------------- who listens

    def _at_listener(self, data: bytes) -> None:
        for packet in self._listener.receive(data):
            for piece in self._pacer.take(_packet(packet), self._clock.now):
                self._play(piece)
        self._watch_pacer()

    def _watch_pacer(self, number: int | None = None) -> None:
        if number is not None and number != self._timers[1]:
            return
        self._timers[1] += 1
        if (piece := self._pacer.due(self._clock.now)) is not None:
            self._play(piece)
        if (wait := self._pacer.wait(self._clock.now)) is not None:
            mine = self._timers[1]
            self._clock.call_at(self._clock.now + wait + TICK, lambda: self._watch_pacer(mine))

    def _play(self, piece: Piece) -> None:
        if isinstance(piece, Surplus):
            self._surplus = piece.frames * HOP
            return
        if isinstance(piece, VoicePacket):
            return
        if isinstance(piece, AudioPacket):
            samples = piece.samples
        elif isinstance(piece, CodesPacket):
            samples = _sound(piece.codes)
        else:
            samples = np.full(piece.frames * HOP, QUIET, np.float32)  # type: ignore[union-attr]
        if samples[:1].max(initial=0.0) > QUIET:
            now = self._clock.now - SPOKEN
            self._arrivals.append((now, (now - (float(samples[0]) - LEAST)) % TURN))
        surplus, self._surplus = self._surplus, 0
        if len(samples):
            fills, pause = isinstance(piece, Filling), isinstance(piece, PausePacket)
            self._playout.push(samples, self._clock.now, surplus, fills=fills, pause=pause)

    def _pull(self) -> None:
        now = self._clock.now - SPOKEN
        self._clock.call_at(self._clock.now + BLOCK / SAMPLE_RATE, self._pull)
        block = self._playout.pull(BLOCK).astype(np.float64)
        # Time goes on in speech, but not in pauses, under fades nor where something was left out.
        flows = np.abs(np.diff(block) * SAMPLE_RATE - 1) < 0.2
        if flows.sum() > BLOCK // 4:
            heard = now + np.arange(1, BLOCK)[flows] / SAMPLE_RATE
            delays = (heard - (block[1:][flows] - LEAST)) % TURN
            self._heard.append((now, float(np.median(delays))))


def _sound(codes: np.ndarray) -> np.ndarray:
    """Samples that tell when they were said."""
    numbers = (codes[1] + 1024 * codes[2])[:, None]
    times = LEAST + ((numbers - 1 + np.arange(HOP) / HOP) * PERIOD) % TURN
    told = np.where(numbers > 0, times, QUIET)
    return told.ravel().astype(np.float32)


def _packet(event: object) -> Packet:
    return event  # type: ignore[return-value]


def _finish(work: Coroutine[None, None, None]) -> None:
    """Runs what waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def _opened(client: ClientSession) -> ServerSession:
    """The server's end of a session that has just begun."""
    session = ServerSession("s", LIMITS, 5.0, framing=CompactFraming())
    session.receive(client.open(), 0.0)
    hello = session.hello
    ready = session.open(MODEL, Latency(0, 0), hello.layers, pauses=bool(hello.pauses))
    client.receive(ready)
    return session
