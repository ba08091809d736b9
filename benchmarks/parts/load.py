"""``facodec bench load``: how many live sessions a server holds.

Sessions are real: PCM up through a socket, encoded to codes, decoded, PCM down, from a load
generator in a process of its own. Their number grows until the deadline breaks. Or there are pairs
that only codes pass between, as where pages compute: one publishes, the other one listens.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import (
    Result,
    add_common,
    duration,
    run_part,
    say,
    whole_number,
)
from benchmarks.kit.present import Chart, Table
from benchmarks.kit.statistics import HOP_MS

if TYPE_CHECKING:
    from benchmarks.kit.processes import RunningServer

EXAMPLES = """\
  facodec bench load                             more and more sessions until the deadline breaks
  facodec bench load --sessions 32 --seconds 60  just so many, for a minute
  facodec bench load --frames-per-packet 4       fewer, larger packets
  facodec bench load --codes                     pairs, talker and listener, who compute themselves
  facodec bench load --server ws://host:8765     a server that runs already, perhaps elsewhere
The server is started here with --threads and --device; the load generator shares its machine.
A server that wants a token gets that of $FACODEC_TOKEN; $FACODEC_CA holds for wss://.
"""
"""The deadline: a server that is slower than this at the 99th percentile falls behind."""
ATTEMPTS = 2
FIRST_LEVEL, MOST_LEVEL = 1, 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--sessions", type=whole_number, help="this many, no ramp")
    add("--seconds", type=duration, help="that each number of sessions talks (default 10, 60 with "
        "--sessions, 3 if quick)")  # fmt: skip
    add("--start", type=whole_number, default=FIRST_LEVEL, help="first of the ramp (default 1)")
    add("--codes", action="store_true", help="pairs of publisher and listener in rooms, codes both "
        "ways, instead of sessions of sound; for a server on this machine")  # fmt: skip
    add("--most", type=whole_number, default=MOST_LEVEL, help="last of the ramp (default 512)")
    add("--model", default="live", help="name or folder (default: live)")
    add("--backend", help="as facodec serve takes it")
    add("--threads", type=whole_number, default=1, help="model threads of the server (default 1)")
    add("--device", default="cpu", help="where the server computes (default cpu)")
    add("--frames-per-packet", type=whole_number, default=1, help="1 to 8 (default 1)")
    add("--generators", type=whole_number, default=1, help="processes that make the load")
    add("--server", metavar="URL", help="measure this server instead of one of our own")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``levels``, each with what :func:`measure_level` gives, and ``holds``: most sessions
    that kept the deadline."""
    from benchmarks.kit.processes import RunningServer, running_server

    if args.frames_per_packet > 8:
        raise ValueError(f"frames a packet: expected 1 to 8, got {args.frames_per_packet}")
    levels: list[dict[str, Any]] = []
    result.update(
        what={
            "role": "loopback", "pcm": "s16", "model": args.model, "threads": args.threads,
            "codes": args.codes,
            "device": args.device, "frames_per_packet": args.frames_per_packet,
            "own_server": args.server is None,
        },
        levels=levels, holds=0, breaks=None, notes=[],
    )  # fmt: skip
    server: AbstractContextManager[RunningServer]
    if args.server:
        server = nullcontext(RunningServer(args.server))
    else:
        server = running_server(*server_options(args))
    seconds = args.seconds or (3.0 if args.quick else 60.0 if args.sessions else 10.0)
    with server as running:
        level: int | None = args.sessions or args.start
        while level is not None:
            levels.append(attempt(running, level, seconds, args))
            result["holds"], result["breaks"] = edge(levels)
            level = None if args.sessions else next_level(levels, args.most, args.quick)


def attempt(
    server: RunningServer, sessions: int, seconds: float, args: argparse.Namespace
) -> dict[str, Any]:
    """A level that was held, or the second try at one that was not: on a machine that does other
    things too, one bad second proves little. ``attempts`` tells."""
    tries = 1 if args.sessions else ATTEMPTS
    for number in range(1, tries + 1):
        say(f"load: {sessions} {'pairs' if args.codes else 'sessions'} for {seconds:g} s")
        level = {**measure_level(server, sessions, seconds, args), "attempts": number}
        say(f"load: {brief(level)}")
        if not level["broke"]:
            break
    return level


def server_options(args: argparse.Namespace) -> list[str]:
    """The options of ``facodec serve`` that this load is measured with."""
    most = str(max(args.most, args.sessions or 0) + 1)
    chosen = ["--model", args.model, "--threads", str(args.threads), "--device", args.device]
    backend = ["--backend", args.backend] if args.backend else []
    limits = ["--max-sessions", most]
    if args.codes:
        limits = ["--max-rooms", most, "--max-listeners", most]
    return [*chosen, *backend, *limits]


def measure_level(
    server: RunningServer, sessions: int, seconds: float, args: argparse.Namespace
) -> dict[str, Any]:
    """Lets so many sessions talk for so long. Times in ms: ``server_ms`` by the server's stamps,
    ``turnaround_ms`` from when a packet was due until the answer was here, ``delivery_ms`` of pairs
    from when it was sent until the listener had it, ``late_ms`` how late the generator sent.
    ``*_cores``: CPU seconds a second of talking, of the server and of the generator, and of all
    other programs of this machine. ``broke``: why the deadline counts as missed, empty if it was
    kept."""
    from benchmarks.kit.processes import busy

    before, busy_before, began = server.usage(), busy(), time.monotonic()
    tallies, spent = generate(
        server.url, sessions, seconds, args.generators, "--seed", str(args.seed),
        "--frames-per-packet", str(args.frames_per_packet), "--settle", str(min(1.0, seconds / 3)),
        *(["--pairs"] if args.codes else []),
    )  # fmt: skip
    after, busy_after, took = server.usage(), busy(), time.monotonic() - began
    level = {"sessions": sessions, "seconds": seconds, **combine(tallies)}
    level["generator_cores"] = round(sum(tally["cpu"] for tally in tallies) / seconds, 3)
    if before is not None and after is not None:
        served = after.cpu - before.cpu
        level["server_cores"] = round(served / seconds, 3)
        if busy_before is not None and busy_after is not None:
            others = max(0.0, busy_after - busy_before - served - spent)
            level["others_cores"] = round(others / took, 3)
        level["server_mib"] = round(after.memory, 1)
        level["server_threads"] = after.threads
    level["health"] = server.health()["metrics"]
    level["broke"] = why_broken(level)
    return level


def generate(
    url: str, sessions: int, seconds: float, generators: int, *options: str
) -> tuple[list[dict[str, Any]], float]:
    """Runs the load generator(s) beside us: what each tells, and the CPU seconds they took.

    Raises ValueError with what a generator said where it fails."""
    import resource

    shares = [sessions // generators + (i < sessions % generators) for i in range(generators)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "benchmarks.load.generator", "--url", url,
                "--sessions", str(share * (2 if "--pairs" in options else 1)),
                "--seconds", str(seconds), *options,
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )
        for share in shares if share
    ]  # fmt: skip
    tallies = []
    try:
        for process in processes:
            told, errors = process.communicate()
            if process.returncode:
                last = (errors.strip().splitlines() or ["it said nothing"])[-1]
                raise ValueError(f"the load generator failed: {last}")
            tallies.append(json.loads(told))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return tallies, spent


def combine(tallies: list[dict[str, Any]]) -> dict[str, Any]:
    """One account of what several generators saw."""
    import numpy as np

    from benchmarks.kit.statistics import percentiles
    from benchmarks.load.session import TIMES, times_from_json

    account: dict[str, Any] = {
        name: sum(tally[name] for tally in tallies)
        for name in ("sent", "received", "lost", "misnumbered", "miscounted")
    }
    outcomes: dict[str, int] = {}
    for tally in tallies:
        for outcome, count in tally["outcomes"].items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    account["outcomes"] = outcomes
    account["worst_session_p99_ms"] = max(t["worst_session"] for t in tallies) * 1e3
    for name in TIMES:
        times = np.concatenate([times_from_json(tally[name]) for tally in tallies]) * 1e3
        account[f"{name}_ms"] = percentiles(times) if times.size else None
    return account


def why_broken(level: dict[str, Any]) -> list[str]:
    """Every way in which a level missed the deadline, as sentences."""
    broke = [
        f"{count} sessions ended as: {outcome}"
        for outcome, count in level["outcomes"].items()
        if outcome != "done"
    ]
    for name in ("lost", "misnumbered", "miscounted"):
        if level[name]:
            broke.append(f"{name}: {level[name]}")
    late, delivery = level["late_ms"], level["delivery_ms"]
    if delivery is not None:
        # Nothing is computed that the server could stamp: what it costs is time on the way.
        if late is not None and late["p99"] > HOP_MS:
            broke.append(f"the load generator, and not the server, was {late['p99']:.1f} ms late")
        elif delivery["p99"] > HOP_MS:
            broke.append(f"delivery p99 {delivery['p99']:.1f} ms is over a hop of {HOP_MS} ms")
        return broke
    server, turnaround = level["server_ms"], level["turnaround_ms"]
    if server is None or turnaround is None:
        return [*broke, "no packet was timed"]
    if server["p99"] > HOP_MS:
        broke.append(f"server time p99 {server['p99']:.1f} ms is over a hop of {HOP_MS} ms")
    if turnaround["p50"] > HOP_MS:
        broke.append(f"turnaround p50 {turnaround['p50']:.1f} ms is over a hop of {HOP_MS} ms")
    return broke


def edge(levels: list[dict[str, Any]]) -> tuple[int, int | None]:
    """Most sessions that were held below the fewest that were not, and the latter (or None)."""
    broken = min((level["sessions"] for level in levels if level["broke"]), default=None)
    held = [
        level["sessions"]
        for level in levels
        if not level["broke"] and (broken is None or level["sessions"] < broken)
    ]
    return max(held, default=0), broken


def next_level(levels: list[dict[str, Any]], most: int, quick: bool = False) -> int | None:
    """Number of sessions to try next: twice as many until the deadline breaks, then halfway
    between, to within an eighth (a quarter if ``quick``); None when it is known well enough."""
    held, broken = edge(levels)
    if broken is None:
        return min(2 * held, most) if held < most else None
    fine = max(1, held // (4 if quick else 8))
    return (held + broken) // 2 if broken - held > fine else None


def brief(level: dict[str, Any]) -> str:
    """One line about a level."""
    if level["broke"]:
        return f"{level['sessions']} sessions do not hold: {'; '.join(level['broke'])}"
    kind = "delivery" if level.get("delivery_ms") else "server"
    times = level[f"{kind}_ms"]
    return (
        f"{level['sessions']} sessions hold: {kind} p99 {times['p99']:.2f} ms, "
        f"{level['sent']} frames sent, none lost"
    )


SESSIONS = (
    ("server", "p50"), ("server", "p95"), ("server", "p99"),
    ("turnaround", "p50"), ("turnaround", "p99"), ("late", "p99"),
)  # fmt: skip
PAIRS = (("delivery", "p50"), ("delivery", "p95"), ("delivery", "p99"), ("late", "p99"))
"""Columns of times of a table, by what they are of."""


def headings(columns: tuple[tuple[str, str], ...]) -> list[str]:
    """Headings of the columns, with a name where it is another than before."""
    names = ["generator late" if name == "late" else name for name, _ in columns]
    before = ["", *names]
    return [
        q if name == last else f"{name} {q}"
        for name, last, (_, q) in zip(names, before, columns, strict=False)
    ]


def tables(result: Result) -> list[Table]:
    if not result.get("levels"):
        return []
    what = result["what"]
    columns = PAIRS if what.get("codes") else SESSIONS
    rows = [
        [
            level["sessions"], "no" if level["broke"] else "yes",
            *((level.get(f"{name}_ms") or {}).get(q) for name, q in columns),
            level["sent"], level["lost"],
            level.get("server_cores"), level["generator_cores"], level.get("others_cores"),
            level.get("server_mib"),
        ]
        for level in sorted(result["levels"], key=lambda row: int(row["sessions"]))
    ]  # fmt: skip
    where = "a server of our own" if what["own_server"] else "a server that ran already"
    kind, title, media = "sessions", "Full-duplex sessions on", "PCM up and down"
    if what.get("codes"):
        kind, title, media = "pairs", "Pairs of publisher and listener on", "codes up and down"
    note = f"Held: {result['holds']} {kind}."
    for level in result["levels"]:
        if level["broke"]:
            tries = "twice" if level["attempts"] > 1 else "once"
            note += f" {level['sessions']}, tried {tries}: {'; '.join(level['broke'])}."
    note += extrapolated(result)
    return [
        Table(
            "load",
            f"{title} {where}: {what['model']}, {what['threads']} model thread(s), "
            f"{what['device']}, {media}, {what['frames_per_packet']} frame(s) a packet; ms",
            (kind, "held", *headings(columns), "frames sent", "lost", "cores: server",
             "generator", "other programs", "server MiB"),
            rows,
            note,
        )
    ]  # fmt: skip


def extrapolated(result: Result) -> str:
    """Sentence about what a core would hold by what the server took, where nothing is computed and
    the generator takes as much of the machine."""
    held = [level for level in result["levels"] if not level["broke"] and level.get("delivery_ms")]
    most = max(held, key=lambda level: int(level["sessions"]), default=None)
    if most is None or not most.get("server_cores"):
        return ""
    pairs, server = int(most["sessions"]), float(most["server_cores"])
    return (
        f" At {pairs} the server took {server:.2f} of a core and the generator "
        f"{most['generator_cores']:.2f}; at that, {round(pairs / server)} pairs would take a core "
        "of the server's own (extrapolated, not measured)."
    )


def charts(result: Result) -> list[Chart]:
    levels = sorted(
        (x for x in result.get("levels", []) if x["server_ms"] or x.get("delivery_ms")),
        key=lambda x: int(x["sessions"]),
    )
    if not levels:
        return []
    counts = [float(level["sessions"]) for level in levels]
    lines = {
        f"{name} {q}": (counts, [level[f"{name}_ms"][q] for level in levels])
        for name in ("server", "turnaround", "delivery")
        for q in ("p50", "p99")
        if all(level.get(f"{name}_ms") for level in levels)
    }
    return [
        Chart(
            "load", "Streams against time", "sessions at once", "ms", lines,
            limits={"one hop": HOP_MS}, log_x=True, log_y=True,
        )
    ]  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
