"""Another model's codes and voices are refused on every way in, in one sentence with both names."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import soundfile

import facodec
from clients.cli import main
from clients.errors import ServerError
from clients.library.connection import connect
from clients.library.packets import CodesPacket, VoicePacket
from facodec.bundled.model import LiveModel
from facodec.bundled.storage import save_live
from facodec.codec import Codec
from facodec.config import HOP
from facodec.identity import ModelIdentity, ModelMismatch, belonging, model_of
from facodec.profiles import profile_bytes
from facodec.published.checkpoint import save_ns3
from facodec.published.model import Ns3Model
from facodec.recording.whole import FacFile
from streaming.engine.pipeline import ConvertFrames, Decode, Encode, Pipeline
from streaming.wire import protocol
from streaming.wire.media import Sound
from streaming.wire.protocol import Error, Hello, Ready, Voice
from tests.exactness import assert_equal_audio

DATA = Path(__file__).parents[1] / "data"
HELLO, REPLY = DATA / "hello.flac", DATA / "reply.flac"
OTHER = "ns3@0123456789ab"


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, untrained: Codec) -> dict[str, Path]:
    """Folders of other models: the published one, and ours with other weights."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("ns3", "live")}
    save_ns3(Ns3Model(), folders["ns3"])
    assert isinstance(untrained.model, LiveModel)
    save_live(untrained.model, folders["live"])
    return folders


@pytest.fixture(scope="module")
def server(
    server_process: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    voices = tmp_path_factory.mktemp("voices")
    vector = np.full(256, 0.05, np.float32)
    stranger = belonging(vector, ModelIdentity.parse(OTHER))
    (voices / "stranger.voice").write_bytes(profile_bytes(stranger))
    with server_process("--voices", str(voices), "--room-wait", "5") as process:
        yield process.url


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def refusal(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Returns the message of a command that ends with status 1."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("facodec ")]
    assert len(said) == 1, said
    return said[0]


@pytest.mark.parametrize("other", ["ns3", "live"])
def test_a_voice_enrolled_with_one_model_is_refused_by_another(
    other: str,
    others: dict[str, Path],
    server: str,
    live: Codec,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    theirs = str(facodec.load(others[other]).identity)
    out, fac = tmp_path / "out.wav", tmp_path / "a.fac"
    assert main(["voices", "add", "friend", str(REPLY), "--model", str(others[other])]) == 0
    assert main(["encode", str(HELLO), str(fac)]) == 0
    files = ["--fast", "--input", HELLO, "--output", out]
    for words in (
        ["convert", "--voice", "friend", "--server", server, *files],
        ["convert", "--voice", "friend", "--server", server, "--local", *files],
        ["talk", "--voice", "friend", "--server", server, *files],
        ["publish", "hall", "--voice", "friend", "--server", server, *files[:3]],
        ["decode", fac, out, "--voice", "friend"],
    ):
        sentence = refusal(capsys, *words)
        assert theirs in sentence and str(live.identity) in sentence, sentence
        assert "enrol the voice again" in sentence
        assert not out.exists()
    assert main(["voices"]) == 0
    assert theirs in capsys.readouterr().out


def test_one_sentence_and_a_status_from_a_process_of_its_own(
    server: str, others: dict[str, Path], tmp_path: Path
) -> None:
    """As a user meets it."""
    command = [sys.executable, "-m", "clients.cli"]
    add = ["voices", "add", "friend", str(REPLY), "--model", str(others["ns3"])]
    subprocess.run([*command, *add], check=True, capture_output=True, timeout=120)
    convert = ["convert", "--voice", "friend", "--server", server, "--fast", "--input", str(HELLO)]
    done = subprocess.run(
        [*command, *convert, "--output", str(tmp_path / "out.wav")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "ns3@" in done.stderr and "live@" in done.stderr and "model-mismatch" in done.stderr


@pytest.mark.parametrize("other", ["ns3", "live"])
def test_a_file_of_another_model_is_refused(
    other: str,
    others: dict[str, Path],
    live: Codec,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fac, out = tmp_path / "a.fac", tmp_path / "out.wav"
    short = tmp_path / "short.wav"
    soundfile.write(short, soundfile.read(HELLO, stop=48_000)[0], 16_000)
    assert main(["encode", str(short), str(fac), "--model", str(others[other])]) == 0
    theirs = FacFile.read(fac).model
    sentence = refusal(capsys, "decode", fac, out, "--model", "live")
    assert str(theirs) in sentence and str(live.identity) in sentence and "--model" in sentence
    assert not out.exists()
    assert main(["decode", str(fac), str(out), "--model", str(others[other])]) == 0


def test_older_files_are_read_and_what_is_assumed_is_told(
    live: Codec, hello: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fac, out = tmp_path / "a.fac", tmp_path / "out.wav"
    frames = live.encode(hello[:16_000])
    FacFile(frames.codes, frames.timbre, ModelIdentity("live"), 16_000).write(fac)
    assert main(["decode", str(fac), str(out)]) == 0
    assert f"taken to be those of {live.identity}" in capsys.readouterr().err
    header = msgpack.packb(
        {
            "model": "ns3", "layers": 6, "frames": 1, "samples": 200,
            "timbre": np.zeros(256, "<f4").tobytes(),
        }
    )  # fmt: skip
    fac.write_bytes(b"FACODEC\x01" + struct.pack("<I", len(header)) + header + bytes(8))
    sentence = refusal(capsys, "decode", fac, out, "--model", "live")
    assert "made with model ns3, but" in sentence and str(live.identity) in sentence


def test_an_older_voice_works_and_what_is_assumed_is_told(
    server: str, live: Codec, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config / "config" / "facodec" / "voices"
    folder.mkdir(parents=True)
    (folder / "old.voice").write_bytes(live.voices["hazel"].astype("<f4").tobytes())
    (folder / "old.json").write_text(json.dumps({"model": "live", "source": "a.wav"}))
    words = ["convert", "--voice", "old", "--server", server, "--fast", "--input", str(HELLO)]
    assert main([*words, "--output", str(config / "out.wav")]) == 0
    assert "'old' does not say which model named 'live'" in capsys.readouterr().err
    (folder / "old.json").write_text(json.dumps({"model": "ns3"}))
    assert "made with model ns3, but" in refusal(capsys, *words, "--output", config / "b.wav")


def test_a_decoder_trained_on_takes_what_was_made_before(
    live: Codec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files and voices of the bundled weights, by weights with another decoder."""
    weights, fac, out = tmp_path / "on", tmp_path / "a.fac", tmp_path / "out.wav"
    model = facodec.load("live").model
    assert isinstance(model, LiveModel)
    model.head.bias.data += 0.1
    save_live(model, weights)
    assert main(["encode", str(HELLO), str(fac)]) == 0
    assert main(["voices", "add", "friend", str(REPLY)]) == 0
    decode = ["decode", str(fac), str(out), "--model", str(weights)]
    assert main(decode) == 0 and main([*decode, "--voice", "friend"]) == 0
    assert facodec.load(weights).identity == live.identity


@pytest.mark.parametrize(
    "hello",
    [
        Hello("decode", identity=OTHER),
        Hello("loopback", "codes", "codes", identity=OTHER),
        Hello("convert", "pcm", voice=bytes(1024), identity=OTHER),
        Hello("convert", "codes", voice=bytes(1024), identity="live@0123456789ab"),
        Hello("loopback", voice=bytes(1024), identity=OTHER),
        Hello("publish", "codes", room="hall", identity=OTHER),
        Hello("convert", voice="stranger"),
        Hello("loopback", voice="stranger"),
    ],
    ids=str,
)
def test_a_hello_of_another_model_is_refused(
    hello: Hello, server: str, live: Codec, raw: Any
) -> None:
    heard = raw.run(raw.session(server, hello))
    assert heard.error.code == "model-mismatch" and heard.close_code == 1008
    assert str(live.identity) in heard.error.message
    assert (hello.identity or OTHER) in heard.error.message


def test_a_voice_of_another_model_is_refused_in_a_session(
    server: str, live: Codec, raw: Any
) -> None:
    voice = Voice.exact(live.voices["hazel"]).data
    own = Voice(voice, str(live.identity))
    heard = raw.run(raw.session(server, Hello("loopback"), [own, Voice(voice, OTHER)]))
    assert heard.ready.identity == str(live.identity)
    assert heard.error.code == "model-mismatch" and OTHER in heard.error.message


def test_what_fits_or_says_nothing_is_taken(server: str, live: Codec, raw: Any) -> None:
    for identity in (None, "live", str(live.identity)):
        heard = raw.run(raw.session(server, Hello("decode", identity=identity)))
        assert heard.done.reason == "end" and heard.ready.identity == str(live.identity)


def test_rooms_keep_models_apart(server: str, live: Codec, raw: Any) -> None:
    """A listener of another model gets a sentence and not codes; a publisher who comes back with
    another does not end the one that is there."""

    async def run() -> None:
        async with (
            raw.connect(server) as first, raw.connect(server) as second,
            raw.connect(server) as third, raw.connect(server) as fourth,
        ):  # fmt: skip
            early, publisher, late, back = map(raw.client, (first, second, third, fourth))
            listener = Hello("subscribe", output="codes", room="küche", identity=OTHER)
            await early.send(listener)
            await early.settle()
            publish = Hello("publish", "codes", room="küche", identity=str(live.identity))
            await publisher.send(publish)
            ready = await publisher.until(Ready)
            assert ready.resume is not None
            await late.send(listener)
            for client in (early, late):
                error = await client.until(Error)
                assert error.code == "model-mismatch"
                assert OTHER in error.message and str(live.identity) in error.message
            resume = {"resume": ready.resume, "identity": OTHER}
            await back.send(Hello("publish", "codes", room="küche", **resume))
            assert (await back.until(Error)).code == "model-mismatch"
            await publisher.settle()
            await publisher.send(protocol.End())
            assert (await publisher.until(protocol.Done)).reason == "end"

    raw.run(run())


def test_the_library_carries_identities_both_ways(
    server: str, live: Codec, untrained: Codec, hello: np.ndarray
) -> None:
    foreign = untrained.encode(hello[:1_600])

    async def run() -> None:
        async with connect(server, role="encode") as session:
            assert session.identity == live.identity
            await session.send_audio(hello[:8_000])
            await session.finish()
            packets = [p async for p in session]
        codes = [p.codes for p in packets if isinstance(p, CodesPacket)]
        voices = [p.timbre for p in packets if isinstance(p, VoicePacket)]
        assert {model_of(each) for each in (*codes, *voices)} == {live.identity}
        with pytest.raises(ModelMismatch, match=str(untrained.identity)):
            untrained.decode(codes[0], foreign.timbre)
        async with connect(server, role="decode") as session:
            with pytest.raises(ModelMismatch, match=str(untrained.identity)):
                await session.send_codes(foreign.codes)
            with pytest.raises(ModelMismatch, match=str(untrained.identity)):
                await session.send_voice(foreign.timbre)
            await session.send_voice(voices[0])
            await session.send_codes(codes[0])
            await session.finish()
        with pytest.raises(ServerError, match=str(untrained.identity)):
            async with connect(server, role="convert", voice=foreign.timbre):
                pass
        with pytest.raises(ModelMismatch, match=str(untrained.identity)):
            connect(server, role="convert", voice=foreign.timbre, identity=live.identity)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_an_older_server_is_known_by_its_models_name(
    server: str, hello: np.ndarray, live: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ignores what hello says, and whose ready has no identity."""
    decode = protocol.decode_server
    encode = protocol.encode

    def older(message: protocol.Message) -> bytes:
        fields = msgpack.unpackb(encode(message))
        fields.pop("identity", None)
        return bytes(msgpack.packb(fields))

    def forgotten(data: bytes) -> protocol.ServerMessage:
        fields = msgpack.unpackb(data)
        fields.pop("identity", None)
        return decode(msgpack.packb(fields))

    monkeypatch.setattr(protocol, "encode", older)
    monkeypatch.setattr(protocol, "decode_server", forgotten)
    stranger = belonging(live.voices["hazel"], ModelIdentity.parse(OTHER))

    async def run() -> None:
        async with connect(server, role="convert", voice=live.voices["hazel"]) as session:
            assert session.identity == ModelIdentity("live")
        with pytest.raises(ModelMismatch, match=f"{OTHER}, but live is used"):
            async with connect(server, role="convert", voice=stranger):
                pass

    asyncio.run(asyncio.wait_for(run(), 60))


def test_two_models_of_one_name_are_not_served(
    others: dict[str, Path], server_process: Callable[..., Any]
) -> None:
    with (
        pytest.raises(AssertionError, match="models of different names, got live@"),
        server_process("--model", "live", "--model", str(others["live"])),
    ):
        pass


def by_way_of_codes(live: Codec, audio: np.ndarray, voice: np.ndarray, pitch: float) -> np.ndarray:
    """A conversion of audio (n,) whose codes, and estimates of the talker, are made elsewhere."""
    stages = [Encode(live, 6), ConvertFrames(live, voice, pitch), Decode(live, 0)]
    pipeline = Pipeline(stages)
    hops = np.split(audio, range(HOP, len(audio), HOP))
    media = [item for hop in hops for item in pipeline.push(Sound(hop)).media]
    media += pipeline.flush().media
    return np.concatenate([item.samples for item in media if isinstance(item, Sound)])


@pytest.mark.parametrize("extra", [(), ("--local",)])
def test_a_known_pitch_goes_with_the_hello(
    extra: tuple[str, ...], server: str, live: Codec, hello: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    words = ["convert", "--server", server, "--fast", "--input", HELLO, "--output", out]
    words += ["--voice", "hazel", "--talker-pitch", "250", *extra]
    assert main([str(word) for word in words]) == 0
    voice = live.voices["hazel"]
    found = soundfile.read(out, dtype="float32")[0]
    expected = np.clip(live.convert(hello, voice, pitch=250), -1, 1)
    if not extra:
        assert_equal_audio(found, expected)
    else:
        assert_equal_audio(found, np.clip(by_way_of_codes(live, hello, voice, 250.0), -1, 1))
    # Of the talker's voice the server then knows only estimates that have moved by 10 %, so the
    # steps of 10 % of the voice to decode in may fall elsewhere.
    assert np.square(found - expected).mean() < 1e-2 * np.square(expected).mean()
    assert np.square(found - live.convert(hello, voice)).mean() > 0.1 * np.square(expected).mean()


@pytest.mark.parametrize("pitch", ["54", "451", "nan", "high"])
def test_a_pitch_nobody_has_is_a_wrong_command_line(
    pitch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "--voice", "hazel", "--talker-pitch", pitch])
    assert caught.value.code == 2
    assert "whole number from 55 to 450" in capsys.readouterr().err


def test_the_pitch_in_a_hello_is_what_the_conversion_moves_from(
    server: str, live: Codec, hello: np.ndarray, raw: Any
) -> None:
    voice = live.voices["hazel"]
    wish = Hello("convert", voice=Voice.exact(voice).data, pitch=250.0)
    heard = raw.run(raw.session(server, wish, raw.audio(hello[:24_000])))
    assert_equal_audio(heard.samples, live.convert(hello[:24_000], voice, pitch=250.0))


def test_rooms_have_names_of_any_script(server: str, tmp_path: Path) -> None:
    """One room, however its ü was typed, at an address that has one too."""
    command = [sys.executable, "-m", "clients.cli"]
    out = tmp_path / "heard.wav"
    sound = tmp_path / "spoken.wav"
    soundfile.write(sound, soundfile.read(HELLO, stop=24_000)[0], 16_000)
    listen = [*command, "listen", "ku\u0308che", "--server", f"{server}/küche"]
    listen += ["--output", str(out)]
    publish = [*command, "publish", "k\u00fcche", "--server", server, "--input", str(sound)]
    listener = subprocess.Popen(listen, stderr=subprocess.PIPE, text=True)
    try:
        assert listener.stderr is not None
        assert "waiting for a publisher in room" in listener.stderr.readline()
        done = subprocess.run(publish, capture_output=True, text=True, timeout=120)
        said = listener.communicate(timeout=120)[1]
    finally:
        listener.kill()
    assert done.returncode == 0, done.stderr
    assert listener.returncode == 0 and "che" in said, said
    assert soundfile.info(out).frames > 0


@pytest.mark.parametrize("room", ["a/b", "a b", "a\u202eb", "\udcff", "x" * 65])
def test_what_cannot_name_a_room(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", room, "--output", "out.wav"]) == 2
    assert "cannot name a room" in capsys.readouterr().err


def test_no_word_is_no_name_of_a_room(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["listen", "", "--output", "out.wav"])
    assert end.value.code == 2
    assert "argument ROOM: expected a value, got ''" in capsys.readouterr().err
