"""``facodec bench latency``: mouth to ear through real sockets and virtual sound devices."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kit.common import Result, add_common, progress, run_part, whole_number
from benchmarks.kit.present import Cell, Table
from facodec.config import CODE_LAYERS, SAMPLE_RATE

Ledger = dict[str, Any]
EXAMPLES = """\
  facodec bench latency                       network alone, file -> server -> file, then through
                                              virtual devices
  facodec bench latency --runs 5              the median of five
  facodec bench latency --playout 150         with a larger playout margin
The virtual devices need PulseAudio (pulseaudio, pactl, paplay, parec); without it they are left
out.
"""


PINGS = 400
"""Questions asked for the time of the network alone."""
PING_PAUSE = 0.0125
STAGES = ("p50_ms", "p95_ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES, seed=False)
    add = parser.add_argument
    add("--input", type=Path, help="speech to play (default: the sample)")
    add("--model", default="live", help="name or folder (default: live)")
    add("--runs", type=whole_number, help="runs of each part (default 3, 1 if quick)")
    add("--playout", type=whole_number, help="smallest margin of the playout buffer, ms")
    add("--no-devices", action="store_true", help="leave out the virtual devices")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``network_ms``, ``socket`` (ledger) and, with virtual devices, ``devices`` (ledger),
    ``mouth_to_ear_ms`` and ``underruns`` of each run."""
    from benchmarks.kit.processes import running_server
    from benchmarks.kit.virtual_devices import missing_tools
    from clients.offline.voicebook import BUNDLED

    speech, runs = args.input or BUNDLED["slt"], args.runs or (1 if args.quick else 3)
    result["notes"] = []
    with running_server("--model", args.model) as server:
        result["network_ms"] = asyncio.run(network_alone(server.url))
        ledgers: list[Ledger] = []
        for _ in progress(range(runs), "latency: sockets", runs):
            ledgers.append(through_socket(server.url, speech))
            result["socket"] = median_ledger(ledgers)
        missing = missing_tools()
        if missing:
            lacking = ", ".join(missing)
            result["notes"].append(f"virtual devices not measured, for want of {lacking}")
        if missing or args.no_devices:
            return
        runs_done: list[tuple[float, Ledger, int]] = []
        for _ in progress(range(runs), "latency: devices", runs):
            runs_done.append(through_devices(server.url, args.model, speech, args.playout))
            result["mouth_to_ear_ms"] = [round(delay, 1) for delay, _, _ in runs_done]
            result["underruns"] = [count for _, _, count in runs_done]
            result["devices"] = median_ledger([ledger for _, ledger, _ in runs_done])


async def network_alone(url: str) -> dict[str, dict[str, float]]:
    """Round trips in ms that no model takes part in: of the smallest message, a ``clock``, and of a
    frame of codes that the server sends straight back."""
    from benchmarks.kit.statistics import percentiles
    from clients.library.connection import connect

    silence = np.zeros((CODE_LAYERS, 1), dtype=np.int64)
    clocks, echoes = [], []
    async with connect(url, role="loopback", input="codes", output="codes") as session:
        for _ in range(PINGS):
            began = time.perf_counter()
            await session.synchronise()
            clocks.append(time.perf_counter() - began)
            await asyncio.sleep(PING_PAUSE / 2)
            began = time.perf_counter()
            await session.send_codes(silence)
            await anext(aiter(session))
            echoes.append(time.perf_counter() - began)
            await asyncio.sleep(PING_PAUSE / 2)
    return {
        "clock": percentiles(np.array(clocks) * 1e3),
        "one frame of codes, through the engine": percentiles(np.array(echoes) * 1e3),
    }


def through_socket(url: str, speech: Path) -> Ledger:
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
    ledger: Ledger = next(r for r in reports if r["type"] == "summary")["ledger"]
    return ledger


def through_devices(
    url: str, model: str, speech: Path, playout: int | None
) -> tuple[float, Ledger, int]:
    """Delay in ms from a virtual mouth to a virtual ear, found by correlation with what the
    decoder gives offline; the ledger of the same run; and its underruns after the start."""
    import soundfile

    import facodec
    from benchmarks.kit.virtual_devices import (
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


def median_ledger(ledgers: list[Ledger]) -> dict[str, dict[str, float]]:
    """Median over runs of each stage's p50 and p95 in ms."""
    return {
        stage: {
            q: float(np.median([ledger[stage][q] for ledger in ledgers if stage in ledger]))
            for q in ("p50_ms", "p95_ms")
        }
        for stage in ledgers[0]
    }


def tables(result: Result) -> list[Table]:
    made = []
    if result.get("network_ms"):
        made.append(
            Table(
                "network", "Network alone: there and back, both processes on this machine, ms",
                ("what", "p50", "p95", "p99"),
                [[name, *(row[q] for q in ("p50", "p95", "p99"))]
                 for name, row in result["network_ms"].items()],
            )
        )  # fmt: skip
    if result.get("socket"):
        made.append(_ledger_table("socket", "File -> server -> file, paced; ms", result["socket"]))
    if result.get("devices"):
        delays = ", ".join(f"{delay:.0f}" for delay in result["mouth_to_ear_ms"])
        note = f"Mouth to ear by correlation: {delays} ms; underruns {result['underruns']}."
        title = "Microphone -> server -> loudspeaker, virtual devices; ms"
        made.append(_ledger_table("devices", title, result["devices"], note))
    return made


def _ledger_table(name: str, title: str, ledger: Ledger, note: str = "") -> Table:
    rows: list[list[Cell]] = [[s, *(row[q] for q in STAGES)] for s, row in ledger.items()]
    return Table(name, title, ("stage", "p50", "p95"), rows, note)


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
