"""Recordings written and read: whole, cut, damaged, appended to, through pipes, of older
versions."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facodec.bitstream import pack
from facodec.identity import ModelIdentity, model_of
from facodec.reasons import FileError
from facodec.recording import blocks
from facodec.recording.blocks import FramesBlock, Header, VoiceBlock
from facodec.recording.reading import Recording, survey
from facodec.recording.scan import Lost, clock
from facodec.recording.summary import summarise
from facodec.recording.whole import FacFile
from facodec.recording.writing import BlockWriter, RecordingFile

LIVE = ModelIdentity("live", "0123456789ab")
HEADER = Header(LIVE)
VOICE = np.linspace(-1, 1, 256).astype(np.float32)


def codes(frames: int, layers: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1024, (layers, frames))


def write(path: Path, *parts: tuple[int, int]) -> bytes:
    """Frames by (start, count), one stretch after the other."""
    with RecordingFile(path, HEADER) as file:
        file.voice(VOICE, exact=False)
        for start, count in parts:
            file.push(codes(count, seed=start), start)
    return path.read_bytes()


def read(path: Path, start: int = 0) -> tuple[list[Any], Recording]:
    with Recording(path) as recording:
        return list(recording.items(start)), recording


def frames(items: list[Any]) -> list[tuple[int, bytes]]:
    return [(one.start, one.codes.tobytes()) for one in items if isinstance(one, FramesBlock)]


def lost(items: list[Any]) -> list[Lost]:
    return [one for one in items if isinstance(one, Lost)]


@settings(max_examples=30, deadline=None)
@given(
    layers=st.integers(3, 6),
    sizes=st.lists(st.integers(0, 350), max_size=5),
    gaps=st.lists(st.integers(0, 1000), min_size=5, max_size=5),
)
def test_round_trip(
    layers: int, sizes: list[int], gaps: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("round") / "a.fac"
    whole = np.zeros((layers, 0), np.int64)
    places: list[int] = []
    with RecordingFile(path, Header(LIVE, started=1_700_000_000)) as file:
        file.voice(VOICE, exact=True)
        for seed, (size, gap) in enumerate(zip(sizes, gaps, strict=False)):
            part = codes(size, layers, seed)
            start = file.position + gap * (size > 0)
            file.push(part, start)
            places += [start + 200 * at for at in range(size)]
            whole = np.concatenate([whole, part], axis=1)
    items, recording = read(path)
    assert recording.header == Header(LIVE, 1_700_000_000) and recording.ended
    voice, *rest = items
    assert isinstance(voice, VoiceBlock) and voice.exact and np.array_equal(voice.timbre, VOICE)
    found = [np.zeros((layers, 0), np.int64), *(one.codes for one in rest)]
    assert np.array_equal(np.concatenate(found, axis=1), whole)
    assert [one.start + 200 * at for one in rest for at in range(one.codes.shape[1])] == places
    assert recording.samples == (places[-1] + 200 if places else 0)


def test_a_whole_file_at_once(tmp_path: Path) -> None:
    path, wanted = tmp_path / "a.fac", codes(20_001, 5)
    size = FacFile(wanted, VOICE, LIVE, 4_000_100).write(path)
    again = FacFile.read(path)
    assert np.array_equal(again.codes, wanted) and np.array_equal(again.timbre, VOICE)
    assert (again.model, again.samples, path.stat().st_size) == (LIVE, 4_000_100, size)
    assert model_of(again.codes) == model_of(again.timbre) == LIVE
    whole = path.read_bytes()
    for data, sentence in (
        (whole[:-1], "cut short"),
        (whole[: -blocks.HEAD - blocks.CHECKSUM], "it has no end"),
        (whole[:3_000] + b"x" + whole[3_001:], "block 2 is damaged, 0:02.00 to 0:04.00"),
        (b"RIFF" + whole, r"not a \.fac file"),
        (b"", r"not a \.fac file: it is empty"),
    ):
        path.write_bytes(data)
        with pytest.raises(FileError, match=sentence):
            FacFile.read(str(path))
    write(path, (0, 3), (700, 3))
    with pytest.raises(FileError, match="has gaps"):
        FacFile.read(path)


def test_estimated_voices_are_kept_in_half_precision(tmp_path: Path) -> None:
    with RecordingFile(tmp_path / "a.fac", HEADER) as file:
        file.push(codes(3))
        file.voice(VOICE, exact=False)
        file.push(codes(2))
    first, voice, second = read(tmp_path / "a.fac")[0]
    assert (first.start, voice.start, second.start) == (0, 600, 600) and not voice.exact
    assert np.array_equal(voice.timbre, VOICE.astype(np.float16).astype(np.float32))


def test_a_file_cut_anywhere_opens_to_its_last_whole_block(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.fac", (0, 4), (2_000, 3), (2_600, 5), (9_000, 1))
    items, _ = read(tmp_path / "a.fac")
    assert [one.start for one in items if isinstance(one, FramesBlock)] == [0, 2_000, 9_000]
    ends, at = [], len(HEADER.to_bytes())
    while at < len(whole):
        at += blocks.Head.parse(whole[at : at + blocks.HEAD]).total
        ends.append(at)
    for cut in range(len(whole)):
        (tmp_path / "b.fac").write_bytes(whole[:cut])
        if cut < len(HEADER.to_bytes()):
            with pytest.raises(FileError, match=r"b\.fac is (damaged or cut short|not a \.fac)"):
                read(tmp_path / "b.fac")
            continue
        found, recording = read(tmp_path / "b.fac")
        kept = sum(end <= cut for end in ends)
        assert frames(found) == frames(items[:kept]) and not recording.ended
        missing = cut - max([end for end in ends if end <= cut], default=len(HEADER.to_bytes()))
        assert [(one.cut, one.size) for one in lost(found)] == [(True, missing)] * (missing > 0)
        if missing:
            assert f"cut short: whole up to {clock(lost(found)[0].start)}" in str(lost(found)[0])
            assert f"({missing} bytes" in str(lost(found)[0])


def test_any_flipped_bit_is_noticed_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    whole = write(path, (0, 4), (2_000, 3), (9_000, 2))
    items, _ = read(path)
    header, number = len(HEADER.to_bytes()), -1
    starts = [0, 0, 2_000, 9_000, 9_400]
    block_end = header
    for at in range(len(whole)):
        if at == block_end:
            number += 1
            block_end += blocks.Head.parse(whole[at : at + blocks.HEAD]).total
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        if at < header:
            with pytest.raises(FileError, match=r"a\.fac is (damaged|not a \.fac file)"):
                read(path)
            continue
        found, recording = read(path)
        (one,) = lost(found)
        assert one.first == one.last == number and starts[number] >= one.start
        assert f"block {number} is damaged, {clock(one.start)} to" in str(one)
        assert one.end == (starts[number + 1] if number < 4 else None)
        kept = [each for index, each in enumerate(items) if index != number]
        assert frames(found) == frames(kept) and recording.ended == (number < 4)


@pytest.mark.parametrize(
    ("change", "sentence", "kept"),
    [
        (lambda one, two, three: one + three, "block 1 is damaged, 0:02.00 to 0:04.00", 2),
        (lambda one, two, three: one + two + two + three, "bytes before block 2", 3),
        (lambda one, two, three: one + b"junk" * 9 + two + three, "36 bytes before block 1", 3),
        (lambda one, two, three: one + two[:99] + three, "block 1 is damaged", 2),
        (lambda one, two, three: one + three + two, "block 1 is damaged", 2),
    ],
)
def test_blocks_missing_twice_or_strange(
    change: Any, sentence: str, kept: int, tmp_path: Path
) -> None:
    made: list[bytes] = []
    writer = BlockWriter(made.append, HEADER)
    writer.push(codes(480))
    header, *three = made
    (tmp_path / "a.fac").write_bytes(header + change(*three))
    found, _ = read(tmp_path / "a.fac")
    assert len(frames(found)) == kept and sentence in str(lost(found)[0])


def test_bytes_after_the_end_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    path.write_bytes(write(path, (0, 4)) * 2)
    found, recording = read(path)
    assert len(frames(found)) == 1 and recording.samples == 800
    assert "after the end" in str(lost(found)[0]) and summarise(Recording(path)).damaged


def test_appending_goes_on_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    before = write(path, (0, 5))
    path.chmod(0o640)
    with RecordingFile(path, HEADER, append=True) as file:
        assert (file.position, file.remark) == (1_000, "")
        file.voice(-VOICE, exact=True)
        file.push(codes(2, seed=9))
    found, recording = read(path)
    assert [one.start for one in found] == [0, 0, 1_000, 1_000] and not lost(found)
    assert recording.ended and recording.samples == 1_400 and path.stat().st_mode & 0o777 == 0o640
    assert path.read_bytes().startswith(before[: -blocks.HEAD - blocks.CHECKSUM])


def test_appending_cuts_off_what_is_not_whole_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    path.write_bytes(write(path, (0, 5), (1_000, 160), (33_000, 9))[:-60])
    with RecordingFile(path, HEADER, append=True) as file:
        assert "cut short: whole up to 0:02.00" in file.remark
        file.push(codes(2, seed=9))
    found, recording = read(path)
    assert recording.ended and not lost(found) and recording.samples == 32_400


def test_nothing_is_appended_to_another_models_or_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    whole = write(path, (0, 500))
    with pytest.raises(FileError, match=r"holds codes of model live@0123.*those of ns3@f{12}"):
        RecordingFile(path, Header(ModelIdentity("ns3", "f" * 12)), append=True)
    changed = bytearray(whole)
    changed[-2_000] ^= 1
    path.write_bytes(changed)
    with pytest.raises(FileError, match=r"nothing is appended: block [12] is damaged"):
        RecordingFile(path, HEADER, append=True)
    assert path.read_bytes() == changed


def test_an_older_file_stays_until_there_is_a_block_to_replace_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    path.write_bytes(b"older")
    with RecordingFile(path, HEADER) as file:
        file.push(codes(159))
        assert path.read_bytes() == b"older"
        file.push(codes(1))
        found, recording = read(path)
        assert len(frames(found)) == 1 and not recording.ended
        with pytest.raises(FileError, match="is being written by another program"):
            RecordingFile(path, HEADER, append=True)
    assert read(path)[1].ended and os.listdir(tmp_path) == ["a.fac"]
    RecordingFile(tmp_path / "b.fac", HEADER).close()
    assert os.listdir(tmp_path) == ["a.fac"]


def test_a_full_disk_leaves_whole_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real, room = tmp_path / "a.fac", os.write, [3_000]

    def write_some(number: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "no space")
        taken = real(number, bytes(data)[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(os, "write", write_some)
    with RecordingFile(path, HEADER) as file, pytest.raises(FileError, match="the disk is full"):
        file.push(codes(1_000))
    room[0] = 10_000
    with pytest.raises(FileError, match="the disk is full"):
        file.push(codes(1))
    found, recording = read(path)
    assert len(frames(found)) == 2 and not lost(found) and not recording.ended
    room[0] = 50
    other = RecordingFile(tmp_path / "b.fac", HEADER)
    with pytest.raises(FileError, match="the disk is full"):
        other.push(codes(1_000))
    other.close()
    assert os.listdir(tmp_path) == ["a.fac"]


def test_through_a_pipe_both_ways(tmp_path: Path) -> None:
    """Blocks that have been written can be read before more come."""
    path = tmp_path / "pipe.fac"
    os.mkfifo(path)
    seen, ended = threading.Event(), []

    def reader() -> None:
        with Recording(path) as recording:
            for item in recording.items():
                if isinstance(item, FramesBlock):
                    seen.set()
            ended.append(recording.samples)

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    with RecordingFile(path, HEADER) as file:
        file.push(codes(160))
        assert seen.wait(20)
        file.push(codes(10))
    thread.join(20)
    assert ended == [34_000] and path.is_fifo()
    assert survey(path, 100).end == 0


def test_a_part_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    whole = write(path, *((at * 20_000_000, 8_000) for at in range(8)))
    with Recording(path) as recording:
        first = next(item for item in recording.items(60_100_000) if isinstance(item, FramesBlock))
        assert first.start == 60_096_000 and recording.bytes_read < len(whole) / 20
    assert survey(path, 60_100_000).stretch == 60_000_000
    assert survey(path, 62_000_000).stretch == 80_000_000
    assert survey(path).end == 141_600_000


def test_memory_is_bounded_for_an_hour(tmp_path: Path) -> None:
    import tracemalloc

    path, part = tmp_path / "a.fac", codes(8_000)
    with RecordingFile(path, HEADER) as file:
        file.voice(VOICE, exact=True)
        tracemalloc.start()
        for _ in range(36):
            file.push(part)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
    found = summarise(Recording(path))
    peak = max(peak, tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert found.samples == 3_600 * 16_000 and peak < 4e6


def saved(path: Path, version: int = 1, **changes: object) -> None:
    """A file of an older version, with other fields in its header."""
    header = {
        "model": "live", "layers": 6, "frames": 8, "samples": 1_600,
        "timbre": np.zeros(256, "<f4").tobytes(), **changes,
    }  # fmt: skip
    packed = msgpack.packb({name: value for name, value in header.items() if value is not None})
    data = b"FACODEC" + bytes([version]) + struct.pack("<I", len(packed)) + packed
    data += pack(np.arange(48).reshape(6, 8))
    path.write_bytes(data + (blocks.checksum(data) if version == 2 else b""))


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_older_versions_are_read(version: int, tmp_path: Path) -> None:
    path = tmp_path / "a.fac"
    saved(path, version, identity="live@0123456789ab")
    again = FacFile.read(path)
    assert np.array_equal(again.codes, np.arange(48).reshape(6, 8)) and again.samples == 1_600
    assert again.model == LIVE and summarise(Recording(path)).version == version
    with pytest.raises(FileError, match=f"of version {version}, which cannot be appended to"):
        RecordingFile(path, HEADER, append=True)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 9):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileError, match=r"a\.fac is (damaged or cut short|not a \.fac file)"):
            FacFile.read(path)
    if version == 2:
        for at in range(0, len(whole), 9):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(FileError, match=r"a\.fac is (damaged|not a \.fac file)"):
                FacFile.read(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"timbre": np.full(256, np.nan, "<f4").tobytes()}, "finite numbers"),
        ({"timbre": np.full(256, np.inf, "<f4").tobytes()}, "finite numbers"),
        ({"timbre": "x" * 1024}, "timbre as bytes"),
        ({"timbre": b"short"}, "256 floats, got 5 bytes"),
        ({"samples": float("inf")}, "expected 1 to 1600 samples, got inf"),
        ({"samples": 1_601}, "got 1601"),
        ({"samples": -1}, "got -1"),
        ({"frames": 1 << 40}, "frames, got"),
        ({"layers": 2}, "expected 3 to 6 layers"),
        ({"layers": True}, "got True"),
        ({"model": b"live"}, "name of a model"),
        ({"model": None}, "no 'model'"),
        ({"identity": "ns3@0123456789ab"}, "identity of model 'live', got ns3@0123456789ab"),
        ({"identity": "live@0123"}, "model like live@"),
        ({"identity": 3}, "model like live@"),
    ],
)
def test_headers_that_cannot_be(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    saved(tmp_path / "a.fac", **changes)
    with pytest.raises(FileError, match=rf"a\.fac is damaged.*{sentence}"):
        FacFile.read(tmp_path / "a.fac")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rate": 8_000}, "expected rate 16000, got 8000"),
        ({"bits": None}, "expected bits 10, got None"),
        ({"model": "", "identity": None}, "name of a model"),
        ({"started": -1}, "seconds, got -1"),
    ],
)
def test_headers_of_the_third_version(
    fields: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    known = {"model": "live", "rate": 16_000, "hop": 200, "bits": 10, **fields}
    packed = msgpack.packb({name: value for name, value in known.items() if value is not None})
    data = blocks.MAGIC + struct.pack("<I", len(packed)) + packed
    (tmp_path / "a.fac").write_bytes(data + blocks.checksum(data))
    with pytest.raises(FileError, match=rf"a\.fac is damaged.*{sentence}"):
        Recording(tmp_path / "a.fac")


def test_blocks_of_a_later_version(tmp_path: Path) -> None:
    """Blocks with a small letter are passed over, others are not understood."""
    for kind, losses in ((b"n", 0), (b"N", 1)):
        made: list[bytes] = []
        writer = BlockWriter(made.append, HEADER)
        writer.push(codes(160))
        made.append(blocks.Head(1, kind, 7, 0, 3, 32_000).block(b"abc"))
        made.append(blocks.end_block(2, 32_000))
        (tmp_path / "a.fac").write_bytes(b"".join(made))
        found, recording = read(tmp_path / "a.fac")
        assert len(lost(found)) == losses and recording.ended


def test_what_cannot_be_pushed() -> None:
    writer = BlockWriter(lambda _: None, HEADER)
    writer.push(codes(2), 100)
    for start in (400, 86_400 * 16_000):
        with pytest.raises(ValueError, match="expected a start from 500 on within a day"):
            writer.push(codes(2), start)
    with pytest.raises(ValueError, match="finite"):
        writer.voice(np.full(256, np.nan, np.float32), exact=True)
    with pytest.raises(ValueError, match="finite"):
        writer.voice(np.full(256, 9e9, np.float32), exact=False)


def test_ctrl_c_within_a_write_leaves_whole_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "a.fac", os.write
    with RecordingFile(path, HEADER) as file:
        file.push(codes(160))

        def broken(number: int, data: Any) -> int:
            real(number, bytes(data)[:50])
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "write", broken)
        with pytest.raises(KeyboardInterrupt):
            file.push(codes(160))
        monkeypatch.undo()
    found, _ = read(path)
    assert len(frames(found)) == 1 and not lost(found)


def test_locks_are_not_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(tmp_path / "a.fac", (0, 1))
    assert read(tmp_path / "a.fac")[1].ended
