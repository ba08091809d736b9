"""Client addresses: who somebody is behind proxies, and what one address may take. No sockets."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from streaming.server.places import Place

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Key = TypeVar("Key")

UNKNOWN = "unknown"
"""Key of clients whose address the system does not tell."""
SHARED_PREFIX = 64
"""Bits of an IPv6 address that one customer has for himself."""
FORGET = 900.0
"""Seconds after which an address's failures are forgotten."""
MOST_FAILERS = 4096
"""Addresses with failures that are remembered; then the one that failed longest ago is not."""


def parse_address(text: str) -> Address | None:
    """The address in ``1.2.3.4``, ``1.2.3.4:5``, ``::1``, ``[::1]:5`` or ``fe80::1%eth0``, an
    IPv4 one that is written as IPv6 as what it is; None for anything else."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text, bracket, _ = text[1:].partition("]")
        if not bracket:
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def key_of(address: Address | None) -> str:
    """Key under which an address is counted: an IPv4 address, or the /64 of an IPv6 address."""
    if address is None:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, SHARED_PREFIX), strict=False))


class Proxies:
    """Proxies that are believed what they say about their clients, as addresses or networks.

    Raises ValueError for what is neither."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._networks: list[Network] = []
        for text in trusted:
            try:
                self._networks.append(_unmapped(ipaddress.ip_network(text, strict=False)))
            except ValueError:
                raise ValueError(
                    f"expected a trusted proxy as address or network (10.0.0.0/8), got {text!r}"
                ) from None

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: Address | None) -> bool:
        """Whether the address is a proxy's."""
        return address is not None and any(
            address.version == network.version and address in network for network in self._networks
        )

    def client(self, peer: Address | None, forwarded: Sequence[str]) -> Address | None:
        """The rightmost address that is no trusted proxy's. ``peer``: who is connected to us.
        ``forwarded``: the values of all X-Forwarded-For headers, in order. What stands further left
        was written by somebody who is not trusted."""
        hops = [hop for value in forwarded for hop in value.split(",")]
        client = peer
        while hops and self.trusts(client):
            before = parse_address(hops.pop())
            if before is None:
                break  # the proxy itself is the last that is known
            client = before
        return client


def _unmapped(network: Network) -> Network:
    """An IPv4 network that is written as IPv6 (``::ffff:10.0.0.0/104``) as what it is."""
    address = network.network_address
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - 96))


@dataclass
class _Failures:
    count: int
    latest: float


class AddressTable:
    """Connections, places and wrong tokens by address. ``now``: monotonic seconds.

    ``tries``: wrong tokens before the first wait. ``longest_wait``: seconds, which waits grow up
    to. Its memory is bounded: connections and places are counted only while they last, failures
    of at most :data:`MOST_FAILERS` addresses are remembered."""

    def __init__(self, tries: int = 3, longest_wait: float = 60.0) -> None:
        self._tries = tries
        self._longest_wait = longest_wait
        self._connections: dict[str, int] = {}
        self._places: dict[tuple[Place, str], int] = {}
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        holders = {key for _, key in self._places}
        return len(self._connections.keys() | holders | self._failures.keys())

    def connect(self, address: Address | None, most: int) -> bool:
        """Counts a connection, unless the address has ``most`` already (0: no limit)."""
        return _count_up(self._connections, key_of(address), most)

    def disconnect(self, address: Address | None) -> None:
        """A counted connection has ended."""
        _count_down(self._connections, key_of(address))

    def take(self, address: Address | None, place: Place, most: int) -> bool:
        """Counts a place, unless the address has ``most`` of the kind already (0: no limit)."""
        return _count_up(self._places, (place, key_of(address)), most)

    def give_back(self, address: Address | None, place: Place) -> None:
        """A counted place is free again."""
        _count_down(self._places, (place, key_of(address)))

    def fail(self, address: Address | None, now: float) -> None:
        """Counts a wrong token."""
        key = key_of(address)
        before = self._failures.pop(key, None)
        count = 0 if before is None or now - before.latest > FORGET else before.count
        self._failures[key] = _Failures(count + 1, now)
        if len(self._failures) > MOST_FAILERS:
            self._failures.popitem(last=False)

    def wait(self, address: Address | None, now: float) -> float:
        """Seconds until this address may show a token again: none for the first wrong ones, then
        1, 2, 4 ... s after each."""
        failures = self._failures.get(key_of(address))
        if failures is None or failures.count < self._tries:
            return 0.0
        wait = min(2.0 ** min(failures.count - self._tries, 30), self._longest_wait)
        return max(0.0, failures.latest + wait - now)


def _count_up(counts: dict[Key, int], key: Key, most: int) -> bool:
    if most and counts.get(key, 0) >= most:
        return False
    counts[key] = counts.get(key, 0) + 1
    return True


def _count_down(counts: dict[Key, int], key: Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
