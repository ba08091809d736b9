"""TCP as live speech wants it. The system's own choices are made for files."""

from __future__ import annotations

import array
import socket as sockets
import sys
from contextlib import suppress

THIN_LINEAR_TIMEOUTS, RTO_MAX_MS, RTO_MIN_US = 16, 44, 45
"""Options of Linux that Python has no names for; older ones do not know the last two (6.15)."""
LONGEST, SHORTEST = 1_000, 60_000
"""ms and us from sending something to sending it again: the least that may be asked for, where
Linux goes up to 120 s after a long outage; and 60 ms beside the round trip, where it takes 200."""


def repeat_soon(socket: sockets.socket | None) -> None:
    """Has a TCP socket send what was lost again soon: not later and later while nothing comes
    through, so that a link that is back is noticed, nor as late as a file's. Linux alone."""
    if socket is None or sys.platform != "linux":
        return
    options = ((THIN_LINEAR_TIMEOUTS, 1), (RTO_MAX_MS, LONGEST), (RTO_MIN_US, SHORTEST))
    for option, value in options:
        with suppress(OSError, ValueError):  # an older system; closed meanwhile
            socket.setsockopt(sockets.IPPROTO_TCP, option, value)


if sys.platform == "linux":
    import fcntl
    import termios

    def unacknowledged(socket: sockets.socket | None) -> int:
        """Bytes written to a TCP socket whose arrival the other end has not acknowledged. Linux
        knows; elsewhere it is 0."""
        count = array.array("i", [0])
        if socket is not None:
            with suppress(OSError, ValueError):  # closed meanwhile
                fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, count)
        return count[0]

else:

    def unacknowledged(socket: sockets.socket | None) -> int:
        return 0
