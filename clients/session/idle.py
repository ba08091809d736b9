"""Options that change nothing beside the others given, told so that nobody counts on them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from clients.library.addresses import is_quic
from clients.session.live_options import is_recording
from facodec.config import CODE_LAYERS
from facodec.names import is_anonymous
from streaming.wire.protocol import Role

PLACES = {"output": ("device_out", "playout"), "input": ("device_in",)}
"""Options of what a file takes the place of, by the option that names the file."""


def idle_options(options: argparse.Namespace, role: Role, url: str) -> list[str]:
    """Sentences on the options of a live command that have no effect. ``url``: its server."""
    codes = [] if options.local else _of_codes_alone(options)
    return [*idle_devices(options), *codes, *_of_synthesis(options, role), *_of_trust(options, url)]


def idle_devices(options: argparse.Namespace) -> list[str]:
    """Sentences on options of devices whose place a file takes."""
    return [
        f"{_dashed(name)} has no effect: the file of --{file} takes the device's place"
        for file, names in PLACES.items()
        if _given(options, file)
        for name in names
        if _given(options, name)
    ]


def _of_codes_alone(options: argparse.Namespace) -> Iterator[str]:
    if options.redundancy:
        yield "--redundancy has no effect without --local: only a client that encodes repeats codes"
    if not options.pauses:
        yield "--no-pauses has no effect without --local: pauses of sound are sent anyway"


def _of_synthesis(options: argparse.Namespace, role: Role) -> Iterator[str]:
    here = options.local and is_anonymous(getattr(options, "voice", None))
    conversion = role == "convert"
    if options.layers != CODE_LAYERS and (here or (conversion and not options.local)):
        yield "--layers has no effect: a conversion leaves detail codes out"
    sends_all = conversion or getattr(options, "fast", False)
    if options.local and sends_all and not options.pauses:
        yield "--no-pauses has no effect: of files read fast and conversions all is sent anyway"
    records = role == "subscribe" and is_recording(options.output)
    if options.seed and (records or role == "publish"):
        yield "--seed has no effect: no sound is made of codes here"


def _of_trust(options: argparse.Namespace, url: str) -> Iterator[str]:
    if getattr(options, "serve", False):
        for name in ("token", "token_file", "ca"):
            if _given(options, name):
                yield f"{_dashed(name)} has no effect: the server of --serve asks for none"
    elif _given(options, "ca") and not url.lower().startswith("wss://") and not is_quic(url):
        yield "--ca has no effect: certificates are for wss:// and quic://"
    if options.local and options.redundancy and not is_quic(url):
        yield "--redundancy takes bits and mends nothing here: packets are lost over quic:// alone"


def _given(options: argparse.Namespace, name: str) -> bool:
    return getattr(options, name, None) is not None


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
