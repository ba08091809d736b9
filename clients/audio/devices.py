"""Sound devices: finding one by number or name, its format, and sentences for what goes wrong."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Literal

from clients.errors import DeviceError, UsageError
from facodec.config import SAMPLE_RATE

Kind = Literal["input", "output"]

INSTEAD = {
    "input": "or read a file instead: --input speech.wav",
    "output": "or write a file instead: --output out.wav",
}
ALSA_MESSAGE = (
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
)
"""File, line, function, error and format of a message; what goes into the format is left out."""
NO_PORTAUDIO = (
    "the PortAudio library is missing. Install it (Debian, Ubuntu: sudo apt install libportaudio2; "
    "macOS: brew install portaudio), or use --input speech.wav --output out.wav"
)


@dataclass(frozen=True)
class Device:
    """One device as PortAudio lists it."""

    number: int
    name: str
    system: str
    inputs: int
    outputs: int
    rate: int
    default_input: bool
    default_output: bool

    def channels(self, kind: Kind) -> int:
        return self.inputs if kind == "input" else self.outputs


@dataclass(frozen=True)
class DeviceFormat:
    """Format that a device is opened in: ``device`` None is the system's default."""

    device: int | None
    name: str
    rate: int
    channels: int


def portaudio() -> ModuleType:
    """The sounddevice module. Raises DeviceError where PortAudio is missing."""
    try:
        import sounddevice
    except OSError as error:
        raise DeviceError(NO_PORTAUDIO) from error
    silence_alsa()
    module: ModuleType = sounddevice
    return module


@cache
def silence_alsa() -> object:
    """Stops ALSA, where there is one, from printing into our status line: what went wrong comes
    to us as underruns and errors too. Gives what must live as long as ALSA may call it."""
    handler = ctypes.CFUNCTYPE(None, *ALSA_MESSAGE)(lambda *_: None)
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(handler)
    return handler


def list_devices() -> list[Device]:
    """Every device, in PortAudio's order. Raises DeviceError without PortAudio."""
    sounddevice = portaudio()
    try:
        found = sounddevice.query_devices()
        systems = sounddevice.query_hostapis()
    except sounddevice.PortAudioError as error:
        raise DeviceError(f"the sound system does not answer: {_reason(error)}") from error
    default_input, default_output = sounddevice.default.device
    return [
        Device(
            number=index,
            name=str(entry["name"]),
            system=str(systems[entry["hostapi"]]["name"]),
            inputs=int(entry["max_input_channels"]),
            outputs=int(entry["max_output_channels"]),
            rate=int(entry["default_samplerate"]),
            default_input=index == default_input,
            default_output=index == default_output,
        )
        for index, entry in enumerate(found)
    ]


def choose(devices: list[Device], wanted: str | None, kind: Kind) -> Device:
    """The device meant by a number, a name or a part of one; the default for None.

    Raises DeviceError where there is none at all, UsageError where the choice fits none or many.
    """
    able = [device for device in devices if device.channels(kind) > 0]
    if not able:
        raise DeviceError(
            f"there is no sound {kind} device: plug one in, allow this program to use it, "
            f"{INSTEAD[kind]}"
        )
    if wanted is None:
        default = "default_input" if kind == "input" else "default_output"
        return next((device for device in able if getattr(device, default)), able[0])
    fitting = _fitting(able, wanted)
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(f"{device.number}: {device.name}" for device in fitting or able)
    problem = "several" if fitting else "no"
    raise UsageError(f"{problem} {kind} devices fit {wanted!r}; there are {names}")


def negotiate(wanted: str | None, kind: Kind) -> DeviceFormat:
    """Find the device and a format it takes: 16 kHz mono if it can, else its own rate.

    Raises DeviceError where it takes none.
    """
    sounddevice = portaudio()
    device = choose(list_devices(), wanted, kind)
    check = (
        sounddevice.check_input_settings if kind == "input" else sounddevice.check_output_settings
    )
    refusal = ""
    for rate in dict.fromkeys((SAMPLE_RATE, device.rate)):
        for channels in dict.fromkeys((1, min(2, device.channels(kind)))):
            try:
                check(device=device.number, samplerate=rate, channels=channels, dtype="float32")
            except (sounddevice.PortAudioError, ValueError) as error:
                refusal = _reason(error)
            else:
                return DeviceFormat(device.number, device.name, rate, channels)
    raise DeviceError(
        f"the {kind} device {device.name!r} cannot be opened ({refusal}): is another program "
        f"using it, or is permission missing? Choose another (facodec devices), {INSTEAD[kind]}"
    )


def open_stream(kind: Kind, shape: DeviceFormat, **callbacks: Any) -> Any:
    """A sounddevice stream of float32, not yet started. Raises DeviceError."""
    sounddevice = portaudio()
    make = sounddevice.InputStream if kind == "input" else sounddevice.OutputStream
    try:
        return make(
            device=shape.device,
            samplerate=shape.rate,
            channels=shape.channels,
            dtype="float32",
            blocksize=round(shape.rate * BLOCK_SECONDS),
            latency="low",
            **callbacks,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise DeviceError(
            f"the {kind} device {shape.name!r} cannot be opened ({_reason(error)}): is another "
            f"program using it, or is permission missing? {INSTEAD[kind].capitalize()}"
        ) from error


BLOCK_SECONDS = 0.0125
"""Samples a callback gets at a time: one codec frame."""


def lost(kind: Kind, name: str) -> DeviceError:
    """For a device that stopped while in use."""
    return DeviceError(
        f"the {kind} device {name!r} stopped: was it unplugged? "
        "Plug it in again or choose another (facodec devices)"
    )


def start_stream(stream: Any, kind: Kind, name: str) -> None:
    """Start a stream. Raises DeviceError where the device refuses."""
    sounddevice = portaudio()
    try:
        stream.start()
    except sounddevice.PortAudioError as error:
        raise DeviceError(
            f"the {kind} device {name!r} does not start: {_reason(error)}, {INSTEAD[kind]}"
        ) from error


def _fitting(able: list[Device], wanted: str) -> list[Device]:
    if wanted.isdigit():
        return [device for device in able if device.number == int(wanted)]
    exact = [device for device in able if device.name == wanted]
    partial = [device for device in able if wanted.lower() in device.name.lower()]
    return exact[:1] or partial


def _reason(error: Exception) -> str:
    return str(error).removeprefix("Error querying device -1").strip() or type(error).__name__
