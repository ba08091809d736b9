from __future__ import annotations

from ipaddress import ip_address

import pytest

from streaming.server.addresses import (
    FORGET,
    MOST_FAILERS,
    UNKNOWN,
    AddressTable,
    Proxies,
    key_of,
    parse_address,
)

ONE, TWO = ip_address("192.0.2.1"), ip_address("192.0.2.2")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:5000 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ('"[2001:db8::1]"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_as_they_are_written(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text", ["", "unknown", "_hidden", "1.2.3", "example.org", "::g", "[", "[::1"]
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


def test_an_ipv6_network_counts_as_one() -> None:
    assert key_of(parse_address("2001:db8:0:1::1")) == key_of(parse_address("2001:db8:0:1:f::2"))
    assert key_of(parse_address("2001:db8:0:1::1")) != key_of(parse_address("2001:db8:0:2::1"))
    assert key_of(ONE) != key_of(TWO)
    assert key_of(None) == UNKNOWN


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["192.0.2.1"], "203.0.113.9"),  # no proxy of ours: may say what it likes
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1"], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7, 192.0.2.1"], "192.0.2.1"),  # the left one is the client's word
        ("10.0.0.1", ["198.51.100.7", "192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["192.0.2.1, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.1, rubbish, 10.0.0.2"], "10.0.0.2"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
    ],
)
def test_the_rightmost_address_that_is_not_trusted(
    peer: str, forwarded: list[str], client: str
) -> None:
    proxies = Proxies(["10.0.0.0/8", "fd00::1"])
    assert str(proxies.client(parse_address(peer), forwarded)) == client


def test_nobody_is_trusted_by_default_and_nonsense_is_refused() -> None:
    assert Proxies().client(ONE, ["192.0.2.2"]) == ONE and not Proxies()
    assert Proxies(["10.0.0.0/8"]).client(None, ["192.0.2.2"]) is None
    with pytest.raises(ValueError, match="expected a trusted proxy as address"):
        Proxies(["nginx"])


def test_connections_and_places_are_counted_apart_and_given_back() -> None:
    table = AddressTable()
    assert [table.connect(ONE, 2) for _ in range(3)] == [True, True, False]
    assert table.connect(TWO, 2)
    assert [table.take(ONE, "computing", 1) for _ in range(2)] == [True, False]
    assert table.take(ONE, "publisher", 1)
    table.disconnect(ONE)
    assert table.connect(ONE, 2)
    assert all(table.connect(ONE, 0) for _ in range(100))
    for _ in range(102):
        table.disconnect(ONE)
    table.disconnect(TWO)
    table.give_back(ONE, "computing")
    table.give_back(ONE, "publisher")
    assert len(table) == 0


def test_each_wrong_token_doubles_the_wait() -> None:
    table = AddressTable(tries=3, longest_wait=10.0)
    waits, now = [], 0.0
    for _ in range(8):
        table.fail(ONE, now)
        waits.append(table.wait(ONE, now))
        now += waits[-1]
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10]
    assert table.wait(ONE, now - 1.0) == 1.0 and table.wait(ONE, now) == 0.0
    assert table.wait(TWO, now) == 0.0


def test_a_quiet_address_is_forgiven() -> None:
    table = AddressTable(tries=1, longest_wait=1e9)
    for _ in range(5):
        table.fail(ONE, 0.0)
    table.fail(ONE, FORGET + 1.0)
    assert table.wait(ONE, FORGET + 1.0) == 1.0


def test_guesses_in_five_seconds() -> None:
    """As fast as can be, from one address: a handful is looked at."""
    table, looked_at = AddressTable(), 0
    for step in range(5000):
        now = step / 1000
        if not table.wait(ONE, now):
            looked_at += 1
            table.fail(ONE, now)
    assert looked_at == 5


def test_the_table_is_bounded() -> None:
    table = AddressTable(tries=1)
    for number in range(MOST_FAILERS + 100):
        table.fail(ip_address(number), 0.0)
    assert len(table) == MOST_FAILERS
    assert table.wait(ip_address(0), 0.0) == 0.0  # forgotten, as the first
    assert table.wait(ip_address(MOST_FAILERS + 99), 0.0) > 0.0


def test_a_proxy_may_be_written_as_ipv6() -> None:
    proxies = Proxies(["::ffff:10.0.0.1", "::ffff:192.168.0.0/112", "2001:db8::/32"])
    trusted = [proxies.trusts(parse_address(a)) for a in ("10.0.0.1", "::ffff:10.0.0.1",
               "192.168.7.7", "2001:db8::9", "10.0.0.2", "::1")]  # fmt: skip
    assert trusted == [True, True, True, True, False, False]
