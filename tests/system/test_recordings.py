"""Recordings through the commands and over real sockets: made by listeners and servers, looked at,
cut to parts, damaged."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clients.audio.endpoints import FileSink
from clients.cli import main
from clients.errors import ClientError
from clients.library.connection import connect
from clients.offline.playback import Part
from clients.session.live_options import LiveOptions
from clients.session.play import play
from clients.session.run import LiveRun
from clients.session.status import Reporter
from facodec.codec import Codec, Frames
from facodec.identity import ModelIdentity
from facodec.recording.blocks import FramesBlock, Header, VoiceBlock
from facodec.recording.reading import Recording
from facodec.recording.writing import RecordingFile
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from tests.exactness import assert_equal_audio
from tests.streaming.wire.test_compact import cosine

HELLO = Path(__file__).parents[1] / "data" / "hello.flac"


@pytest.fixture(scope="module")
def spoken(live: Codec, hello: np.ndarray) -> Frames:
    return live.encode(hello)


@pytest.fixture(scope="module")
def fac(spoken: Frames, live: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.5 s, a gap of 2 s, and 2.5 s again."""
    path = tmp_path_factory.mktemp("fac") / "talk.fac"
    with RecordingFile(path, Header(live.identity, started=1_772_357_400)) as file:
        file.voice(spoken.timbre, exact=True)
        file.push(spoken.codes[:, :200])
        file.push(spoken.codes[:, :200], file.position + 32_000)
    return path


def sound(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def test_what_is_in_a_file(fac: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["info", str(fac), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seconds"], told["frames"], told["gaps"]) == (7.0, 400, 1)
    assert told["layers"] == [6] and told["stretches"] == [[0.0, 2.5], [4.5, 7.0]]
    assert told["ended"] and not told["damaged"] and told["version"] == 3
    data = bytearray(fac.read_bytes())
    data[3_000] ^= 1
    (tmp_path / "bad.fac").write_bytes(data)
    assert main(["info", str(tmp_path / "bad.fac")]) == 1
    shown = capsys.readouterr().out
    assert "started  2026-03-01 09:30:00 UTC" in shown and "ended" in shown
    assert "lost     block 3 is damaged, 0:04.50 to 0:06.50: its content does not fit" in shown
    (tmp_path / "cut.fac").write_bytes(fac.read_bytes()[:3_000])
    assert main(["info", str(tmp_path / "cut.fac")]) == 0
    shown = capsys.readouterr().out
    assert "it is cut short: whole up to 0:04.50" in shown and "without an end" in shown


def test_parts_and_damage_by_command(
    fac: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part, bad = tmp_path / "whole.wav", tmp_path / "part.wav", tmp_path / "bad.fac"
    assert main(["decode", str(fac), str(whole)]) == 0
    assert len(sound(whole)) == 7 * 16_000
    times = ["--from", "0:01.5", "--to", "5.25"]
    for command in (["decode", str(fac), str(part)], ["play", str(fac), "--output", str(part)]):
        assert main([*command, *times]) == 0
        assert_equal_audio(sound(part), sound(whole)[24_000:84_000])
    data = bytearray(fac.read_bytes())
    data[3_000] ^= 1
    bad.write_bytes(data)
    capsys.readouterr()
    assert main(["decode", str(bad), str(part)]) == 1
    assert "block 3 is damaged, 0:04.50 to 0:06.50" in capsys.readouterr().err
    assert not sound(part)[72_000:104_000].any() and len(sound(part)) == len(sound(whole))
    bad.write_bytes(data[:2_900])
    assert main(["decode", str(bad), str(part)]) == 0
    assert "cut short" in capsys.readouterr().err and len(sound(part)) == 40_000
    for words, sentence in (
        (["--from", "30"], "talk.fac ends at 0:07.00: nothing to hear from 0:30.00 on"),
        (["--from", "20", "--to", "10"], "expected --to after --from (0:20.00), got 0:10.00"),
    ):
        assert main(["decode", str(fac), str(tmp_path / "no.wav"), *words]) > 0
        assert sentence in capsys.readouterr().err and not (tmp_path / "no.wav").exists()
    with pytest.raises(SystemExit):
        main(["decode", str(fac), str(part), "--from", "1:2:3:4"])


def test_playing_at_the_pace_of_speech(fac: Path, tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "out.wav")
    part = Part(16_000, 22_400)
    assert not play(fac, part, sink, voice=None, model=None)
    assert main(["decode", str(fac), str(tmp_path / "whole.wav"), "--to", "1.4"]) == 0
    assert_equal_audio(sound(tmp_path / "out.wav"), sound(tmp_path / "whole.wav")[16_000:])
    with pytest.raises(ClientError, match="nothing to hear"):
        sink = FileSink(tmp_path / "none.wav")
        play(fac, Part(16_000 * 60), sink, voice=None, model=None)


def test_rooms_are_recorded_by_listeners_and_by_the_server(
    live: Codec, spoken: Frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder, said = tmp_path / "talk.fac", tmp_path / "rooms", io.StringIO()
    settings = ServerSettings(port=0, max_sessions=4, record=str(folder))

    async def publish(server: Server, codes: np.ndarray, listener: LiveRun | None) -> None:
        role = {"role": "publish", "room": "tea", "input": "codes", "identity": live.identity}
        async with connect(server.url, **role) as session:  # type: ignore[arg-type]
            await session.send_voice(spoken.timbre)
            await session.send_codes(codes)
            await session.synchronise()
            if listener is not None:
                while listener.progress.samples_out < codes.shape[1] * 200:
                    await asyncio.sleep(0.001)
                listener.stop()
            await session.finish()

    async def listen(server: Server, codes: np.ndarray, *, append: bool, stop: bool) -> None:
        options = LiveOptions(
            url=server.url, role="subscribe", room="tea", output=path, append=append
        )
        run = LiveRun(options, Reporter(errors=said, out=io.StringIO()), None)
        listening = asyncio.create_task(run.run())
        metrics = server.runtime.metrics
        before = metrics.sessions["subscribe"]
        while metrics.sessions["subscribe"] == before and not listening.done():
            await asyncio.sleep(0.001)
        await publish(server, codes, run if stop else None)
        await listening

    async def scenario() -> None:
        async with Server(settings, {"live": live}) as server:
            await listen(server, spoken.codes[:, :100], append=False, stop=False)
            await listen(server, spoken.codes[:, 100:300], append=True, stop=True)

    asyncio.run(scenario())
    with Recording(path) as recording:
        items = list(recording.items())
        assert recording.ended and recording.header.model == live.identity
    found = np.concatenate([one.codes for one in items if isinstance(one, FramesBlock)], axis=1)
    assert np.array_equal(found, spoken.codes[:, :300])
    # Voices travel in 124 bytes.
    voices = [one.timbre for one in items if isinstance(one, VoiceBlock)]
    assert voices and all(cosine(voice, spoken.timbre) > 0.98 for voice in voices)
    recorded = []
    for each in folder.iterdir():
        with Recording(each) as recording:
            parts = [one.codes for one in recording.items() if isinstance(one, FramesBlock)]
            assert recording.ended and recording.header.started
        recorded.append(np.concatenate(parts, axis=1))
    recorded.sort(key=lambda codes: codes.shape[1])
    assert np.array_equal(recorded[0], spoken.codes[:, :100])
    assert np.array_equal(recorded[1], spoken.codes[:, 100:300])
    assert "talk.fac" in said.getvalue()


def test_appending_needs_a_recording_of_the_same_model(
    tmp_path: Path, live: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "tea", "--append", "--output", str(tmp_path / "a.wav")]) == 2
    assert "--append needs --output FILE.fac" in capsys.readouterr().err
    bad = tmp_path / "bad.fac"
    with RecordingFile(bad, Header(live.identity)) as file:
        file.push(np.zeros((6, 400), np.int64))
    bad.write_bytes(data := bad.read_bytes().replace(b"FBLK", b"FBLX", 1))
    nowhere = ["--server", "ws://127.0.0.1:1"]
    assert main(["listen", "tea", "--append", "--output", str(bad), *nowhere]) == 1
    assert "bad.fac is damaged, so nothing is appended" in capsys.readouterr().err
    assert bad.read_bytes() == data
    with RecordingFile(tmp_path / "a.fac", Header(ModelIdentity("ns3", "f" * 12))) as file:
        file.push(np.zeros((6, 1), np.int64))
    with pytest.raises(ValueError, match="cannot be appended"):
        RecordingFile(tmp_path / "a.fac", Header(live.identity), append=True)
