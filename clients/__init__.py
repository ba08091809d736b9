"""Clients of a server: connections, sound files and devices, saved voices, and every command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facodec import __version__, lazy

if TYPE_CHECKING:
    from clients.audio.devices import Device, list_devices
    from clients.audio.files import AudioWriter, read_audio
    from clients.errors import (
        ClientError,
        ConnectError,
        ConnectionLost,
        DeviceError,
        FinishTimeout,
        Forbidden,
        NotAuthorized,
        ServerError,
        ServerFull,
        ServerUnreachable,
        UsageError,
        WrongProtocol,
    )
    from clients.library.connection import Session, connect
    from clients.library.packets import AudioPacket, CodesPacket, Times, VoicePacket
    from clients.library.reconnect import keep_connected
    from clients.offline.voicebook import Profile, Profiles
    from clients.session.local_server import LocalServer

__all__ = [
    "AudioPacket",
    "AudioWriter",
    "ClientError",
    "CodesPacket",
    "ConnectError",
    "ConnectionLost",
    "Device",
    "DeviceError",
    "FinishTimeout",
    "Forbidden",
    "LocalServer",
    "NotAuthorized",
    "Profile",
    "Profiles",
    "ServerError",
    "ServerFull",
    "ServerUnreachable",
    "Session",
    "Times",
    "UsageError",
    "VoicePacket",
    "WrongProtocol",
    "__version__",
    "connect",
    "keep_connected",
    "list_devices",
    "read_audio",
]

__getattr__ = lazy.attributes(
    __name__,
    {
        "AudioPacket": "clients.library.packets",
        "AudioWriter": "clients.audio.files",
        "ClientError": "clients.errors",
        "CodesPacket": "clients.library.packets",
        "ConnectError": "clients.errors",
        "ConnectionLost": "clients.errors",
        "Device": "clients.audio.devices",
        "DeviceError": "clients.errors",
        "FinishTimeout": "clients.errors",
        "Forbidden": "clients.errors",
        "LocalServer": "clients.session.local_server",
        "NotAuthorized": "clients.errors",
        "Profile": "clients.offline.voicebook",
        "Profiles": "clients.offline.voicebook",
        "ServerError": "clients.errors",
        "ServerFull": "clients.errors",
        "ServerUnreachable": "clients.errors",
        "Session": "clients.library.connection",
        "Times": "clients.library.packets",
        "UsageError": "clients.errors",
        "VoicePacket": "clients.library.packets",
        "WrongProtocol": "clients.errors",
        "connect": "clients.library.connection",
        "keep_connected": "clients.library.reconnect",
        "list_devices": "clients.audio.devices",
        "read_audio": "clients.audio.files",
    },
)
