"""Sessions without a connection: found again by their secret alone, bounded, and not for ever."""

from __future__ import annotations

import pytest

from streaming.server import parking
from streaming.server.parking import MOST_BYTES, MOST_OF_ADDRESS, MOST_PARKED, Parking


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Session:
    """One that notes how it ends."""

    def __init__(self, address: str = "192.0.2.1", carried: int = 0, kept_bytes: int = 0) -> None:
        self.address, self.carried, self.kept_bytes = address, carried, kept_bytes
        self.end = ""

    def expire(self) -> None:
        self.end = "expired"

    def shut_down(self) -> None:
        self.end = "shut down"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lot(clock: Clock) -> Parking:
    return Parking(30.0, clock)


def test_a_session_is_found_by_its_secret_and_nothing_else(lot: Parking) -> None:
    mine, other = Session(), Session()
    token, others = lot.register(mine), lot.register(other)
    assert lot.find(token) is mine and lot.find(others) is other
    name, _, secret = token.partition(".")
    assert len(secret) >= 22  # 128 bits
    for wrong in ("", ".", name, f"{name}.", f"{name}.{secret[:-1]}", f".{secret}", others[:-1]):
        assert lot.find(wrong) is None, wrong
    lot.forget(mine)
    assert lot.find(token) is None


def test_secrets_are_compared_in_constant_time(
    lot: Parking, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = parking.hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return bool(real(one, other))

    monkeypatch.setattr(parking.hmac, "compare_digest", noted)
    token = lot.register(Session())
    lot.find(token)
    lot.find("nobody.knows")
    assert [other for _, other in compared] == [token.partition(".")[2].encode(), b"knows"]


def test_nobody_is_waited_for_longer_than_told(lot: Parking, clock: Clock) -> None:
    session = Session()
    token = lot.register(session)
    lot.park(session)
    clock.now += 29.5
    lot.check(clock.now)
    assert (len(lot), session.end) == (1, "")
    clock.now += 1.0
    lot.check(clock.now)
    assert (len(lot), session.end) == (0, "expired")
    assert lot.find(token) is None


def test_who_is_back_is_not_parked_any_more(lot: Parking, clock: Clock) -> None:
    session = Session()
    token = lot.register(session)
    lot.park(session)
    lot.leave(session)
    clock.now += 60.0
    lot.check(clock.now)
    assert (len(lot), session.end) == (0, "") and lot.find(token) is session


def test_the_server_goes_and_so_do_they(lot: Parking) -> None:
    sessions = [Session() for _ in range(3)]
    for session in sessions:
        lot.register(session)
        lot.park(session)
    lot.close()
    assert [session.end for session in sessions] == ["shut down"] * 3 and not len(lot)


def test_one_address_has_its_share_and_drives_out_its_own(lot: Parking) -> None:
    owner = Session("198.51.100.7", carried=1)
    lot.park(owner)
    strangers = [Session(carried=1000 - at) for at in range(MOST_OF_ADDRESS + 10)]
    for session in strangers:
        lot.park(session)
    assert owner.end == "" and len(lot) == 1 + MOST_OF_ADDRESS
    assert sum(session.end == "expired" for session in strangers) == 10


def test_many_addresses_drive_out_who_carried_least(lot: Parking) -> None:
    owner = Session("198.51.100.7", carried=800)
    lot.park(owner)
    for at in range(3 * MOST_PARKED):
        lot.park(Session(f"192.0.2.{at}", carried=1))
    assert owner.end == "" and len(lot) == MOST_PARKED


def test_what_they_keep_is_bounded_too(lot: Parking) -> None:
    size = MOST_BYTES // 8
    sessions = [Session(f"192.0.2.{at}", carried=at, kept_bytes=size) for at in range(10)]
    for session in sessions:
        lot.park(session)
    assert sum(session.kept_bytes for session in sessions if not session.end) <= MOST_BYTES
    assert len(lot) == 8
