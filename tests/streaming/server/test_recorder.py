"""Rooms into files: what is recorded, under which names, and that no disk disturbs a room."""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facodec.config import Latency
from facodec.identity import ModelIdentity
from facodec.link.entropy import FrameCoder
from facodec.reasons import FileError
from facodec.recording import timeline
from facodec.recording.blocks import FramesBlock, VoiceBlock
from facodec.recording.reading import Recording
from streaming.engine.engine import Outcome
from streaming.server import recorder as module
from streaming.server.broadcast import Broadcast
from streaming.server.recorder import Recorder, safe_stem
from streaming.server.rooms import Room, Rooms
from streaming.wire.media import Coded, Frames, Pause, Timbre

BROADCAST = Broadcast(ModelIdentity("live", "0123456789ab"), Latency(200, 200), 6)
VOICE = np.full(256, 0.5, np.float32)


class Mouth:
    owner: tuple[str, str | None] = "192.0.2.1", None
    is_away = False

    def give_up(self) -> None:
        raise AssertionError("nobody is away here")

    def on_replaced(self) -> None:
        raise AssertionError("nobody comes back here")

    def compute_sound(self) -> None:
        raise AssertionError("nobody wants sound")

    def stop_sound(self) -> None:
        pass


def codes(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1024, (6, frames))


def rooms(recorder: Recorder) -> Rooms:
    def make() -> Room:
        return Room(lambda *_: pytest.fail("nobody wants sound"), 160, lambda: 0.0)

    return Rooms(make, 64, 1, recorder.listener)


def recorded(folder: Path) -> list[tuple[str, list[FramesBlock | VoiceBlock]]]:
    found = []
    for path in sorted(folder.iterdir()):
        with Recording(path) as recording:
            items = list(recording.items())
        found.append(
            (path.name, [one for one in items if isinstance(one, FramesBlock | VoiceBlock)])
        )
        assert len(found[-1][1]) == len(items) and recording.ended
    return found


def test_each_broadcast_is_a_file_with_its_voice_and_its_gaps(tmp_path: Path) -> None:
    now = [100.0]
    recorder = Recorder(tmp_path, (), lambda: now[0])
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    assert room.listeners == 0
    parts = [codes(8, seed) for seed in range(60)]
    room.publish(Outcome([Timbre(VOICE, exact=True)]))
    for number, part in enumerate(parts):
        pause = 4.0 if number >= 30 else 0.0
        now[0] = 100.0 + pause + number * 0.1
        room.publish(Outcome([Frames(part)], t=5.0 + pause + number * 0.1))
        if number == 44:
            room.publish(Outcome([Timbre(-VOICE, exact=False)]))
    all_rooms.close("tea", "publisher-left")
    second = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    second.publish(Outcome([Frames(codes(3))]))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    files = sorted(recorded(tmp_path), key=lambda file: -len(file[1]))
    (first_name, first), (second_name, again) = files
    assert first_name.startswith("tea-") and second_name.startswith("tea-")
    voices = [one for one in first if isinstance(one, VoiceBlock)]
    assert [(one.start, one.exact) for one in voices] == [(0, True), (45 * 1_600 + 64_000, False)]
    frames = [one for one in first if isinstance(one, FramesBlock)]
    assert np.array_equal(np.concatenate([f.codes for f in frames], 1), np.concatenate(parts, 1))
    ends = [(one.start, one.end) for one in frames]
    gaps = [b[0] - a[1] for a, b in itertools.pairwise(ends)]
    assert sum(gaps) == 64_000 and max(gaps) == 64_000
    assert [one.start for one in again] == [0]


def test_coded_packets_are_taken_apart_in_the_recorders_thread(tmp_path: Path) -> None:
    threads = []

    class Watched(FrameCoder):
        def decode(self, data: bytes, layers: int, frames: int) -> np.ndarray:
            threads.append(threading.current_thread())
            return super().decode(data, layers, frames)

    recorder, spoken, coder = Recorder(tmp_path, ()), codes(80), Watched(None)
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    room.publish(Outcome([Coded(coder.encode(spoken), 6, 80, coder)], t=1.0))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    ((_, items),) = recorded(tmp_path)
    assert [one.codes.tolist() for one in items if isinstance(one, FramesBlock)] == [
        spoken.tolist()
    ]
    assert len(threads) == 1 and threads[0] is not threading.current_thread()


def test_pauses_are_recorded_as_they_sound(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ())
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    spoken = Frames(codes(80))
    pause = Pause(80, 40, [spoken], 6, None)
    room.publish(Outcome([spoken, Pause(80, 0, [spoken], 6, None), pause], t=1.0))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    ((_, items),) = recorded(tmp_path)
    found = np.concatenate([one.codes for one in items if isinstance(one, FramesBlock)], axis=1)
    assert np.array_equal(found, np.concatenate((spoken.codes, pause.codes), axis=1))


def test_only_rooms_that_match_are_recorded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, ("team-*", "tea"))
    all_rooms = rooms(recorder)
    for name in ("tea", "team-1", "private", "Tea"):
        all_rooms.publish(name, BROADCAST, Mouth(), "r").publish(Outcome([Frames(codes(1))]))
    for name in ("tea", "team-1", "private", "Tea"):
        all_rooms.close(name, "publisher-left")
    assert recorder.close()
    assert sorted(name.rpartition("-")[0].rpartition("-")[0] for name, _ in recorded(tmp_path)) == [
        "tea", "team-1"
    ]  # fmt: skip


def test_names_are_safe_and_tell_rooms_apart() -> None:
    names = ["tea", "../up", "a/b", "a b", ".hidden", "-rf", "名前", "x" * 64, "名" * 64, "a%2Fb",
             "名" * 63 + "前", "nul\0", "con:", "\ud800", "~", ""]  # fmt: skip
    stems = [safe_stem(name) for name in names]
    assert len(set(stems)) == len(stems) and stems[0] == "tea"
    for stem in stems:
        assert set(stem) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-%~"
        )
        assert stem[:1] not in (".", "-") and len(stem) < 130


def test_two_files_of_one_second_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.time, "time", lambda: 1_700_000_000.0)
    recorder = Recorder(tmp_path, ())
    all_rooms = rooms(recorder)
    for _ in range(3):
        all_rooms.publish("tea", BROADCAST, Mouth(), "r").publish(Outcome([Frames(codes(1))]))
        all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    assert [name for name, _ in recorded(tmp_path)] == [
        "tea-20231114-221320-2.fac", "tea-20231114-221320-3.fac", "tea-20231114-221320.fac"
    ]  # fmt: skip


def test_a_full_disk_ends_the_recording_and_not_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, real, left = Recorder(tmp_path, ()), os.write, [2_000]

    def write(number: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        taken = real(number, bytes(data)[: left[0]])
        left[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", write)
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    for number in range(80):
        room.publish(Outcome([Frames(codes(8, number))]))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    monkeypatch.undo()
    (error,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "room tea is not recorded any more" in error and "the disk is full" in error
    (path,) = tmp_path.iterdir()
    with Recording(path) as recording:
        assert [type(item) for item in recording.items()] == [FramesBlock]


def test_a_slow_disk_leaves_a_gap_and_the_room_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, stuck = Recorder(tmp_path, ()), threading.Event()
    recorder._post(lambda: stuck.wait(20) and None)
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    for number in range(75):
        room.publish(Outcome([Frames(codes(80, number))]))
    stuck.set()
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    assert [r.levelname for r in caplog.records if "too slow" in r.getMessage()] == ["WARNING"]
    ((_, items),) = recorded(tmp_path)
    kept = sum(one.codes.shape[1] for one in items if isinstance(one, FramesBlock))
    assert 4_800 <= kept < 6_000


def test_after_a_day_another_file_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "MOST_SAMPLES", 20_000)
    recorder = Recorder(tmp_path, ())
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", BROADCAST, Mouth(), "r")
    room.publish(Outcome([Timbre(VOICE, exact=True)]))
    for number in range(30):
        room.publish(Outcome([Frames(codes(8, number))]))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close()
    lengths = sorted(
        sum(one.codes.shape[1] for one in items if isinstance(one, FramesBlock))
        for _, items in recorded(tmp_path)
    )
    assert lengths == [48, 96, 96]
    assert all(isinstance(items[0], VoiceBlock) for _, items in recorded(tmp_path))


def test_a_broken_track_breaks_no_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path, ())
    all_rooms = rooms(recorder)
    room = all_rooms.publish("tea", replace(BROADCAST, model=ModelIdentity("")), Mouth(), "r")
    os.rmdir(tmp_path)
    room.publish(Outcome([Frames(codes(160))]))
    all_rooms.close("tea", "publisher-left")
    assert recorder.close() and "room tea is not recorded any more" in caplog.text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot write into the folder"):
        Recorder(tmp_path / "file", ())
