"""Rooms in memory: one publisher, many listeners, each taking codes or sound.

Lives on the event loop and computes nothing: the sound of a room comes from one decoder in the
engine, shared by all who listen to sound, started when the first of them comes.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable

from facodec.config import HOP, SAMPLE_RATE
from streaming.engine.streams import Flow, Outcome
from streaming.server.broadcast import Broadcast, Listener, Publisher
from streaming.wire.media import Media, Sound, Timbre
from streaming.wire.protocol import DoneReason, Format, PresenceState, ProtocolError, Stamps

AHEAD = 1.0
"""Seconds a publisher may run ahead of real time while a listener lags behind."""
NAMES_SHARE = 2
"""One address may wait for one in so many of the names that may be waited for."""


StartDecoder = Callable[[Broadcast, Callable[[Outcome], None]], Flow]


class Room:
    """One room. ``start_decoder`` opens a stream of codes -> sound in the engine, or raises
    ProtocolError. ``backlog``: frames the decoder may have waiting before the publisher is held
    back. ``clock``: seconds."""

    waited_by: str | None = None
    """Address of who waited here first, where its share of such names is limited."""

    def __init__(
        self, start_decoder: StartDecoder, backlog: float, clock: Callable[[], float]
    ) -> None:
        self._start_decoder = start_decoder
        self._backlog = backlog
        self._clock = clock
        self._listeners: list[Listener] = []
        self._recorder: Listener | None = None
        self._broadcast: Broadcast | None = None
        self._publisher: Publisher | None = None
        self._resume = ""
        self._started = 0.0
        self._frames = 0
        self._timbre: Timbre | None = None
        self._decoder: Flow | None = None
        self._decoded = 0
        self._latest = Outcome()
        self._reason: DoneReason = "publisher-left"
        self._told: PresenceState = "back"

    @property
    def listeners(self) -> int:
        """People who are there; a recorder takes nobody's place."""
        return sum(
            listener is not self._recorder and not listener.is_away for listener in self._listeners
        )

    @property
    def presence(self) -> PresenceState:
        """Whether the publisher of an open room is there."""
        return "back" if self._publisher is None or not self._publisher.is_away else "away"

    @property
    def is_empty(self) -> bool:
        return self._broadcast is None and not self._listeners

    @property
    def is_open(self) -> bool:
        """Whether somebody publishes here."""
        return self._broadcast is not None

    # --------------------------------------------------------------------------- the publisher

    def open(self, broadcast: Broadcast, publisher: Publisher, resume: str) -> None:
        """A publisher comes; ``resume``: what :meth:`replace` wants to hear. Raises
        ProtocolError("room-taken") where there is one."""
        if self._broadcast is not None:
            raise ProtocolError("room-taken", "this room has a publisher already")
        self._broadcast = broadcast
        self._publisher = publisher
        self._resume = resume
        self._started = self._clock()
        for listener in list(self._listeners):
            self._admit(listener, broadcast)

    def replace(self, publisher: Publisher, resume: str) -> bool:
        """The publisher comes back over another connection, before the old one was found dead:
        the old one ends, the listeners stay. False where ``resume`` is not the room's."""
        known = self._publisher is not None and hmac.compare_digest(
            self._resume.encode(), resume.encode()
        )
        if not known:
            return False
        former, self._publisher = self._publisher, publisher
        if former is not None:
            former.on_replaced()
        self.go_on()
        return True

    def go_on(self) -> None:
        """The publisher is there again. Nothing came meanwhile: he is not ahead of his time, nor
        far behind it. Where there is no place left for sound, those who listen to it go."""
        self._started = self._clock() - self._frames * HOP / SAMPLE_RATE
        if self._decoder is not None and self._publisher is not None:
            try:
                self._publisher.compute_sound()
            except ProtocolError as error:
                self._decoder.close()
                self._silence(error)

    def look(self) -> None:
        """Tells listeners where the publisher has gone or come back since the last look, so that
        one who does so all the time costs little."""
        if self.presence != self._told:
            self._told = self.presence
            for listener in self._listeners:
                listener.on_presence(self._told)

    def make_way(self, publisher: Publisher) -> None:
        """Ends a publisher who is away where this one is the same, and did not come back to it."""
        former = self._publisher
        if former is not None and former.is_away and former.owner == publisher.owner:
            former.give_up()

    def continues(self, broadcast: Broadcast) -> bool:
        """Whether this broadcast is what the listeners were told to expect."""
        return self._broadcast == broadcast

    def publish(self, outcome: Outcome) -> None:
        """Passes on what the publisher's stream gave: frames, and timbres before them."""
        self._latest = outcome
        stamps = stamps_of(outcome)
        for item in outcome.media:
            if isinstance(item, Timbre):
                self._timbre = item
            self._send("codes", item, stamps)
            if self._decoder is not None:
                self._decoder.submit(item, outcome.t)
            self._frames += int(item.frames)

    def holds_back(self) -> bool:
        """Whether the publisher should send more slowly: the room's decoder is behind, or a
        listener is while the publisher is faster than real time. A publisher at real time is
        never held back by its listeners: one that is too slow is dropped instead."""
        if self._decoder is not None and self._decoder.backlog >= self._backlog:
            return True
        ahead = self._frames * HOP / SAMPLE_RATE - (self._clock() - self._started)
        return ahead > AHEAD and any(listener.lags for listener in self._listeners)

    def close(self, reason: DoneReason) -> None:
        """The publisher leaves."""
        self._stop_sound()
        self._broadcast = self._publisher = None
        self._reason = reason
        for listener in self._those_who_want("codes"):
            self._drop(listener)
            listener.on_end(reason)
        if self._decoder is not None:
            self._decoder.end()

    # --------------------------------------------------------------------------- the listeners

    def record(self, recorder: Listener) -> None:
        """A listener that is nobody joins until the publisher leaves."""
        self._recorder = recorder
        self.join(recorder)

    def join(self, listener: Listener) -> None:
        """Somebody listens, at once or when the publisher comes."""
        self._listeners.append(listener)
        if self._broadcast is not None:
            self._admit(listener, self._broadcast)

    def leave(self, listener: Listener) -> None:
        """Somebody does not listen any more."""
        self._drop(listener)
        if self._decoder is not None and not self._those_who_want("pcm"):
            self._decoder.close()
            self._decoder = None
            self._stop_sound()

    def _admit(self, listener: Listener, broadcast: Broadcast) -> None:
        if listener.wants == "codes":
            listener.on_ready(broadcast, self._frames)
            if self._timbre is not None:
                listener.on_media(self._timbre, None)
            self._tell_absence(listener)
            return
        if self._decoder is None:
            try:
                self._decoder = self._start_sound(broadcast)
            except ProtocolError as error:
                self._drop(listener)
                listener.on_failure(error)
                return
            self._decoded = self._frames
            if self._timbre is not None:
                self._decoder.submit(self._timbre)
        listener.on_ready(broadcast, self._decoded)
        self._tell_absence(listener)

    def _tell_absence(self, listener: Listener) -> None:
        if self.presence == "away":
            listener.on_presence("away")

    def _on_decoded(self, outcome: Outcome) -> None:
        stamps = stamps_of(outcome, self._latest)
        for item in outcome.media:
            if isinstance(item, Sound):
                self._send("pcm", item, stamps)
                self._decoded += int(item.frames)
        if outcome.error is not None:
            self._silence(outcome.error)
        elif outcome.ended:
            self._decoder = None
            for listener in self._those_who_want("pcm"):
                self._drop(listener)
                listener.on_end(self._reason)

    def _silence(self, error: ProtocolError) -> None:
        """Ends those who listen to sound, as there is none any more."""
        self._decoder = None
        self._stop_sound()
        for listener in self._those_who_want("pcm"):
            self._drop(listener)
            listener.on_failure(error)

    def _start_sound(self, broadcast: Broadcast) -> Flow:
        """Raises ProtocolError where there is no place for it, or no power."""
        try:
            if self._publisher is not None:
                self._publisher.compute_sound()
            return self._start_decoder(broadcast, self._on_decoded)
        except ProtocolError:
            self._stop_sound()
            raise

    def _stop_sound(self) -> None:
        if self._publisher is not None:
            self._publisher.stop_sound()

    def _send(self, wants: Format, item: Media, stamps: Stamps | None) -> None:
        # A copy: a listener that is too slow leaves while we are at it.
        for listener in self._those_who_want(wants):
            listener.on_media(item, stamps)

    def _those_who_want(self, wants: Format) -> list[Listener]:
        return [listener for listener in self._listeners if listener.wants == wants]

    def _drop(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)


class Rooms:
    """All rooms by name. ``most``: rooms with a publisher at once, and as many names that are only
    waited for, half of them by one address; ``listeners``: people in one. ``recorder``: who records
    a room, by its name."""

    def __init__(
        self,
        make: Callable[[], Room],
        most: int,
        listeners: int,
        recorder: Callable[[str], Listener | None] = lambda name: None,
    ) -> None:
        self._recorder = recorder
        self._make = make
        self._most = most
        self._most_listeners = listeners
        self._rooms: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def publish(self, name: str, broadcast: Broadcast, publisher: Publisher, resume: str) -> Room:
        """The room, opened. Raises ProtocolError("room-taken" or "too-many-rooms")."""
        room = self._rooms.get(name)
        if room is not None:
            room.make_way(publisher)
            room = self._rooms.get(name)
        if room is None or not room.is_open:
            self._check_count(is_open=True)
        room = room or self._add(name)
        room.open(broadcast, publisher, resume)
        if (recorder := self._recorder(name)) is not None:
            room.record(recorder)
        return room

    def replace(self, name: str, publisher: Publisher, resume: str) -> Room | None:
        """The room, with its publisher replaced; None where ``resume`` opens none."""
        room = self._rooms.get(name)
        return room if room is not None and room.replace(publisher, resume) else None

    def join(self, name: str, listener: Listener, address: str | None = None) -> Room:
        """The room, joined from an address whose share is limited, if given. Raises
        ProtocolError("room-full" or "too-many-rooms")."""
        room = self._rooms.get(name)
        if room is None:
            self._check_count(is_open=False)
            self._check_share(address)
            room = self._add(name)
            room.waited_by = address
        self.need_seat(name, room)
        room.join(listener)
        return room

    def need_seat(self, name: str, room: Room) -> None:
        """Raises ProtocolError("room-full") where a room has all the listeners it may have."""
        if room.listeners >= self._most_listeners:
            raise ProtocolError(
                "room-full", f"room {name!r} holds at most {self._most_listeners} listeners"
            )

    def close(self, name: str, reason: DoneReason) -> None:
        """The publisher of the room leaves; the name is free at once, while those who listen to
        sound still get what is in the decoder."""
        room = self._rooms.pop(name)
        room.close(reason)

    def look(self) -> None:
        """Tells listeners whose publishers are away or back; called twice a second."""
        for room in self._rooms.values():
            room.look()

    def leave(self, name: str, room: Room, listener: Listener) -> None:
        """A listener of the room leaves."""
        room.leave(listener)
        if room.is_empty and self._rooms.get(name) is room:
            del self._rooms[name]

    def _check_count(self, *, is_open: bool) -> None:
        """Raises ProtocolError where there are as many rooms of the kind as may be: names that
        are waited for take no room from those who speak, nor do those whose publishers are away."""
        rooms = self._rooms.values()
        if sum(room.is_open == is_open and room.presence == "back" for room in rooms) >= self._most:
            kind = "rooms" if is_open else "rooms without a publisher"
            raise ProtocolError("too-many-rooms", f"at most {self._most} {kind} at once")

    def _check_share(self, address: str | None) -> None:
        """Raises ProtocolError where the address waits for its share of the names already."""
        waited = sum(
            not room.is_open and room.waited_by == address for room in self._rooms.values()
        )
        share = math.ceil(self._most / NAMES_SHARE)
        if address is not None and waited >= share:
            raise ProtocolError(
                "too-many-rooms", f"your address waits for {share} rooms already, as many as it may"
            )

    def _add(self, name: str) -> Room:
        room = self._rooms[name] = self._make()
        return room


def stamps_of(outcome: Outcome, earlier: Outcome | None = None) -> Stamps | None:
    """The stamps that go out with an outcome's media; only who stamps its input gets any.
    ``earlier``: what the same media went through before."""
    if outcome.t is None:
        return None
    before = earlier or Outcome()
    return Stamps(
        t=outcome.t,
        queue=outcome.queue + before.queue,
        encode=outcome.encode + before.encode,
        decode=outcome.decode,
    )
