"""``facodec bench latency``: mouth to ear through real sockets and virtual sound devices."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from facodec.config import SAMPLE_RATE

EXAMPLES = """examples:
  facodec bench latency                       file -> server -> file, then through virtual devices
  facodec bench latency --runs 5              the median of five
  facodec bench latency --playout 150         with a larger playout margin
The virtual devices need PulseAudio (pulseaudio, pactl, paplay, parec); without it the first part
is measured alone.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--input", type=Path, help="speech to play (default: the sample)")
    parser.add_argument("--model", default="live", help="name or folder (default: live)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each part (default 3)")
    parser.add_argument("--playout", type=int, help="smallest margin of the playout buffer, ms")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


@contextmanager
def running_server(model: str) -> Iterator[str]:
    """A server process on a free port; yields its URL."""
    command = [sys.executable, "-m", "clients.cli", "serve", "--port", "0", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            if not line.startswith("serving at "):
                raise ValueError(f"the server did not start: {line or 'it printed nothing'}")
            yield line.split()[2]
        finally:
            process.terminate()
            process.communicate()  # hears it out, so that it does not speak to a closed pipe


def through_socket(url: str, speech: Path) -> dict[str, Any]:
    """Ledger of a file sent at its own pace to a server and back: {stage: {p50_ms, p95_ms}}."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                sys.executable, "-m", "clients.cli", "talk", "--json", "--server", url,
                "--input", str(speech), "--output", str(Path(folder) / "out.wav"),
            ],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    ledger: dict[str, Any] = next(r for r in reports if r["type"] == "summary")["ledger"]
    return ledger


def through_devices(
    url: str, model: str, speech: Path, playout: int | None
) -> tuple[float, dict[str, Any], int]:
    """Delay in ms from a virtual mouth to a virtual ear, found by correlation with what the
    decoder gives offline; the ledger of the same run; and its underruns after the start."""
    import soundfile

    import facodec
    from benchmarks.virtual_devices import (
        WINDOW,
        Pulse,
        Recorder,
        Talk,
        end_all,
        find,
        loud_windows,
    )

    said, _ = soundfile.read(speech, dtype="float32")
    codec = facodec.load(model)
    frames = codec.encode(said)
    expected = codec.decode(frames.codes, frames.timbre)
    with tempfile.TemporaryDirectory() as folder:
        pulse = Pulse(Path(folder) / "pulse")
        try:
            margin = ("--playout", str(playout)) if playout is not None else ()
            talk = Talk(
                pulse, "--server", url, "--voice", str(speech),
                "--device-in", "pulse", "--device-out", "pulse", *margin,
            )  # fmt: skip
            before = talk.wait_settled()
            mouth, ear = Recorder(pulse, "mouth.monitor"), Recorder(pulse, "speaker.monitor")
            play = ["paplay", "--device=mouth", str(speech)]
            subprocess.run(play, env=pulse.env, check=True)
            after = [talk.wait_status() for _ in range(2)][-1]
            spoken, heard = mouth.stop(), ear.stop()
            summary = talk.stop()
        finally:
            pulse.close()
            end_all()
    in_mouth, _ = find(said, spoken)
    delays = [
        ear.began - mouth.began + (find(expected[at : at + WINDOW], heard)[0] - in_mouth - at)
        / SAMPLE_RATE
        for at in loud_windows(said)
    ]  # fmt: skip
    underruns = int(after["underruns"]) - int(before["underruns"])
    return float(np.median(delays)) * 1e3, summary["ledger"], underruns


def median_ledger(ledgers: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median over runs of each stage's p50 and p95 in ms."""
    return {
        stage: {
            q: float(np.median([ledger[stage][q] for ledger in ledgers if stage in ledger]))
            for q in ("p50_ms", "p95_ms")
        }
        for stage in ledgers[0]
    }


def table(ledger: dict[str, dict[str, float]]) -> str:
    lines = ["| stage | p50 ms | p95 ms |", "|---|---|---|"]
    lines += [f"| {s} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} |" for s, row in ledger.items()]
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    from benchmarks.virtual_devices import missing_tools
    from clients.voices import BUNDLED

    speech = args.input or BUNDLED["slt"]
    result: dict[str, Any] = {}
    with running_server(args.model) as url:
        result["socket"] = median_ledger([through_socket(url, speech) for _ in range(args.runs)])
        missing = missing_tools()
        if not missing:
            measured = [
                through_devices(url, args.model, speech, args.playout) for _ in range(args.runs)
            ]
            result["mouth_to_ear_ms"] = [round(delay, 1) for delay, _, _ in measured]
            result["underruns"] = [count for _, _, count in measured]
            result["devices"] = median_ledger([ledger for _, ledger, _ in measured])
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"file -> server -> file, paced, median of {args.runs} runs\n{table(result['socket'])}")
    if missing:
        print(f"\nvirtual devices not measured, for want of {', '.join(missing)}")
        return 0
    print(f"\nmicrophone -> server -> loudspeaker, virtual devices\n{table(result['devices'])}")
    delays = ", ".join(f"{delay:.0f}" for delay in result["mouth_to_ear_ms"])
    print(f"mouth to ear by correlation: {delays} ms; underruns {result['underruns']}")
    return 0
