"""Errors for users: one sentence each, that says what to do."""

from __future__ import annotations

from facodec import renamed

__getattr__ = renamed.attributes(__name__, {"AudioFileError": "facodec.files.FileError"})


class ClientError(Exception):
    """A sentence for the user, without a traceback; the command exits with ``exit_code``."""

    exit_code = 1


class UsageError(ClientError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class DeviceError(ClientError):
    """No device, no permission, no PortAudio, or the device went away."""


class ConnectError(ClientError):
    """No session came about. ``retryable``: it may work a little later."""

    retryable = False


class ServerUnreachable(ConnectError):
    """Nothing answers at the address. ``none_there``: nothing listens, so a server can be
    started."""

    retryable = True

    def __init__(self, sentence: str, *, none_there: bool = False) -> None:
        super().__init__(sentence)
        self.none_there = none_there


class ServerFull(ConnectError):
    """The server takes no more sessions. ``retry_after``: its advice, s."""

    retryable = True

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class NotAuthorized(ConnectError):
    """The server wants a token, or another one."""


class Forbidden(ConnectError):
    """The server does not go by the name that was used, or lets only certain pages in."""


class WrongProtocol(ConnectError):
    """The server there does not speak the protocol."""


class ServerError(ClientError):
    """The server ended the session and said why. ``code``: see docs/protocol.md."""

    RETRYABLE = frozenset(
        {
            "too-slow",
            "overloaded",
            "internal",
            "too-many-rooms",
            "room-full",
            "unknown-room",
            "too-many-sessions",
            "too-many-attempts",
        }
    )

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"the server says: {sentence} ({code})")
        self.code = code
        self.retryable = code in self.RETRYABLE


class ConnectionLost(ClientError):
    """The connection broke, or the server went away, in the middle of a session."""

    retryable = True


class FinishTimeout(ClientError):
    """The server did not answer the end of the stream in time."""


def advice(error: ClientError, options: object) -> str:
    """More advice on an error, for a command with these options."""
    if isinstance(error, ServerUnreachable) and error.none_there and hasattr(options, "serve"):
        return ", or add --serve to start one for the duration of this command"
    if isinstance(error, ServerError) and error.code == "unauthorized":
        return ": give it one with $FACODEC_TOKEN or --token"
    if isinstance(error, ConnectionLost) and getattr(options, "reconnect", None) is False:
        return "; with --reconnect this command comes back after that"
    return ""
