"""Admission to a server, with a clock that stands still and no sockets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streaming.server.addresses import parse_address
from streaming.server.gate import Gate, Visitor
from streaming.server.http import Asked
from streaming.server.places import place_of
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello, ProtocolError

ASKED = Asked(
    method="GET",
    path="/",
    host="127.0.0.1:8765",
    origin=None,
    fetch_site=None,
    token=None,
    forwarded=(),
    forwarded_scheme=None,
    subprotocols=frozenset({"facodec.v1"}),
    is_upgrade=True,
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gate_of(clock: Clock | None = None, capacity: int = 8, **options: Any) -> Gate:
    return Gate(ServerSettings(**options), clock or Clock(), lambda: capacity)


def arrive(gate: Gate, address: str = "192.0.2.1", **asked: Any) -> tuple[Visitor, int | None]:
    """A visitor, and the status of its refusal."""
    visitor = gate.arrive(parse_address(address))
    refusal = visitor.check(replace(ASKED, **asked))
    return visitor, None if refusal is None else refusal.status


def code(visitor: Visitor, hello: Hello) -> str | None:
    try:
        visitor.authorize(hello)
        visitor.admit(place_of(hello))
    except ProtocolError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, None),
        ({"host": None}, None),  # HTTP/1.0, which no browser speaks
        ({"host": "evil.example"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8765"}, None),
        ({"fetch_site": "cross-site"}, 403),
        ({"fetch_site": "same-site"}, 403),
        ({"fetch_site": "same-origin"}, None),
        ({"fetch_site": "none"}, None),
    ],
)
def test_pages(asked: dict[str, Any], status: int | None) -> None:
    assert arrive(gate_of(), **asked)[1] == status


def test_an_allowed_page_of_another_site() -> None:
    gate = gate_of(allow_origins=("https://app.example",))
    page = {"origin": "https://app.example", "fetch_site": "cross-site"}
    assert arrive(gate, **page)[1] is None


@pytest.mark.parametrize(("scheme", "status"), [("https", 403), ("http", None), (None, None)])
def test_a_page_without_tls_is_foreign_where_the_proxy_has_it(
    scheme: str | None, status: int | None
) -> None:
    gate = gate_of(trusted_proxies=("10.0.0.1",), allow_hosts=("codec.example",))
    asked = {"host": "codec.example", "origin": "http://codec.example"}
    assert arrive(gate, "10.0.0.1", forwarded_scheme=scheme, **asked)[1] == status
    assert arrive(gate, "10.0.0.2", forwarded_scheme=scheme, **asked)[1] is None


def test_connections_of_one_address() -> None:
    gate = gate_of(address_connections=2)
    kept = [arrive(gate) for _ in range(3)]
    assert [status for _, status in kept] == [None, None, 429]
    assert [visitor.is_one_too_many for visitor, _ in kept] == [False, False, True]
    assert arrive(gate, "192.0.2.2")[1] is None
    for visitor, _ in kept:
        visitor.leave()
        visitor.leave()  # once more changes nothing
    assert arrive(gate)[1] is None


def test_this_machine_is_spared_by_default_only() -> None:
    many = range(100)
    assert {arrive(gate, "127.0.0.1")[1] for gate in [gate_of()] for _ in many} == {None}
    assert 429 in {arrive(gate)[1] for gate in [gate_of()] for _ in many}
    strict = gate_of(address_connections=5)
    assert 429 in {arrive(strict, "127.0.0.1")[1] for _ in many}
    behind = gate_of(trusted_proxies=("127.0.0.1",))
    assert 429 in {arrive(behind, "127.0.0.1")[1] for _ in many}


def test_clients_behind_a_proxy_are_counted_each_for_itself() -> None:
    gate = gate_of(trusted_proxies=("127.0.0.1",), address_connections=1)
    first, status = arrive(gate, "127.0.0.1", forwarded=("192.0.2.1",))
    assert (first.address, status) == ("192.0.2.1", None)
    assert arrive(gate, "127.0.0.1", forwarded=("192.0.2.2",))[1] is None
    assert arrive(gate, "127.0.0.1", forwarded=("192.0.2.9, 192.0.2.1",))[1] == 429
    first.leave()
    assert arrive(gate, "127.0.0.1", forwarded=("192.0.2.1",))[1] is None


def test_half_of_the_sessions_for_one_address() -> None:
    gate = gate_of(capacity=5)
    visitors = [arrive(gate)[0] for _ in range(4)]
    codes = [code(visitor, Hello("loopback")) for visitor in visitors]
    assert codes == [None, None, None, "too-many-sessions"]
    # Listening takes no computing.
    assert code(visitors[3], Hello("subscribe", room="a")) is None
    assert code(arrive(gate, "192.0.2.2")[0], Hello("encode")) is None
    visitors[0].leave()
    assert code(visitors[3], Hello("loopback")) is None


def test_half_of_the_places_for_listeners_for_one_address() -> None:
    gate = gate_of(capacity=1, max_listeners=4)
    visitors = [arrive(gate)[0] for _ in range(3)]
    listen = Hello("subscribe", room="a")
    assert [code(one, listen) for one in visitors] == [None, None, "too-many-sessions"]
    assert code(visitors[2], Hello("encode")) is None
    assert code(arrive(gate, "192.0.2.2")[0], listen) is None
    visitors[0].leave()
    assert code(arrive(gate)[0], listen) is None
    assert visitors[0].waits_as == "192.0.2.1"
    own = arrive(gate, "127.0.0.1")[0]
    assert own.waits_as is None and code(own, listen) is None
    # Clients of a proxy on this machine are told apart, and limited as any.
    behind = gate_of(max_listeners=2, trusted_proxies=("127.0.0.1",))
    for client, expected in [("1", None), ("1", "too-many-sessions"), ("2", None)]:
        one, _ = arrive(behind, "127.0.0.1", forwarded=(f"192.0.2.{client}",))
        assert code(one, listen) == expected


def test_sessions_as_set() -> None:
    gate = gate_of(address_sessions=1, capacity=8)
    one, two = arrive(gate, "127.0.0.1")[0], arrive(gate, "127.0.0.1")[0]
    assert [code(one, Hello("encode")), code(two, Hello("encode"))] == [None, "too-many-sessions"]
    free = gate_of(address_sessions=0, capacity=1)
    assert {code(arrive(free)[0], Hello("encode")) for _ in range(20)} == {None}
    few = gate_of(address_listeners=1)
    listen = Hello("subscribe", room="a")
    codes = [code(arrive(few, "127.0.0.1")[0], listen) for _ in range(2)]
    assert codes == [None, "too-many-sessions"]
    free = gate_of(address_listeners=0, max_listeners=1)
    assert {code(arrive(free)[0], listen) for _ in range(20)} == {None}
    assert arrive(free)[0].waits_as is None


def test_wrong_tokens_in_requests_and_hellos_count_together() -> None:
    clock = Clock()
    gate = gate_of(clock, tokens=("right",))

    def show(token: str | None) -> int | None:
        refusal = arrive(gate, "127.0.0.1")[0].show(token)
        return None if refusal is None else refusal.status

    def hello(token: str | None) -> str | None:
        return code(arrive(gate, "127.0.0.1")[0], Hello("encode", token=token))

    assert [hello(None), show(None), hello(None), hello(None)] == [
        "unauthorized", None, "unauthorized", "unauthorized",
    ]  # fmt: skip
    assert [show("a"), hello("b"), show("c")] == [401, "unauthorized", 401]
    # From here on it has to wait, and learns nothing meanwhile.
    assert [show("d"), show("right"), hello("d"), hello("right")] == [
        429, 429, "too-many-attempts", "too-many-attempts",
    ]  # fmt: skip
    assert arrive(gate, "192.0.2.7")[0].show("right") is None
    clock.now = 1.0
    assert [hello("e"), hello("right")] == ["unauthorized", "too-many-attempts"]
    clock.now = 2.9
    assert show("right") == 429
    clock.now = 3.0
    assert [show("right"), hello("right")] == [None, None]


def test_a_strange_page_cannot_use_up_the_tries() -> None:
    gate = gate_of(tokens=("right",))
    for _ in range(10):
        _, status = arrive(gate, "127.0.0.1", token="guess", fetch_site="cross-site")
        assert status == 403
    assert arrive(gate, "127.0.0.1")[0].show("right") is None


def test_rights(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("talk publish rooms=a-* name=anna\nall\n")
    gate = gate_of(token_file=str(tmp_path / "tokens"), tokens=("more",))
    visitor = arrive(gate)[0]
    assert visitor.token_name is None and not visitor.is_known
    with pytest.raises(ProtocolError, match=r"forbidden: .*the right to convert") as caught:
        visitor.authorize(Hello("decode", token="talk"))
    assert "talk" not in str(caught.value).replace("to talk", "")
    assert visitor.token_name == "anna" and visitor.is_known
    assert code(visitor, Hello("publish", room="b")) == "forbidden"
    assert code(visitor, Hello("publish", room="a-1")) is None
    for token in ("all", "more"):
        assert code(arrive(gate)[0], Hello("decode", token=token)) is None


def test_without_tokens_everybody_may_do_everything() -> None:
    visitor = arrive(gate_of())[0]
    assert visitor.is_known and visitor.token_name is None
    assert code(visitor, Hello("publish", room="a", token="whatever")) is None


def test_who_shows_a_token_that_fits_is_expected_unless_its_address_has_guessed():
    clock = Clock()
    gate = gate_of(clock, tokens=("right",), token_tries=1, trusted_proxies=("192.0.2.9",))
    visitor, _ = arrive(gate)
    assert visitor.is_expected("right")
    assert not visitor.is_expected("wrong")
    assert not visitor.is_expected(None)
    assert not gate.arrive(parse_address("192.0.2.9")).is_expected("right")  # who is behind it?
    assert visitor.show("wrong") is not None
    assert not visitor.is_expected("right")
    clock.now = 100.0
    assert visitor.is_expected("right")
    assert not gate_of().arrive(parse_address("192.0.2.1")).is_expected("any")


def test_voices_are_kept_for_tokens_and_for_this_machine(tmp_path: Path) -> None:
    keeps = Hello("enroll", keep="anna")
    everybody = gate_of(host="0.0.0.0", open=True)
    assert code(arrive(everybody)[0], keeps) == "forbidden"
    assert code(arrive(everybody)[0], Hello("enroll")) is None
    assert code(arrive(gate_of(), "127.0.0.1")[0], keeps) is None
    tokens = tmp_path / "tokens"
    tokens.write_text("all\nears subscribe\n")
    guarded = gate_of(token_file=str(tokens))
    for token, expected in (("all", None), ("ears", "forbidden"), ("none", "unauthorized")):
        assert code(arrive(guarded)[0], replace(keeps, token=token)) == expected, token


def test_who_may_convert_gets_voices(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("all\nears subscribe\n")
    guarded = gate_of(token_file=str(tokens))
    for token, status in ((None, 401), ("ears", 403), ("all", None)):
        visitor, _ = arrive(guarded)
        visitor.show(token)
        refusal = visitor.convert()
        assert (None if refusal is None else refusal.status) == status
    assert arrive(gate_of())[0].convert() is None


def test_half_of_the_places_for_publishers_of_codes_for_one_address() -> None:
    gate = gate_of(capacity=1, max_rooms=4)
    visitors = [arrive(gate)[0] for _ in range(3)]
    publish = Hello("publish", "codes", room="a")
    assert [code(one, publish) for one in visitors] == [None, None, "too-many-sessions"]
    assert code(arrive(gate, "192.0.2.2")[0], publish) is None
    # One whose room is heard as sound is one of the sessions of its address too.
    visitors[0].admit("computing")
    assert code(visitors[2], Hello("publish", "pcm", room="a")) == "too-many-sessions"
    visitors[0].give_back("computing")
    assert code(visitors[2], Hello("encode")) is None
    visitors[0].leave()
    assert code(arrive(gate)[0], publish) is None
    told = gate_of(address_publishers=1)
    codes = [code(arrive(told, "127.0.0.1")[0], publish) for _ in range(2)]
    assert codes == [None, "too-many-sessions"]
