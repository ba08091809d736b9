"""``facodec devices``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.audio.devices import Device

EXAMPLES = """\
  facodec devices                                   > marks the default microphone, < the default
                                                    loudspeaker
  facodec talk --device-in 3 --device-out pulse     choose by number or by a part of the name"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="a JSON array")


def run(arguments: argparse.Namespace) -> int:
    from clients.audio.devices import list_devices

    devices = list_devices()
    if arguments.json:
        print(json.dumps([asdict(device) for device in devices], indent=2))
    elif devices:
        print("\n".join(map(line, devices)))
    else:
        print("no sound devices; files work without: --input speech.wav --output out.wav")
    return 0


def line(device: Device) -> str:
    """One device for people."""
    marks = (">" if device.default_input else " ") + ("<" if device.default_output else " ")
    ways = f"{device.inputs} in, {device.outputs} out, {device.rate} Hz, {device.system}"
    return f"{marks}{device.number:4d}  {device.name}  ({ways})"
