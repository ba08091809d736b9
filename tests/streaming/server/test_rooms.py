from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from facodec.config import Latency
from facodec.identity import ModelIdentity
from streaming.engine.engine import Engine
from streaming.engine.pipeline import Pipeline
from streaming.engine.streams import Outcome, Stream
from streaming.server.broadcast import Broadcast
from streaming.server.rooms import Room, Rooms
from streaming.wire.media import Frames, Media, Sound, Timbre
from streaming.wire.protocol import DoneReason, Format, PresenceState, ProtocolError, Stamps

BROADCAST = Broadcast(ModelIdentity("live", "0123456789ab"), Latency(200, 200), 6)


class Ear:
    """A listener that notes what it hears."""

    def __init__(self, wants: Format) -> None:
        self.wants: Format = wants
        self.lags = self.is_away = False
        self.presence: list[PresenceState] = []
        self.first: int | None = None
        self.heard: list[Media] = []
        self.stamps: list[Stamps | None] = []
        self.reason: DoneReason | None = None
        self.error: ProtocolError | None = None

    def on_ready(self, broadcast: Broadcast, first_frame: int) -> None:
        self.first = first_frame

    def on_media(self, item: Media, stamps: Stamps | None) -> None:
        self.heard.append(item)
        self.stamps.append(stamps)

    def on_presence(self, state: PresenceState) -> None:
        self.presence.append(state)

    def on_end(self, reason: DoneReason) -> None:
        self.reason = reason

    def on_failure(self, error: ProtocolError) -> None:
        self.error = error

    @property
    def values(self) -> list[float]:
        """Codes as they are, sound by its first sample per hop."""
        values: list[float] = []
        for item in self.heard:
            if isinstance(item, Frames):
                values += item.codes[0].tolist()
            elif isinstance(item, Sound):
                values += item.samples[::200].tolist()
        return values


class Mouth:
    """A publisher that notes when another connection takes its place."""

    def __init__(self, owner: str = "192.0.2.1") -> None:
        self.owner: tuple[str, str | None] = owner, None
        self.replaced = 0
        self.is_away = self.computes = False
        self.refuses: ProtocolError | None = None
        self.leave: Callable[[], None] = lambda: None

    def give_up(self) -> None:
        self.leave()

    def on_replaced(self) -> None:
        self.replaced += 1

    def compute_sound(self) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.computes = True

    def stop_sound(self) -> None:
        self.computes = False


class CodeAsSound:
    """A decoder one can read: each frame sounds like its first code plus the timbre."""

    decodes = True

    def __init__(self) -> None:
        self._timbre = 0.0

    def feed(self, item: Media) -> list[Media]:
        if isinstance(item, Timbre):
            self._timbre = float(item.vector[0])
            return []
        assert isinstance(item, Frames)
        return [Sound(np.repeat(item.codes[0] + self._timbre, 200).astype(np.float32))]

    def finish(self) -> list[Media]:
        return []


class House:
    """Rooms with a real engine that is ticked by hand, and a clock that stands still."""

    def __init__(self, most: int = 2, listeners: int = 3) -> None:
        self.engine = Engine(clock=lambda: 0.0)
        self.most = most
        self.now = 0.0
        self.decoders = 0
        self.busy: ProtocolError | None = None
        make = lambda: Room(self._start, backlog=100, clock=lambda: self.now)  # noqa: E731
        self.rooms = Rooms(make, most, listeners)

    def publish(
        self, name: str, publisher: Mouth | None = None, broadcast: Broadcast = BROADCAST
    ) -> Room:
        return self.rooms.publish(name, broadcast, publisher or Mouth(), "secret")

    def _start(self, broadcast: Broadcast, deliver: Callable[[Outcome], None]) -> Stream:
        if self.busy is not None:
            raise self.busy
        self.decoders += 1
        return self.engine.open(lambda: Pipeline([CodeAsSound()]), deliver)

    def run(self) -> None:
        while self.engine.tick():
            pass


def frames(*values: int) -> Frames:
    return Frames(np.array([values] * 6))


def timbre(value: float) -> Timbre:
    return Timbre(np.full(256, value, np.float32), exact=False)


def test_codes_reach_everybody_in_order_with_the_voice_first() -> None:
    house, early, late = House(), Ear("codes"), Ear("codes")
    house.rooms.join("tea", early)
    assert early.first is None
    room = house.publish("tea")
    assert early.first == 0
    room.publish(Outcome((timbre(0.25), frames(1, 2))))
    house.rooms.join("tea", late)
    room.publish(Outcome((frames(3),), t=5.0, queue=0.1, encode=0.2))
    assert early.values == [1, 2, 3]
    assert (late.first, late.values) == (2, [3])
    assert isinstance(late.heard[0], Timbre) and late.heard[0].vector[0] == 0.25
    assert late.stamps == [None, Stamps(5.0, 0.1, 0.2, 0.0)]


def test_one_decoder_serves_all_who_want_sound() -> None:
    house, first, second, codes = House(), Ear("pcm"), Ear("pcm"), Ear("codes")
    room = house.publish("tea")
    room.publish(Outcome((timbre(0.25), frames(1, 2))))
    assert house.decoders == 0
    house.rooms.join("tea", first)
    house.rooms.join("tea", codes)
    room.publish(Outcome((frames(3, 4),)))
    house.run()
    house.rooms.join("tea", second)
    room.publish(Outcome((timbre(0.5), frames(5))))
    house.run()
    assert house.decoders == 1
    assert (first.first, first.values) == (2, [3.25, 4.25, 5.5])
    assert (second.first, second.values) == (4, [5.5])


def test_sound_in_flight_counts_for_who_joins_meanwhile() -> None:
    house, first, second = House(), Ear("pcm"), Ear("pcm")
    room = house.publish("tea")
    house.rooms.join("tea", first)
    room.publish(Outcome((frames(1, 2),)))
    house.rooms.join("tea", second)
    house.run()
    assert (second.first, second.values) == (0, [1, 2])


def test_leaving_publisher_ends_all_after_what_it_sent() -> None:
    house, codes, sound, waiting = House(), Ear("codes"), Ear("pcm"), Ear("codes")
    room = house.publish("tea")
    house.rooms.join("tea", codes)
    house.rooms.join("tea", sound)
    room.publish(Outcome((frames(7),)))
    house.rooms.close("tea", "publisher-left")
    house.rooms.join("tea", waiting)
    assert (codes.reason, sound.reason) == ("publisher-left", None)
    house.run()
    assert (sound.values, sound.reason) == ([7], "publisher-left")
    assert waiting.first is None and waiting.reason is None
    house.publish("tea")
    assert waiting.first == 0


def test_the_decoder_goes_with_the_last_who_wants_sound() -> None:
    house, ear, again = House(), Ear("pcm"), Ear("pcm")
    room = house.publish("tea")
    house.rooms.join("tea", ear)
    house.rooms.leave("tea", room, ear)
    assert house.engine.streams == 0
    room.publish(Outcome((timbre(0.5), frames(1))))
    house.rooms.join("tea", again)
    room.publish(Outcome((frames(2),)))
    house.run()
    assert (again.first, again.values, ear.values) == (1, [2.5], [])


def test_limits() -> None:
    house = House(most=1, listeners=1)
    house.publish("a")
    house.rooms.join("b", Ear("codes"))
    for code, attempt in (
        ("room-taken", lambda: house.publish("a")),
        ("too-many-rooms", lambda: house.publish("c")),
        ("too-many-rooms", lambda: house.publish("b")),
        ("too-many-rooms", lambda: house.rooms.join("c", Ear("codes"))),
        ("room-full", lambda: house.rooms.join("b", Ear("codes"))),
    ):
        with pytest.raises(ProtocolError) as caught:
            attempt()
        assert caught.value.code == code


def test_names_that_are_waited_for_take_no_room_from_a_publisher() -> None:
    house = House(most=2)
    ears = [Ear("codes"), Ear("codes")]
    for name, ear in zip("ab", ears, strict=True):
        house.rooms.join(name, ear)
    for name in "bcd"[: house.most]:
        house.publish(name)
    assert [ear.first for ear in ears] == [None, 0]


def test_one_address_waits_for_half_of_the_names() -> None:
    house = House(most=4)
    for name in "ab":
        house.rooms.join(name, Ear("codes"), "192.0.2.1")
    with pytest.raises(ProtocolError, match="your address waits for 2 rooms"):
        house.rooms.join("c", Ear("codes"), "192.0.2.1")
    house.rooms.join("a", Ear("codes"), "192.0.2.1")  # a name that is there already
    house.rooms.join("c", Ear("codes"), "192.0.2.2")
    house.publish("a")
    house.rooms.join("d", Ear("codes"), "192.0.2.1")


def test_a_publisher_that_comes_back_takes_its_room_with_its_listeners() -> None:
    house, codes, sound = House(), Ear("codes"), Ear("pcm")
    lost, back = Mouth(), Mouth()
    room = house.publish("tea", lost)
    house.rooms.join("tea", codes)
    house.rooms.join("tea", sound)
    room.publish(Outcome((timbre(0.25), frames(1, 2))))
    assert house.rooms.replace("tea", back, "wrong") is None
    assert house.rooms.replace("coffee", back, "secret") is None
    assert lost.replaced == 0
    house.now = 100.0
    assert house.rooms.replace("tea", back, "secret") is room
    assert room.continues(BROADCAST)
    assert not room.continues(replace(BROADCAST, model=ModelIdentity("live", "f" * 12)))
    assert (lost.replaced, back.replaced) == (1, 0)
    room.publish(Outcome((frames(3),)))
    house.run()
    assert (codes.values, sound.values) == ([1, 2, 3], [1.25, 2.25, 3.25])
    assert (codes.reason, sound.reason, house.decoders) == (None, None, 1)


def test_who_comes_back_may_not_run_ahead_by_the_time_it_was_away() -> None:
    house, ear = House(), Ear("codes")
    room = house.publish("tea")
    house.rooms.join("tea", ear)
    ear.lags, house.now = True, 100.0
    assert house.rooms.replace("tea", Mouth(), "secret") is room
    room.publish(Outcome((frames(*range(81)),)))
    assert room.holds_back()


def test_empty_rooms_vanish() -> None:
    house, ear = House(), Ear("codes")
    room = house.rooms.join("tea", ear)
    house.rooms.leave("tea", room, ear)
    assert len(house.rooms) == 0


def test_only_a_publisher_ahead_of_time_waits_for_listeners() -> None:
    house, ear = House(), Ear("codes")
    room = house.publish("tea")
    house.rooms.join("tea", ear)
    ear.lags = True
    room.publish(Outcome((frames(*range(80)),)))
    assert not room.holds_back()
    room.publish(Outcome((frames(*range(80)),)))
    assert room.holds_back()
    ear.lags = False
    assert not room.holds_back()
    ear.lags, house.now = True, 1.5
    assert not room.holds_back()


def test_a_decoder_behind_holds_the_publisher_back() -> None:
    house = House()
    room = house.publish("tea")
    house.rooms.join("tea", Ear("pcm"))
    room.publish(Outcome((frames(*range(100)),)))
    assert room.holds_back()
    house.run()
    assert not room.holds_back()


def test_listeners_are_told_of_a_publisher_who_is_away() -> None:
    house, codes, sound, late = House(), Ear("codes"), Ear("pcm"), Ear("codes")
    mouth = Mouth()
    room = house.publish("tea", mouth)
    house.rooms.join("tea", codes)
    house.rooms.join("tea", sound)
    mouth.is_away = True
    house.rooms.look()
    house.rooms.join("tea", late)
    mouth.is_away = False
    house.now = 100.0
    room.go_on()
    for _ in range(3):
        house.rooms.look()
    assert codes.presence == sound.presence == late.presence == ["away", "back"]
    codes.lags = True
    room.publish(Outcome((frames(*range(81)),)))
    assert room.holds_back(), "he may not run ahead by the time he was away"


def test_a_publisher_who_is_away_keeps_his_room_from_others_and_not_from_himself() -> None:
    house, ear = House(most=1), Ear("codes")
    lost = Mouth("192.0.2.1")
    house.publish("tea", lost)
    house.rooms.join("tea", ear)
    lost.is_away = True
    lost.leave = lambda: house.rooms.close("tea", "publisher-left")
    with pytest.raises(ProtocolError, match="room-taken"):
        house.publish("tea", Mouth("192.0.2.2"))
    house.publish("coffee")  # he takes no room of the one that there may be
    house.rooms.close("coffee", "publisher-left")
    assert ear.reason is None
    house.publish("tea", Mouth("192.0.2.1"))
    assert ear.reason == "publisher-left"


def test_a_listener_who_is_away_takes_no_seat() -> None:
    house = House(listeners=1)
    ear, other = Ear("codes"), Ear("codes")
    room = house.rooms.join("tea", ear)
    ear.is_away = True
    house.rooms.join("tea", other)
    with pytest.raises(ProtocolError, match="room-full"):
        house.rooms.need_seat("tea", room)


def test_sound_takes_a_place_while_somebody_hears_it() -> None:
    house, mouth, first, second = House(), Mouth(), Ear("pcm"), Ear("pcm")
    room = house.publish("tea", mouth)
    house.rooms.join("tea", Ear("codes"))
    assert not mouth.computes
    for ear in (first, second):
        house.rooms.join("tea", ear)
    room.leave(first)
    assert mouth.computes
    room.leave(second)
    assert not mouth.computes
    house.rooms.join("tea", first)
    house.rooms.close("tea", "publisher-left")
    house.run()
    assert not mouth.computes and first.reason == "publisher-left"


def test_where_there_is_no_place_for_sound_only_those_who_want_it_go() -> None:
    house, mouth, early, late, codes = House(), Mouth(), Ear("pcm"), Ear("pcm"), Ear("codes")
    mouth.refuses = ProtocolError("overloaded", "all 1 sessions are taken")
    house.rooms.join("tea", early)
    house.rooms.join("tea", codes)
    room = house.publish("tea", mouth)
    house.rooms.join("tea", late)
    assert early.error is late.error is mouth.refuses and house.decoders == 0
    mouth.refuses = None
    house.busy, again = ProtocolError("overloaded", "no room for one more stream"), Ear("pcm")
    house.rooms.join("tea", again)
    assert again.error is house.busy and not mouth.computes
    house.busy, again = None, Ear("pcm")
    house.rooms.join("tea", again)
    # The publisher's connection was lost, and somebody has taken the place meanwhile.
    mouth.refuses = ProtocolError("overloaded", "all 1 sessions are taken")
    room.go_on()
    assert again.error is mouth.refuses and house.engine.streams == 0
    room.publish(Outcome((frames(1, 2),)))
    assert codes.values == [1, 2] and codes.error is None
