"""A voice of nobody: through a real server, converted here, in files, and refused as a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.cli import main
from clients.offline.playing import sentence_in
from facodec.codec import Codec
from facodec.config import MIN_LAYERS
from streaming.wire.protocol import Hello, Voice
from tests.exactness import assert_equal_audio

HELLO = Path(__file__).parents[1] / "data" / "hello.flac"
CLIP = 32_000
SEED = 7
NAME = f"anonymous.{SEED}"


@pytest.fixture(scope="module")
def server(server_process: Callable[..., Any]) -> Iterator[str]:
    with server_process() as process:
        yield process.url


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("role", ["convert", "loopback"])
def test_sound_is_converted_into_the_voice_of_the_seed(
    role: Any, server: str, live: Codec, hello: np.ndarray, raw: Any
) -> None:
    heard = raw.run(raw.session(server, Hello(role, voice=NAME), raw.audio(hello[:CLIP])))
    voice = live.anonymous_voice(seed=SEED)
    assert_equal_audio(heard.samples, live.convert(hello[:CLIP], voice, steer=False))


def test_the_voice_is_far_from_a_talker_in_the_hello_and_stays(
    server: str, live: Codec, hello: np.ndarray, reply: np.ndarray, raw: Any
) -> None:
    me = live.voice(reply)
    wish = Hello("encode", voice=NAME, talker=Voice.exact(me).data)
    heard = raw.run(raw.session(server, wish, raw.audio(hello)))
    (told,) = heard.voices
    assert told == Voice.exact(live.anonymous_voice(me, SEED))
    assert heard.ready.layers == len(heard.codes) == MIN_LAYERS


def test_every_session_gets_another_voice(server: str, hello: np.ndarray, raw: Any) -> None:
    wish = Hello("convert", output="codes", voice="anonymous")
    sessions = [raw.run(raw.session(server, wish, raw.audio(hello[:4000]))) for _ in range(2)]
    one, other = (heard.voices[0].vector() for heard in sessions)
    assert float(one[:-1] @ other[:-1]) < 0.95


def test_who_publishes_is_converted(server: str, hello: np.ndarray, raw: Any) -> None:
    wish = Hello("publish", room="masked", voice=NAME)
    heard = raw.run(raw.session(server, wish, raw.audio(hello[:4000])))
    assert heard.ready.layers == MIN_LAYERS and heard.done.frames_in == 20


@pytest.mark.parametrize("command", ["convert", "talk"])
def test_with_local_nothing_of_the_talker_leaves(
    command: str, server: str, live: Codec, hello: np.ndarray, home: Path
) -> None:
    source, out = home / "in.wav", home / "out.wav"
    soundfile.write(source, hello[:CLIP], 16_000, subtype="FLOAT")
    words = [command, "--local", "--server", server, "--fast", "--voice", NAME]
    assert main([*words, "--input", str(source), "--output", str(out)]) == 0
    expected = live.convert(hello[:CLIP], live.anonymous_voice(seed=SEED), steer=False)
    assert_equal_audio(soundfile.read(out, dtype="float32")[0], np.clip(expected, -1, 1))


def test_a_file_of_codes_is_converted(live: Codec, hello: np.ndarray, home: Path) -> None:
    codes, out = home / "in.fac", home / "out.wav"
    assert main(["encode", str(HELLO), str(codes)]) == 0
    assert main(["decode", str(codes), str(out), "--voice", NAME]) == 0
    heard = soundfile.read(out, dtype="float32")[0]
    assert len(heard) == len(hello)
    assert float(live.voice(heard)[:-1] @ live.voice(hello)[:-1]) < 0.8


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["voices", "add", "anonymous", str(HELLO)], "what a fresh voice of nobody is called"),
        (
            f"convert --voice rowan --talker anonymous --input {HELLO} --output never.wav".split(),
            "nobody talks with a voice of nobody",
        ),
    ],
)
def test_where_it_cannot_be_named(
    words: list[str], sentence: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_a_voice_is_played_into_a_file(live: Codec, hello: np.ndarray, home: Path) -> None:
    out = home / "rowan.wav"
    assert main(["voices", "play", "rowan", "--output", str(out)]) == 0
    heard = soundfile.read(out, dtype="float32")[0]
    np.testing.assert_allclose(heard, np.clip(sentence_in("rowan"), -1, 1), atol=1e-6)
    assert_equal_audio(heard, np.clip(live.convert(hello, live.voices["rowan"]), -1, 1))
