"""``facodec bench fuzz``: damaged and malicious inputs through the doors of the program. Each must
be read or refused with a sentence; nothing else, in bounded time and memory."""

from __future__ import annotations

import argparse
import io
import json
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, progress, run_part, seed_number, whole_number
from benchmarks.kit.present import Table

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = """\
  facodec bench fuzz                                every door, 2,000 inputs each
  facodec bench fuzz --door sound --inputs 20000
  facodec bench fuzz --door codes --seed 7 --keep found/
Status 1 where an input was met by anything but a result or a sentence, took longer than the
patience, or where memory grew.
"""
PATIENCE = 20.0
"""Seconds that one input may take."""
GROWTH_MB = 64.0
"""Resident memory that a door may be larger by at its end than after a tenth of its inputs."""
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MOST_CHANGES = 6


@dataclass(frozen=True)
class Door:
    """Reading of one kind of input: examples, by the suffix of their file, and the reader, which
    raises what is ``expected`` for what it refuses."""

    examples: list[tuple[str, bytes]]
    read: Callable[[Path], object]
    expected: tuple[type[Exception], ...]


@dataclass
class Report:
    """Outcome of one door."""

    door: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    growth_mb: float = 0.0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures and self.growth_mb <= GROWTH_MB


class TooSlow(BaseException):
    """An input took longer than the patience."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"examples:\n{EXAMPLES}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--door", action="append", dest="doors", choices=list(DOORS), help="only this; repeatable")
    add("--inputs", type=whole_number, default=2000, help="of each door (default 2000)")
    add("--seed", type=seed_number, default=0, help="of all that is drawn (default 0)")
    add("--keep", type=Path, metavar="DIR", help="keep the inputs that failed there")
    add("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> int:
    failed = False

    def measure(args: argparse.Namespace, result: Result) -> None:
        nonlocal failed
        rows: list[dict[str, Any]] = []
        result["doors"] = rows
        for name in args.doors or DOORS:
            report = fuzz(name, args.inputs, args.seed, args.keep)
            rows.append({**vars(report), "passed": report.passed})
            failed |= not report.passed

    return run_part(args, measure, tables) or int(failed)


def tables(result: Result) -> list[Table]:
    """Tables of each door's outcomes and failures."""
    heads = ["door", "inputs", "read", "refused", "failed", "slowest s", "growth MB", "seconds"]
    rows = [
        [one["door"], one["inputs"], one["taken"], one["refused"], len(one["failures"]),
         f"{one['slowest_s']:.2f}", f"{one['growth_mb']:.1f}", f"{one['seconds']:.0f}"]
        for one in result.get("doors", [])
    ]  # fmt: skip
    for one in result.get("doors", []):
        for failure in one["failures"][:5]:
            print(f"{one['door']}: {failure}", file=sys.stderr)
    return [Table("fuzz", "Inputs through the doors", heads, rows)]


def fuzz(name: str, inputs: int, seed: int, keep: Path | None = None) -> Report:
    """Damaged examples through a door."""
    draw = random.Random(f"{name} {seed}")
    report = Report(name)
    began, early = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        door = DOORS[name](Path(folder))
        for number in progress(range(inputs), name, inputs):
            suffix, data = damaged(door.examples, draw)
            path = Path(folder, f"input{suffix}")
            path.write_bytes(data)
            before = len(report.failures)
            _try(door, path, report)
            if keep is not None and len(report.failures) > before:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{seed}-{number}{suffix}").write_bytes(data)
            if number == inputs // 10:
                early = _resident_mb()
    report.seconds = time.monotonic() - began
    report.growth_mb = max(0.0, _resident_mb() - early)
    return report


def damaged(examples: list[tuple[str, bytes]], draw: random.Random) -> tuple[str, bytes]:
    """One of the examples with a few changes."""
    suffix, whole = draw.choice(examples)
    data = bytearray(whole)
    for _ in range(draw.randint(1, MOST_CHANGES)):
        draw.choice(CHANGES)(data, draw)
    return suffix, bytes(data)


def _flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _flip_early(data: bytearray, draw: random.Random) -> None:
    """Headers are where it hurts."""
    if data:
        data[draw.randrange(min(len(data), 128))] = draw.choice(EXTREMES) & 0xFF


def _extreme(data: bytearray, draw: random.Random) -> None:
    size = draw.choice((1, 2, 4))
    if len(data) >= size:
        at = draw.randrange(min(len(data) - size + 1, draw.choice((64, 1 << 20))))
        value = draw.choice(EXTREMES) & ((1 << 8 * size) - 1)
        data[at : at + size] = value.to_bytes(size, draw.choice(("little", "big")))


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randrange(len(data) + 1) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    del data[at : at + draw.randint(1, 64)]


def _repeat(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = data[at : at + draw.randint(1, 512)]


def _insert(data: bytearray, draw: random.Random) -> None:
    at = draw.randrange(len(data) + 1)
    data[at:at] = draw.randbytes(draw.randint(1, 16))


def _number(data: bytearray, draw: random.Random) -> None:
    """Floats that are none."""
    if len(data) >= 4:
        at = draw.randrange(len(data) - 3)
        value = draw.choice((float("nan"), float("inf"), -float("inf"), 1e38, -1e38))
        data[at : at + 4] = struct.pack("<f", value)


CHANGES = (_flip, _flip_early, _extreme, _cut, _remove, _repeat, _insert, _number)


def _try(door: Door, path: Path, report: Report) -> None:
    report.inputs += 1
    started = time.monotonic()
    try:
        with _patience(PATIENCE):
            door.read(path)
        report.taken += 1
    except door.expected as error:
        report.refused += 1
        if not str(error).strip():
            report.failures.append(f"{type(error).__name__} without a word")
    except TooSlow:
        report.failures.append(f"took more than {PATIENCE:g} s")
    except Exception:
        report.failures.append(traceback.format_exc(limit=-3))
    report.slowest_s = max(report.slowest_s, time.monotonic() - started)


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


# ------------------------------------------------------------------------------------- the doors


def _sound(folder: Path) -> Door:
    import numpy as np
    import soundfile

    from facodec.reasons import FileError
    from facodec.sound.reading import read_audio

    speech = np.sin(np.arange(3000) / 9) * 0.3
    examples = []
    for suffix, rate, subtype in (
        (".wav", 16000, "PCM_16"), (".wav", 44100, "FLOAT"), (".flac", 16000, "PCM_16"),
        (".ogg", 22050, "VORBIS"), (".mp3", 24000, None), (".aiff", 8000, "PCM_16"),
    ):  # fmt: skip
        path = folder / f"example{suffix}"
        soundfile.write(path, np.stack([speech, speech], 1), rate, subtype=subtype)
        examples.append((suffix, path.read_bytes()))
    chain = [(suffix, data * 2) for suffix, data in examples if suffix != ".aiff"]
    return Door(examples + chain + _recorded(speech.astype(np.float32)), read_audio, (FileError,))


def _recorded(speech: np.ndarray) -> list[tuple[str, bytes]]:
    """Recordings as phones and browsers make them, where PyAV is installed."""
    try:
        import av
    except ImportError:
        return []
    examples = []
    for suffix, kind, codec in (
        (".m4a", "mp4", "aac"), (".webm", "webm", "libopus"),
        (".aac", "adts", "aac"),
    ):  # fmt: skip
        file = io.BytesIO()
        with av.open(file, "w", format=kind) as container:
            stream: Any = container.add_stream(codec, rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        examples.append((suffix, file.getvalue()))
    return examples


def _codes(folder: Path) -> Door:
    from benchmarks.attacks.recordings import whole_files
    from facodec.reasons import FileError
    from facodec.recording.whole import FacFile

    return Door(whole_files(folder), FacFile.read, (FileError,))


def _recordings(folder: Path) -> Door:
    from benchmarks.attacks.recordings import read_stream, streams
    from facodec.reasons import FileError

    return Door(streams(folder), read_stream, (FileError,))


def _voices(folder: Path) -> Door:
    import numpy as np
    from safetensors.numpy import save

    from clients.errors import ClientError
    from clients.offline.voicebook import Profiles
    from facodec.identity import ModelIdentity
    from facodec.reasons import FileError
    from facodec.weights.timbres import NOTES, VECTORS, load_voices, voice_notes

    vector = np.full(256, 0.1, np.float32)
    examples = [
        (".voice", vector.tobytes() + b"live@0123456789ab"),
        (".json", json.dumps({"model": "live", "source": "a.wav"}).encode()),
        (".voice", vector.tobytes()),
        (".bundled", save({"a": vector, "b": vector}, {"identity": "live@0123456789ab"})),
        (".notes", json.dumps({"a": {"about": "x"}, "b": {"about": "y"}}).encode()),
    ]

    def read(path: Path) -> object:
        if path.suffix in (".voice", ".json"):
            voice, notes = folder / "input.voice", folder / "input.json"
            for each in (voice, notes):
                if each != path:
                    each.write_bytes(examples[each == notes][1])
            return [profile.timbre() for profile in Profiles(folder).list()]
        bundled = path.suffix == ".bundled"
        path.replace(folder / (VECTORS if bundled else NOTES))
        return load_voices(folder, ModelIdentity("live")) if bundled else voice_notes(folder)

    return Door(examples, read, (FileError, ClientError))


def _weights(folder: Path) -> Door:
    import torch
    from safetensors.torch import save

    from facodec.config import LiveConfig
    from facodec.reasons import FileError
    from facodec.weights.reading import read_config, read_tensors

    tensors = {"a.weight": torch.ones(20, 10), "b": torch.ones(5).half()}
    examples = [(".safetensors", save(tensors)), (".json", b'{"content_width": 64, "bands": 32}')]
    for old in (False, True):
        path = folder / "example.bin"
        torch.save(tensors, path, _use_new_zipfile_serialization=not old)
        examples.append((".bin", path.read_bytes()))

    def read(path: Path) -> object:
        return read_config(path, LiveConfig) if path.suffix == ".json" else read_tensors(path)

    return Door(examples, read, (FileError,))


def _names(_folder: Path) -> Door:
    from clients.errors import ClientError
    from clients.offline.voicebook import check_name, is_file
    from facodec.files import open_input
    from facodec.reasons import FileError, shown

    def read(path: Path) -> object:
        name = path.read_bytes().decode("utf-8", "surrogateescape")
        shown(name).encode("utf-8")
        if is_file(name):
            open_input(Path("/nowhere", name.replace("/", "_"))).close()
        check_name(name)
        return name

    texts = ["anna", "jörg-2", "../up", "a b", "名前", "x" * 64, "\x1b[31m"]
    return Door([("", text.encode()) for text in texts], read, (FileError, ClientError))


def _addresses(_folder: Path) -> Door:
    from clients.errors import ClientError
    from clients.library.addresses import check_address

    def read(path: Path) -> object:
        return check_address(path.read_bytes().decode("utf-8", "surrogateescape"))

    texts = ["ws://127.0.0.1:8765", "wss://host.example:443/path?x=1", "ws://[::1]:9", "ws://a@b:1"]
    return Door([("", text.encode()) for text in texts], read, (ClientError,))


DOORS: dict[str, Callable[[Path], Door]] = {
    "sound": _sound,
    "codes": _codes,
    "recordings": _recordings,
    "voices": _voices,
    "weights": _weights,
    "names": _names,
    "addresses": _addresses,
}
