"""A talker who is known beforehand: through a real server, and by the commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from clients.cli import main
from clients.errors import ServerError
from clients.library.connection import connect
from clients.offline.voicebook import Profiles
from facodec.bundled.levels import levelled, speech_level
from facodec.bundled.prosody import LEVELS
from facodec.codec import Codec
from facodec.identity import ModelIdentity, ModelMismatch, belonging
from facodec.profiles import profile_bytes
from facodec.streams.conversion import SETTLED
from facodec.streams.talkers import ENOUGH, LOOK_EVERY
from streaming.wire.protocol import Hello, Voice, voice_vector
from tests.exactness import assert_equal_audio

DATA = Path(__file__).parents[1] / "data"
HELLO = DATA / "hello.flac"
OTHER = "ns3@0123456789ab"


@pytest.fixture(scope="module")
def server(
    server_process: Callable[..., Any], live: Codec, reply: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:  # fmt: skip
    voices = tmp_path_factory.mktemp("voices")
    (voices / "me.voice").write_bytes(profile_bytes(live.voice(reply)))
    stranger = belonging(np.full(256, 0.05, np.float32), ModelIdentity.parse(OTHER))
    (voices / "stranger.voice").write_bytes(profile_bytes(stranger))
    with server_process("--voices", str(voices)) as process:
        yield process.url


@pytest.fixture(scope="module")
def me(live: Codec, reply: np.ndarray) -> np.ndarray:
    """A talker far from the one who is heard, so that he shows."""
    return live.voice(reply)


@pytest.fixture(scope="module")
def target(live: Codec) -> np.ndarray:
    return live.voices["hazel"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    return tmp_path


@pytest.mark.parametrize("named", [True, False])
def test_a_conversion_begins_with_the_talker_in_the_hello(
    named: bool, server: str, live: Codec, hello: np.ndarray, me: np.ndarray, target: np.ndarray,
    raw: Any,
) -> None:  # fmt: skip
    talker: bytes | str = "me" if named else Voice.exact(me).data
    wish = Hello("convert", voice=Voice.exact(target).data, talker=talker)
    heard = raw.run(raw.session(server, wish, raw.audio(hello)))
    expected = live.convert(hello, target, talker=me)
    assert_equal_audio(heard.samples, expected)
    plain = live.convert(hello, target)
    assert np.square(expected - plain).mean() > 0.1 * np.square(plain).mean()


def test_a_known_pitch_and_a_known_talker_go_together(
    server: str, live: Codec, hello: np.ndarray, me: np.ndarray, target: np.ndarray, raw: Any
) -> None:
    voice = Voice.exact(target).data
    wish = Hello("convert", voice=voice, talker=Voice.exact(me).data, pitch=200.0)
    heard = raw.run(raw.session(server, wish, raw.audio(hello[:48_000], cut=777)))
    assert_equal_audio(heard.samples, live.convert(hello[:48_000], target, pitch=200.0, talker=me))


def test_an_estimate_begins_with_the_talker_until_enough_is_heard(
    server: str, live: Codec, hello: np.ndarray, me: np.ndarray, raw: Any
) -> None:
    talker = Voice.exact(me).data
    encoded = raw.run(raw.session(server, Hello("encode", talker=talker), raw.audio(hello)))
    first, second, *_ = encoded.voices
    assert first == Voice.estimate(me)
    frames = 0
    before: list[tuple[int, Voice]] = []
    for message in encoded.messages:
        if isinstance(message, Voice):
            before.append((frames, message))
        frames += getattr(message, "n", 0)
    voiced = int((encoded.codes[0, : before[1][0]] >= LEVELS).sum())
    assert SETTLED <= voiced <= SETTLED + 3 * LOOK_EVERY // 200, "then what is heard counts"
    assert float(second.vector()[:-1] @ me[:-1]) < 0.75

    decoder = live.decoder_stream(me)
    parts = []
    for (start, voice), end in zip(before, [*(at for at, _ in before[1:]), frames], strict=True):
        decoder.timbre = voice.vector()
        parts.append(decoder.push(encoded.codes[:, start:end]))
    expected = np.concatenate((*parts, decoder.flush()))
    looped = raw.run(raw.session(server, Hello("loopback", talker=talker), raw.audio(hello, 333)))
    assert_equal_audio(looped.samples, expected[: len(looped.samples)])


@pytest.mark.parametrize("role", ["convert", "loopback", "encode"])
def test_done_tells_who_was_heard(
    role: Any, server: str, live: Codec, hello: np.ndarray, target: np.ndarray, raw: Any
) -> None:
    voice = Voice.exact(target).data if role == "convert" else None
    hello = levelled(hello, speech_level(hello))  # as voices are enrolled
    heard = raw.run(raw.session(server, Hello(role, voice=voice), raw.audio(hello)))
    assert heard.done.talker is not None and heard.done.pitch is not None
    told = voice_vector(heard.done.talker)
    whole = live.voice(hello)
    assert float(told[:-1] @ whole[:-1]) > 0.95
    assert heard.done.pitch == pytest.approx(150 * 2 ** float(told[-1]))
    assert 12 * abs(float(told[-1] - whole[-1])) < 1.0, "semitones"


def test_done_tells_nobody_before_three_seconds_of_voice(
    server: str, live: Codec, hello: np.ndarray, raw: Any
) -> None:
    voiced = np.flatnonzero(live.encode(hello).codes[0] >= LEVELS)
    short = hello[: int(voiced[ENOUGH - 10]) * 200]
    tone = 0.2 * np.sin(np.arange(6 * 16_000) * (2 * np.pi * 200 / 16_000)).astype(np.float32)
    for sound in (short, tone, hello[:0]):
        heard = raw.run(raw.session(server, Hello("encode"), raw.audio(sound)))
        assert (heard.done.talker, heard.done.pitch) == (None, None)


def test_a_talker_of_another_model_is_refused(
    server: str, live: Codec, me: np.ndarray, target: np.ndarray, raw: Any
) -> None:
    wishes = (Hello("loopback", talker="stranger"),
              Hello("loopback", talker=bytes(1024), identity=OTHER))  # fmt: skip
    for wish in wishes:
        heard = raw.run(raw.session(server, wish))
        assert heard.error.code == "model-mismatch" and OTHER in heard.error.message
    heard = raw.run(raw.session(server, Hello("loopback", talker="nobody")))
    assert heard.error.code == "unknown-voice"

    async def use(**options: Any) -> None:
        async with connect(server, role="convert", **options):
            pass

    stranger = belonging(me, ModelIdentity.parse(OTHER))
    with pytest.raises(ServerError, match="model-mismatch"):
        asyncio.run(use(voice="hazel", talker=stranger))
    with pytest.raises(ModelMismatch):
        asyncio.run(use(voice=target, talker=stranger))


def test_the_library_is_told_who_was_heard(server: str, live: Codec, hello: np.ndarray) -> None:
    async def use() -> None:
        async with connect(server, role="loopback") as session:
            assert session.talker is None
            await session.process(hello)
            assert session.talker is not None
            async with connect(server, role="loopback", talker=session.talker) as second:
                assert second.hello.identity == str(live.identity)

    asyncio.run(asyncio.wait_for(use(), 60))


@pytest.mark.parametrize("extra", [(), ("--local",)])
def test_convert_with_a_saved_talker(
    extra: tuple[str, ...], server: str, live: Codec, hello: np.ndarray, me: np.ndarray,
    target: np.ndarray, home: Path,
) -> None:  # fmt: skip
    Profiles().add("myself", me, source="")
    out = home / "out.wav"
    words = ["convert", "--server", server, "--fast", "--input", HELLO, "--output", out]
    words += ["--voice", "hazel", "--talker", "myself", *extra]
    assert main([str(word) for word in words]) == 0
    found = soundfile.read(out, dtype="float32")[0]
    expected = np.clip(live.convert(hello, target, talker=me), -1, 1)
    if not extra:
        assert_equal_audio(found, expected)
    begin = slice(0, 24_000)  # afterwards estimates of the talker's voice travel rounded
    error = np.square(found[begin] - expected[begin]).mean()
    assert error < 1e-3 * np.square(expected[begin]).mean()
    assert not (home / "XDG_STATE_HOME").exists(), "a file is no microphone"


@pytest.mark.parametrize("extra", [(), ("--local",)])
def test_talk_with_a_saved_talker(
    extra: tuple[str, ...], server: str, live: Codec, hello: np.ndarray, me: np.ndarray, home: Path
) -> None:
    Profiles().add("myself", me, source="")
    out = home / "out.wav"
    words = ["talk", "--server", server, "--fast", "--input", HELLO, "--output", out]
    words += ["--talker", "myself", *extra]
    assert main([str(word) for word in words]) == 0
    found = soundfile.read(out, dtype="float32")[0]
    expected = live.decode(live.encode(hello).codes, me.astype(np.float16).astype(np.float32))
    begin = slice(0, 16_000)
    assert_equal_audio(found[begin], np.clip(expected, -1, 1)[begin])


def test_a_talker_whom_only_a_server_knows_cannot_start_an_encoder_here(
    server: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["talk", "--server", server, "--fast", "--input", str(HELLO), "--talker", "me"]
    assert main([*words, "--local", "--output", str(home / "out.wav")]) == 2
    assert "no voice of that name is known here" in capsys.readouterr().err
    assert main([*words, "--output", str(home / "out.wav")]) == 0
