"""Changes of a live command while it runs, through a real server; and who watches that server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.audio.microphone import Block
from clients.cli import main
from clients.errors import UsageError
from clients.offline.local import LocalCodec
from clients.session import run as live_run
from clients.session.controls import Choice
from clients.session.live_options import LiveOptions
from clients.session.run import LiveRun
from clients.session.status import Reporter
from clients.session.talkers import SourceTalker
from facodec.codec import Codec
from facodec.config import HOP
from facodec.identity import ModelIdentity, belonging
from facodec.streams.conversion import raised
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from tests.exactness import assert_equal_audio
from tests.loops import LoopThread

HELLO = Path(__file__).parents[1] / "data" / "hello.flac"
FACODEC = [sys.executable, "-m", "clients.cli"]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server(live: Codec) -> Iterator[Server]:
    """A server in a thread of its own."""
    loop = LoopThread()
    running = Server(ServerSettings(port=0, max_sessions=8), {live.name: live})
    loop.wait(running.start())
    yield running
    loop.wait(running.stop())
    loop.close()


class Spoken:
    """A source that has keys pressed at certain hops."""

    name, overruns, live = "spoken", 0, False

    def __init__(self, samples: np.ndarray, presses: dict[int, Callable[[], object]]) -> None:
        self._samples, self._presses = samples, presses

    async def blocks(self) -> AsyncIterator[Block]:
        for at in range(0, len(self._samples), HOP):
            if press := self._presses.get(at // HOP):
                press()
            yield Block(self._samples[at : at + HOP], 0.0)

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def speak(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[np.ndarray, str]]:
    """Speaks samples with keys pressed at certain hops; gives the sound and what was said."""

    def spoken(
        samples: np.ndarray, presses: dict[int, str], *voices: Choice, talker: Any = None,
        local: LocalCodec | None = None, **changes: Any,
    ) -> tuple[np.ndarray, str]:  # fmt: skip
        out, said = tmp_path / "out.wav", io.StringIO()
        options = LiveOptions(server.url, "loopback", fast=True, input=HELLO, output=out)
        options = replace(options, local=local is not None, **changes)
        run = LiveRun(options, Reporter(errors=said, out=said), local, talker)
        run.controls.offer(voices)

        def press(keys: str) -> None:
            for key in keys:
                run.controls.press(key)

        moments = {hop: (lambda keys=keys: press(keys)) for hop, keys in presses.items()}
        monkeypatch.setattr(live_run, "open_source", lambda *_, **__: Spoken(samples, moments))
        asyncio.run(asyncio.wait_for(run.run(), PATIENCE))
        return soundfile.read(out, dtype="float32")[0], said.getvalue()

    return spoken


def is_nearer(live: Codec, sound: np.ndarray, one: str, other: str) -> bool:
    """Whether a voice is more like one than like the other."""
    heard = live.voice(sound)[:-1]
    return bool(heard @ live.voices[one][:-1] > heard @ live.voices[other][:-1])


def step_of(sound: np.ndarray) -> float:
    return float(np.abs(np.diff(sound)).max())


def test_a_voice_and_its_pitch_change_within_a_session(
    speak: Any, live: Codec, hello: np.ndarray
) -> None:
    rowan, here = Choice("rowan", "rowan"), {"role": "convert", "voice": "hazel"}
    clip = hello[: 299 * HOP + 7]
    sound, said = speak(clip, {100: "n"}, rowan, **here)
    first, second = (live.convert(clip, live.voices[name]) for name in ("hazel", "rowan"))
    assert len(sound) == 300 * HOP and said.count("connected to") == 1
    assert_equal_audio(sound[: 80 * HOP], np.clip(first[: 80 * HOP], -1, 1))
    assert is_nearer(live, sound[160 * HOP :], "rowan", "hazel")
    assert step_of(sound) < 1.1 * max(step_of(first), step_of(second))


def test_talk_goes_over_to_another_voice_and_back(
    speak: Any, live: Codec, hello: np.ndarray
) -> None:
    """Each voice has a session of its own, and nothing clicks between them."""
    clip = hello[: 350 * HOP]
    sound, said = speak(clip, {50: "n", 300: "p"}, Choice("rowan", "rowan"))
    assert len(sound) == len(clip)
    middle = sound[100 * HOP : 280 * HOP]
    assert is_nearer(live, middle, "rowan", "hazel") and said.count("connected to") == 1
    loop = live.decode(live.encode(hello).codes, live.voice(hello))
    other = live.convert(hello, live.voices["rowan"])
    assert step_of(sound) < 1.2 * max(step_of(loop), step_of(other))


def test_bypass_gives_what_was_said_in_its_place(speak: Any, hello: np.ndarray) -> None:
    clip = hello[: 300 * HOP]
    sound, _ = speak(clip, {0: "b", 100: "m", 200: "m"}, role="convert", voice="hazel")
    np.testing.assert_allclose(sound[HOP : 80 * HOP], clip[HOP : 80 * HOP], atol=1e-6)
    assert not sound[102 * HOP : 190 * HOP].any()
    np.testing.assert_allclose(sound[202 * HOP :], clip[202 * HOP :], atol=1e-6)


def test_ones_own_voice_moves_in_pitch_where_it_is_known(
    speak: Any, live: Codec, hello: np.ndarray
) -> None:
    me, clip = live.voice(hello), hello[: 160 * HOP]
    higher, _ = speak(clip, {}, talker=SourceTalker(me), shift=4.0)
    assert_equal_audio(higher, np.clip(live.convert(clip, raised(me, 4.0), talker=me), -1, 1))
    with pytest.raises(UsageError, match="pitch of your own voice"):
        speak(clip, {}, shift=4.0)
    _, said = speak(hello[: 40 * HOP], {4: "u"})
    assert "pitch of your own voice" in said


def test_a_voice_that_is_refused_is_taken_back(speak: Any, live: Codec, hello: np.ndarray) -> None:
    unknown = Choice("gone", "gone")
    stranger = belonging(np.full(256, 0.05, np.float32), ModelIdentity.parse("ns3@0123456789ab"))
    clip = hello[: 120 * HOP]
    for choice in (unknown, Choice("stranger", stranger)):
        sound, said = speak(clip, {40: "n"}, choice, role="convert", voice="hazel")
        assert "gone" in said or "ns3@0123456789ab" in said
        assert len(sound) > 60 * HOP and sound[-20 * HOP :].any()


def test_a_voice_changes_where_the_client_converts(
    speak: Any, live: Codec, hello: np.ndarray
) -> None:
    local, clip = LocalCodec(), hello[: 260 * HOP]
    try:
        sound, _ = speak(
            clip, {60: "nuu"}, Choice("rowan", "rowan"), local=local, voice="anonymous.7"
        )
    finally:
        local.close()
    assert is_nearer(live, sound[100 * HOP :], "rowan", "hazel")
    assert live.voice(sound[100 * HOP :])[-1] > live.voices["rowan"][-1] + 0.05, "and higher"


def test_a_file_is_moved_in_pitch_and_made_softer(
    server: Server, live: Codec, hello: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    words = ["convert", "--server", server.url, "--fast", "--input", HELLO, "--output", out]
    words += ["--voice", "rowan", "--pitch", "5", "--gain", "-6"]
    assert main([str(word) for word in words]) == 0
    moved = live.convert(hello, raised(live.voices["rowan"], 5.0))
    found = soundfile.read(out, dtype="float32")[0]
    np.testing.assert_allclose(found * 10 ** (6 / 20), moved, atol=1e-5)


def test_keys_at_a_terminal(server: Server, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    words = [
        "convert",
        "--server",
        server.url,
        "--voice",
        "hazel",
        "--gate",
        "-60",
        "--input",
        HELLO,
    ]
    env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "120"}
    shown = b""

    def until(word: bytes) -> None:
        nonlocal shown
        while word not in shown:
            shown += os.read(ours, 65536)

    with subprocess.Popen(
        [*FACODEC, *map(str, words), "--output", str(tmp_path / "out.wav")],
        stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            until(b"? shows them")
            os.write(ours, b"npp")
            os.write(ours, b"?u+mb")
            until(b"bypass: your own voice")
            until(b"]  bypass +1 st +1 dB muted")
            os.write(ours, b"b")
            last = sorted(server.runtime.voice_names)[-1]
            until(f"]  {last} +1 st".encode())
            process.send_signal(2)
            until(b"frames  ")
            assert process.wait(PATIENCE) == 0
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
            os.close(ours)
            os.close(theirs)
    assert (tmp_path / "out.wav").exists()


def test_the_top_shows_who_is_there(
    server: Server, hello: np.ndarray, raw: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from streaming.wire.protocol import Hello

    async def scenario() -> None:
        async with raw.connect(server.url) as socket, raw.connect(server.url) as other:
            talker, listener = raw.client(socket), raw.client(other)
            await talker.send(Hello("convert", voice="hazel"), *raw.audio(hello[: 80 * HOP]))
            await listener.send(Hello("subscribe", room="küche"))
            while len([m for m in talker.heard.messages if type(m).__name__ == "Audio"]) < 70:
                await talker.next()
            await listener.settle()
            for form in ("--json", "--interval=1"):
                words = ["top", "--once", "--server", server.url, form]
                assert await asyncio.to_thread(main, words) == 0

    raw.run(scenario())
    first, _, table = capsys.readouterr().out.partition("\n")
    told = json.loads(first)
    talks, listens = told["sessions"]
    assert told["server"]["sessions"] == 1 and (talks["role"], listens["room"]) == (
        "convert",
        "küche",
    )
    assert (talks["frames_in"], talks["waits"]) == (80, False) and talks["frames_out"] >= 70
    assert talks["lag_ms"]["p99"] > 0 and talks["in_kbps"] > 0 and talks["address"] == "127.0.0.1"
    assert listens["waits"] is True and listens["lag_ms"] == {}
    lines = [" ".join(line.split()) for line in table.splitlines()]
    (row,) = [line for line in lines if line.startswith(talks["id"])]
    assert " convert - 127.0.0.1 0:0" in row and " 80/7" in row
    assert any("subscribe (waits) küche 127.0.0.1" in line for line in lines)


def test_the_display_ends_without_a_word(server: Server) -> None:
    pytest.importorskip("rich", reason="missing: the extra top")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*FACODEC, "top", "--server", server.url], stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env={**os.environ, "COLUMNS": "140", "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown, told = b"", False
        try:
            with contextlib.suppress(OSError):  # the other end is closed
                while piece := os.read(ours, 65536):
                    shown += piece
                    if b"held back:" in shown and not told:
                        process.send_signal(2)
                        told = True
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            os.close(ours)
    assert b"of 8 sessions" in shown and b"Traceback" not in shown
