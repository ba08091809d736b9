"""The gate: who may come in, from where, how often, and for what. Knows no sockets.

A request is judged in this order: how many connections its address has, Host and Origin (so that no
page can use up the tries of the one who looks at it), then the token. What the token allows and the
address's share of the sessions are looked at when the hello says what is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from streaming.server.addresses import Address, AddressTable, Proxies, key_of
from streaming.server.http import Asked, Refusal
from streaming.server.origins import Hosts, Origins
from streaming.server.places import Place
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello, ProtocolError
from streaming.wire.tokens import EVERYTHING, Grant, Tokens, read_token_file

CONNECTIONS = 64
"""Connections of one address, unless set otherwise."""
SHARE = 2
"""One address may have one in so many of all places of each kind, unless set otherwise."""
KINDS: dict[Place, str] = {
    "computing": "sessions",
    "publisher": "places for publishers of codes",
    "listener": "places for listeners",
}
"""Words for places of each kind."""
OWN_SITES = (None, "none", "same-origin")
"""Values of Sec-Fetch-Site of a request that no other site's page has made."""


class Gate:
    """Shared by all connections of a server. ``clock``: monotonic seconds. ``capacity``: sessions
    that compute, at once. Raises ValueError or OSError for settings that cannot be."""

    def __init__(
        self,
        settings: ServerSettings,
        clock: Callable[[], float],
        capacity: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._capacity = capacity
        from_file = read_token_file(settings.token_file) if settings.token_file else []
        self._tokens = Tokens([*((token, EVERYTHING) for token in settings.tokens), *from_file])
        self._proxies = Proxies(settings.trusted_proxies)
        self._hosts = Hosts(settings.host, settings.allow_hosts)
        self._origins = Origins(settings.allow_origins)
        self._addresses = AddressTable(settings.token_tries, settings.token_wait)

    @property
    def wants_token(self) -> bool:
        """Whether nobody comes in without a token."""
        return bool(self._tokens)

    def arrive(self, peer: Address | None) -> Visitor:
        """A connection from ``peer``. :meth:`Visitor.leave` when it has ended."""
        return Visitor(self, peer)

    # --------------------------------------------------- for visitors, who all ask here

    def connect(self, address: Address | None) -> bool:
        """Counts a connection; False where its address has too many."""
        most = self._most(address, self._settings.address_connections, CONNECTIONS)
        return self._addresses.connect(address, most)

    def disconnect(self, address: Address | None) -> None:
        """A counted connection has ended."""
        self._addresses.disconnect(address)

    def take(self, address: Address | None, place: Place) -> None:
        """Counts a place. Raises ProtocolError where its address has its share already."""
        most = self.most(address, place)
        if not self._addresses.take(address, place, most):
            sentence = f"your address has all the {KINDS[place]} that one may have ({most})"
            raise ProtocolError("too-many-sessions", sentence)

    def give_back(self, address: Address | None, place: Place) -> None:
        """A counted place is free again."""
        self._addresses.give_back(address, place)

    def most(self, address: Address | None, place: Place) -> int:
        """Places of a kind that the address may have; 0: no limit."""
        told, in_all = {
            "computing": (self._settings.address_sessions, self._capacity()),
            "publisher": (self._settings.address_publishers, self._settings.max_rooms),
            "listener": (self._settings.address_listeners, self._settings.max_listeners),
        }[place]
        return self._most(address, told, math.ceil(in_all / SHARE))

    def is_proxy(self, address: Address | None) -> bool:
        """Whether the address is a trusted proxy's."""
        return self._proxies.trusts(address)

    def client(self, peer: Address | None, asked: Asked) -> Address | None:
        """Address of who asks, behind the proxies that are trusted."""
        return self._proxies.client(peer, asked.forwarded)

    def check_page(self, peer: Address | None, asked: Asked, is_visit: bool) -> Refusal | None:
        """Whether the request is meant for this server, and made by no strange page, unless that
        has a link to the own page which somebody follows (``is_visit``)."""
        if asked.host is not None and not self._hosts.admits(asked.host):
            return Refusal(403, "no server of this name here: --allow-host NAME makes it one")
        secure = self._settings.tls_cert is not None or (
            self._proxies.trusts(peer) and (asked.forwarded_scheme or "").lower() == "https"
        )
        if asked.origin is None:
            stranger = asked.fetch_site not in OWN_SITES
        else:
            stranger = not self._origins.admits(asked.origin, asked.host, secure)
        if stranger and not is_visit:
            return Refusal(403, "pages of this origin are not allowed: see --allow-origin")
        return None

    def wait(self, address: Address | None) -> float:
        """Seconds until the address may show a token again, after wrong ones."""
        return self._addresses.wait(address, self._clock())

    def knows(self, token: str) -> bool:
        """Whether the token is one of the server's. For :attr:`Visitor.is_suspect` to be asked
        first: nothing is counted here."""
        return self._tokens.find(token) is not None

    def identify(self, address: Address | None, token: str) -> Grant | float:
        """Returns the grant of a token, or the seconds (perhaps 0) to wait before the next try: the
        token was wrong, or was not looked at."""
        wait = self.wait(address)
        if wait:
            return wait
        grant = self._tokens.find(token)
        if grant is None:
            self._addresses.fail(address, self._clock())
            return 0.0
        return grant

    def _most(self, address: Address | None, told: int | None, default: int) -> int:
        """The limit as set; else the default, which does not hold for programs on this machine,
        unless they may be proxies that say who their clients are."""
        if told is not None:
            return told
        own = address is not None and address.is_loopback and not self._proxies
        return 0 if own else default


class Visitor:
    """One connection: where it comes from and what it may do."""

    def __init__(self, gate: Gate, peer: Address | None) -> None:
        self._gate = gate
        self._peer = peer
        self._client = peer
        self._connected: bool | None = None
        self._grant: Grant | None = None if gate.wants_token else EVERYTHING
        self._places: set[Place] = set()
        # Who is behind a proxy is known, and counted, when the request is there.
        if not gate.is_proxy(peer):
            self._connected = gate.connect(peer)

    @property
    def address(self) -> str:
        """The client's address, for logs."""
        return key_of(None) if self._client is None else str(self._client)

    @property
    def waits_as(self) -> str | None:
        """Address that the name of a room it waits for counts for; None: without limit."""
        return key_of(self._client) if self._gate.most(self._client, "listener") else None

    @property
    def token_name(self) -> str | None:
        """Name of the token it has shown; None where none is asked for, or none was shown."""
        return self._grant.name if self._grant and self._gate.wants_token else None

    @property
    def is_known(self) -> bool:
        """Whether it has shown a token, or need not."""
        return self._grant is not None

    @property
    def is_one_too_many(self) -> bool:
        """Whether its address had all the connections it may have already."""
        return self._connected is False

    @property
    def is_suspect(self) -> bool:
        """Whether its address has to wait before it may show a token again."""
        return not self._gate.is_proxy(self._peer) and self._gate.wait(self._peer) > 0.0

    def watch(self) -> Refusal | None:
        """Refusal to tell it who else is here; None if it may know: with a token of all rights
        or, where none is asked for, from this machine."""
        if self._grant is None:
            return Refusal(401, "sessions want a token", {"WWW-Authenticate": "Bearer"})
        if not self._grant.is_everything:
            return Refusal(403, "this token does not include all rights, which sessions want")
        if self._is_anybody:
            return Refusal(403, "without tokens, sessions are told to this machine only")
        return None

    def convert(self) -> Refusal | None:
        """Refusal to give it what converting takes; None if it may convert."""
        if self._grant is None:
            return Refusal(401, "voices want a token", {"WWW-Authenticate": "Bearer"})
        if lacking := self._grant.lacks("convert", None):
            return Refusal(403, f"this token does not include {lacking}")
        return None

    @property
    def _is_anybody(self) -> bool:
        """Whether no token is asked for, and it comes from elsewhere."""
        return not self._gate.wants_token and not (self._client and self._client.is_loopback)

    def is_expected(self, token: str | None) -> bool:
        """Whether it shows a token that fits, by which it need not wait among strangers. Behind a
        proxy, who guesses is not known yet, and nobody is expected."""
        if token is None or self.is_suspect or self._gate.is_proxy(self._peer):
            return False
        return self._gate.knows(token)

    def check(self, asked: Asked, is_visit: bool = False) -> Refusal | None:
        """Reason that its request is refused, whatever it asks for; None if it is not.
        ``is_visit``: somebody follows a link to the server's own page."""
        if self._connected is None:
            self._client = self._gate.client(self._peer, asked)
            self._connected = self._gate.connect(self._client)
        if not self._connected:
            return Refusal(429, "too many connections from your address", {"Retry-After": "1"})
        return self._gate.check_page(self._peer, asked, is_visit)

    def show(self, token: str | None) -> Refusal | None:
        """Reason that the token of its request is refused; None if it is not, or there is none."""
        if token is None or self._grant is not None:
            return None
        found = self._gate.identify(self._client, token)
        if isinstance(found, Grant):
            self._grant = found
            return None
        if found:
            wait = {"Retry-After": str(math.ceil(found))}
            return Refusal(429, "too many wrong tokens from your address", wait)
        return Refusal(401, "the token does not fit", {"WWW-Authenticate": "Bearer"})

    def authorize(self, hello: Hello) -> None:
        """Raises ProtocolError for a token that is missing or wrong, or a right that it does not
        include."""
        if self._grant is None:
            self._show_late(hello.token)
        if self._grant is not None and (lacking := self._grant.lacks(hello.role, hello.room)):
            raise ProtocolError("forbidden", f"this token does not include {lacking}")
        if hello.keep is not None and self._is_anybody:
            raise ProtocolError("forbidden", "without tokens, only this machine's voices are kept")

    def admit(self, place: Place) -> None:
        """Takes a place for its session. Raises ProtocolError for an address with too many."""
        if place not in self._places:
            self._gate.take(self._client, place)
            self._places.add(place)

    def give_back(self, *places: Place) -> None:
        """Gives these places of its session back, or all, though the connection may last."""
        for place in self._places.intersection(places or self._places):
            self._gate.give_back(self._client, place)
            self._places.discard(place)

    def leave(self) -> None:
        """Gives back what it was counted for."""
        self.give_back()
        if self._connected:
            self._gate.disconnect(self._client)
        self._connected = False

    def _show_late(self, token: str | None) -> None:
        if token is None:
            raise ProtocolError("unauthorized", "expected a token, got none")
        found = self._gate.identify(self._client, token)
        if isinstance(found, Grant):
            self._grant = found
        elif found:
            raise ProtocolError(
                "too-many-attempts",
                f"too many wrong tokens from your address: try again in {math.ceil(found)} s",
            )
        else:
            raise ProtocolError("unauthorized", "expected a token, got one that is wrong")
