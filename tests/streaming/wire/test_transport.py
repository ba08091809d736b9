"""Options of TCP, asked back of the system."""

from __future__ import annotations

import socket as sockets
import sys

import pytest

from streaming.wire import transport


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's options")
def test_what_was_lost_is_sent_again_soon() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as server:
        client = sockets.create_connection(server.getsockname())
        with client:
            transport.repeat_soon(client)

            def told(option: int) -> int:
                return client.getsockopt(sockets.IPPROTO_TCP, option)

            assert told(transport.THIN_LINEAR_TIMEOUTS) == 1
            try:
                longest, shortest = told(transport.RTO_MAX_MS), told(transport.RTO_MIN_US)
            except OSError:
                pytest.skip("a Linux before 6.15")
            assert (longest, shortest) == (transport.LONGEST, transport.SHORTEST)
        transport.repeat_soon(client)  # closed
    transport.repeat_soon(None)
