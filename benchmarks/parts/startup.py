"""``facodec bench startup``: time to start, and memory of a server and of each of its sessions."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, add_common, progress, run_part, say, whole_number
from benchmarks.kit.present import Cell, Table

if TYPE_CHECKING:
    from benchmarks.kit.processes import RunningServer, Usage

EXAMPLES = """\
  facodec bench startup                      imports, --help, server ready, memory of 32 sessions
  facodec bench startup --sessions 100       memory told over more of them
"""
STARTS = {
    "import facodec": ("-c", "import facodec"),
    "import facodec, torch too": ("-c", "import facodec; facodec.load"),
    "facodec --help": ("-m", "clients.cli", "--help"),
    "facodec bench --help": ("-m", "clients.cli", "bench", "--help"),
    "python alone": ("-c", "pass"),
}
TALK_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--runs", type=whole_number, help="starts of each program (default 9, 3 if quick)")
    add("--sessions", type=whole_number, help="sessions whose memory is told (default 32, 8 if "
        "quick)")  # fmt: skip
    add("--model", default="live", help="name or folder (default: live)")
    add("--threads", type=whole_number, default=1, help="model threads of the server (default 1)")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``starts_s`` by program, ``memory_mib`` by state of the server, ``state_bytes`` of one
    stream."""
    from benchmarks.kit.statistics import percentiles

    runs = args.runs or (3 if args.quick else 9)
    starts: dict[str, list[float]] = {name: [] for name in [*STARTS, "server ready"]}
    result.update(starts_s={}, memory_mib={}, threads={}, state_bytes={}, notes=[])
    for _ in progress(range(runs), "startup", runs):
        for name, words in STARTS.items():
            starts[name].append(time_program(words))
        starts["server ready"].append(time_server(args.model))
        result["starts_s"] = {name: percentiles(times) for name, times in starts.items()}
    result["state_bytes"] = state_sizes(args.model)
    measure_memory(args, result)


def time_program(words: tuple[str, ...]) -> float:
    """Seconds a Python process took from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def time_server(model: str) -> float:
    """Seconds until a server says where it serves."""
    from benchmarks.kit.processes import running_server

    with running_server("--model", model) as server:
        assert server.ready is not None
        return server.ready


def state_sizes(model: str) -> dict[str, int]:
    """Bytes of state of one stream's encoder and decoder."""
    from benchmarks.kit.subjects import Subject, load_codec
    from facodec.states import state_bytes

    encoder, decoder = Subject(load_codec(model).steps, 1, 1).states
    return {"encoder": state_bytes(encoder), "decoder": state_bytes(decoder)}


def measure_memory(args: argparse.Namespace, result: Result) -> None:
    """Resident memory of one server: with no session, with idle ones, with ones that have talked;
    and what one session makes of it. The first session ever also pays for what all share."""
    from benchmarks.kit.processes import running_server

    count = args.sessions or (8 if args.quick else 32)
    options = ("--model", args.model, "--threads", str(args.threads))
    with running_server(*options, "--max-sessions", str(2 * count)) as server:
        if server.usage() is None:
            result["notes"].append("this system does not tell a process's memory")
            return
        _during(server, 1, "--seconds", "1")  # what the first session sets up is not the second's
        empty = _usage(server)
        idle = _during(server, count, "--seconds", "2", "--idle")
        say(f"startup: {count} sessions talk for {TALK_SECONDS:g} s")
        active = _during(server, count, "--seconds", str(TALK_SECONDS))
        after = _usage(server)
    result["memory_mib"] = {
        "no session": round(empty.memory, 1),
        f"{count} idle sessions": round(idle.memory, 1),
        f"{count} active sessions": round(active.memory, 1),
        "after they have gone": round(after.memory, 1),
        "per idle session": round((idle.memory - empty.memory) / count, 3),
        "per active session": round((active.memory - empty.memory) / count, 3),
    }
    result["threads"] = {
        "model threads": args.threads,
        "server's threads in all": active.threads,
        "cores": os.cpu_count(),
    }


def _during(server: RunningServer, sessions: int, *options: str) -> Usage:
    """The most memory the server used while so many sessions were there."""
    command = [
        sys.executable, "-m", "benchmarks.load.generator", "--url", server.url,
        "--sessions", str(sessions), *options,
    ]  # fmt: skip
    seen = [_usage(server)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            while process.poll() is None:
                time.sleep(0.1)
                seen.append(_usage(server))
        except KeyboardInterrupt:
            process.kill()
            raise
    if process.returncode:
        raise ValueError("the load generator failed, see above")
    return max(seen, key=lambda one: one.memory)


def _usage(server: RunningServer) -> Usage:
    found = server.usage()
    if found is None:
        raise ValueError("the server has gone")
    return found


def tables(result: Result) -> list[Table]:
    made = []
    if result.get("starts_s"):
        rows: list[list[Cell]] = [
            [name, row["p50"], row["p95"], int(row["count"])]
            for name, row in result["starts_s"].items()
        ]
        made.append(Table("starts", "Starting, seconds", ("what", "p50", "p95", "runs"), rows))
    if result.get("memory_mib"):
        made.append(
            Table(
                "memory", "Resident memory of the server, MiB", ("when", "MiB"),
                [[name, value] for name, value in result["memory_mib"].items()],
                "Threads: " + ", ".join(f"{v} {k}" for k, v in result["threads"].items()) + ".",
            )
        )  # fmt: skip
    if result.get("state_bytes"):
        sizes: dict[str, Any] = result["state_bytes"]
        rows = [[name, size] for name, size in {**sizes, "both": sum(sizes.values())}.items()]
        made.append(Table("state", "State of one stream, bytes", ("side", "bytes"), rows))
    return made


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
