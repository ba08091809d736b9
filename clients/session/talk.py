"""Runs a live command from its parsed options: server, voice, signals."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clients import options as given
from clients.audio.files import keep_apart, need_sound_output
from clients.errors import ClientError, ServerError, UsageError
from clients.library.addresses import is_quic
from clients.library.connection import check_server
from clients.offline import voicebook as voices
from clients.session.idle import idle_options
from clients.session.keys import keys
from clients.session.live_options import LiveOptions, is_recording
from clients.session.local_server import LocalServer
from clients.session.run import LiveRun
from clients.session.signals import signals_told
from clients.session.status import Progress, Reporter
from clients.session.talkers import RememberedTalkers, SourceTalker
from clients.session.voicing import offered
from facodec.extras import need
from facodec.files import need_input, need_writable
from facodec.identity import ModelIdentity, model_of
from facodec.names import composed, did_you_mean, is_anonymous
from facodec.reasons import shown
from streaming.wire.protocol import Role

if TYPE_CHECKING:
    from clients.offline.local import LocalCodec

CHANGEABLE: tuple[Role, ...] = ("loopback", "convert")
"""Roles whose sound keys change while it goes on."""


def run_live(options: argparse.Namespace, role: Role, room: str | None = None) -> int:
    """The live command of this role. Raises ClientError."""
    voices.check_room(room)
    _check(options)
    try:
        asyncio.run(_live(options, role, room))
    except ServerError as error:
        raise _with_near_names(error, options) from error
    return 0


async def interruptible(run: LiveRun) -> Progress:
    """Run; Ctrl-C, SIGTERM or the terminal's closing ends the input and lets the rest come out, a
    second one ends all. A wait for a pipe is ended by the first."""
    task = asyncio.ensure_future(run.run())
    told = False

    def on_signal() -> None:
        nonlocal told
        if told:
            task.cancel()
        told = True
        run.stop()

    with signals_told(on_signal):
        try:
            return await task
        except asyncio.CancelledError as error:
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise  # a signal broke the loop off, and it leaves by itself
            raise KeyboardInterrupt from error


async def _live(options: argparse.Namespace, role: Role, room: str | None) -> None:
    reporter = Reporter(as_json=options.json)
    serve = getattr(options, "serve", False)
    for sentence in idle_options(options, role, given.server(options) or given.DEFAULT_URL):
        reporter.say(sentence)
    async with AsyncExitStack() as stack:
        local = None
        if getattr(options, "local", False):
            from clients.offline.local import LocalCodec

            local = LocalCodec(options.model)
            stack.callback(local.close)
        url = given.server(options) or given.DEFAULT_URL
        if serve:
            chosen = ("--model", options.model) if options.model else ()
            server = await stack.enter_async_context(LocalServer(*chosen))
            url = server.url
        model = None if serve or local is not None else options.model
        live = LiveOptions(
            url=url,
            role=role,
            voice=await _voice(options, "voice", url, model),
            room=room,
            model=model,
            token=given.token(options),
            ca=given.ca(options),
            layers=options.layers,
            frames_per_packet=options.frames_per_packet,
            seed=options.seed,
            pitch=getattr(options, "talker_pitch", None),
            shift=getattr(options, "pitch", 0.0),
            gain=getattr(options, "gain", 0.0),
            gate=getattr(options, "gate", None),
            voice_name=_voice_name(options),
            local=local is not None,
            reconnect=options.reconnect,
            fast=getattr(options, "fast", False),
            pauses=getattr(options, "pauses", True),
            redundancy=getattr(options, "redundancy", None),
            input=getattr(options, "input", None),
            output=getattr(options, "output", None),
            device_in=getattr(options, "device_in", None),
            device_out=getattr(options, "device_out", None),
            save_input=getattr(options, "save_input", None),
            denoise=getattr(options, "denoise", False),
            playout=getattr(options, "playout", None),
            append=getattr(options, "append", False),
        )
        talker = await _talker(options, live, local, reporter)
        run = LiveRun(live, reporter, local, talker)
        if role in CHANGEABLE and not (options.json or live.fast):
            offers = partial(offered, live, local)
            at_keys = await stack.enter_async_context(keys(run.controls, offers, reporter.say))
            run.progress.chosen = run.controls if at_keys else None
        await interruptible(run)


def _voice_name(options: argparse.Namespace) -> str:
    """The name of the voice for people."""
    voice = getattr(options, "voice", None)
    if voice is None:
        return "own voice"
    recording = voices.voice_file(voice)
    return shown(recording.stem if recording is not None else voice)


async def _voice(
    options: argparse.Namespace, name: str, url: str, model: str | None
) -> np.ndarray | str | None:
    voice = getattr(options, name, None)
    token, ca = given.token(options), given.ca(options)
    return await voices.resolve(voice, url, model=model, token=token, ca=ca)


async def _talker(
    options: argparse.Namespace, live: LiveOptions, local: LocalCodec | None, reporter: Reporter
) -> SourceTalker:
    """Returns the talker as far as known. Raises UsageError for a name that only a server knows
    where the estimates are made here."""
    if getattr(options, "talker", voices.NOBODY) == voices.NOBODY:
        return SourceTalker()
    if is_anonymous(options.talker):
        raise UsageError(f"--talker {options.talker}: nobody talks with a voice of nobody")
    named = await _voice(options, "talker", live.url, live.model)
    converts = live.role == "convert" and not live.converts_here
    model, encodes = model_of(live.voice), local is not None and not converts
    if local is not None:
        model = local.codec.identity
        if isinstance(named, str) and encodes:
            if named not in local.codec.voices:
                near = did_you_mean(named, voices.known_voices(local.codec.voices))
                raise UsageError(
                    f"--talker {shown(named)}: no voice of that name is known here{near}"
                )
            named = local.codec.voices[named]
    elif model is None and live.model is not None:
        model = ModelIdentity(live.model)
    return SourceTalker(named, RememberedTalkers(reporter.say), model, encodes, reporter.say)


def _check(options: argparse.Namespace) -> None:
    """Combinations that cannot be. Raises UsageError."""
    serve = getattr(options, "serve", False)
    if serve or getattr(options, "local", False):
        need("server")
    if getattr(options, "denoise", False):
        need("denoise")
    if serve and options.server:
        raise UsageError("--serve starts a server of its own: leave out --server, or --serve")
    if serve and options.reconnect:
        raise UsageError("--reconnect is for a server that outlives this command, not for --serve")
    if getattr(options, "fast", False) and options.input is None:
        raise UsageError("--fast needs --input FILE: nobody speaks faster than real time")
    if getattr(options, "fast", False) and "output" in options and options.output is None:
        raise UsageError("--fast needs --output FILE: nobody listens faster than real time")
    if getattr(options, "append", False) and not is_recording(options.output):
        raise UsageError("--append needs --output FILE.fac: only recordings as codes are appended")
    recordings = map(voices.voice_file, _spoken(options))
    inputs = [path for path in (getattr(options, "input", None), *recordings) if path is not None]
    outputs = [getattr(options, name, None) for name in ("output", "save_input")]
    trust = [Path(name) for name in (options.token_file, given.ca(options)) if name]
    keep_apart(outputs, [*inputs, *trust])
    for path in inputs:
        need_input(path)
    for path in filter(None, outputs):
        records = "append" in options and is_recording(path)  # a listener may
        need_writable(path) if records else need_sound_output(path)
    if not serve:
        if is_quic(given.server(options) or ""):
            need("quic")
        url = given.server(options) or given.DEFAULT_URL
        check_server(url, given.token(options), given.ca(options))
    elif options.model is None:
        _check_names(_spoken(options))


def _check_names(spoken: list[str]) -> None:
    """See that there are voices of these names, where they are names, before a server with the
    bundled model is started. Raises ClientError."""
    known = voices.known_voices()
    for name in spoken:
        free = voices.is_file(name) or is_anonymous(name) or name == voices.NOBODY
        if not free and composed(name) not in known:
            raise voices.no_such_voice(name, known)


def _with_near_names(error: ServerError, options: argparse.Namespace) -> ClientError:
    """The server's error; where it knows no voice of a name, that of a wrong command line, with
    those here that are like it."""
    if error.code != "unknown-voice":
        return error
    named, known = _spoken(options), voices.known_voices()
    near = "".join(did_you_mean(name, known) for name in named if name not in known)
    return UsageError(f"{error}{near}")


def _spoken(options: argparse.Namespace) -> list[str]:
    """The voices that the command line names, by recording or name."""
    return [name for each in ("voice", "talker") if (name := getattr(options, each, None))]
