"""``facodec bench soak``: a server for a long time, with sessions that come, break, stall, hurry
and send nonsense, beside live ones that must not notice."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, add_common, duration, run_part, say, write_json
from benchmarks.kit.present import Table

if TYPE_CHECKING:
    from benchmarks.attacks.checks import Check
    from benchmarks.attacks.testbed import Undisturbed
    from benchmarks.kit.processes import RunningServer

EXAMPLES = """\
  facodec bench soak                              half an hour
  facodec bench soak --minutes 480 --out night    a night, its report in the folder night
  facodec bench soak --quick                      a minute: does it work?
The report folder gets soak.json and soak.svg. Ctrl-C ends it; what was measured until then counts.
Exit status 3: not all held.
"""
MINUTES, QUICK_MINUTES = 30.0, 1.0
DISTURBERS = {"churn": 4, "cut": 3, "stall": 3, "bursts": 2, "garbage-frames": 2}
"""Clients of each kind, see :mod:`benchmarks.attacks.churning`."""
MAX_SESSIONS = 16
"""Fewer than all clients together want, so that some are refused."""
TOLD_EVERY = 30.0
"""Seconds between two lines about how it goes."""
LOOK = 1.0
"""Seconds between two looks at the server's memory."""
WARM_UP_SHARE, WARM_UP_MOST = 0.2, 300.0
"""Warm-up as a share of the time, and at most, s: memory counts from then on."""
SHORTEST_FIT = 240.0
"""Seconds after the warm-up that a slope can be told of."""
SLOPE_MIB_H = 16.0
"""Bound of the memory's growth: what a server with some hundred MiB can do for a week."""
NOT_HELD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--minutes", type=duration, help="how long (default 30, 1 if quick)")
    add("--out", type=Path, default=Path("soak-report"), metavar="DIR",
        help="for soak.json and soak.svg (default %(default)s)")  # fmt: skip


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``memory``: (s, MiB) over time, ``disturbers``: what these counted, ``undisturbed``:
    the live sessions' account, ``lag_ms``, ``lag_over_time``, ``slope_mib_h``, ``health``: the
    server's own counters, and ``checks``."""
    from benchmarks.attacks.testbed import TOKEN, Undisturbed
    from benchmarks.kit.processes import running_server
    from streaming.server.settings import TOKEN_VARIABLE

    seconds = 60.0 * (args.minutes or (QUICK_MINUTES if args.quick else MINUTES))
    args.out.mkdir(parents=True, exist_ok=True)
    result.update(seconds=seconds, memory=[], disturbers={}, undisturbed={}, checks=[], notes=[])
    options = ("--max-sessions", str(MAX_SESSIONS))
    with running_server(*options, environment={TOKEN_VARIABLE: TOKEN}) as server:
        folder = args.out / "undisturbed"
        live = Undisturbed(server.url, TOKEN, seconds + 60.0, args.seed, folder)
        disturbers: dict[str, subprocess.Popen[str]] = {}
        try:
            live.wait_talking()
            began = time.perf_counter()
            disturbers.update(_disturbers(server.url, seconds, args.seed, TOKEN))
            _watch(server, seconds, began, result["memory"])
        finally:
            result["disturbers"] = {name: _counts(one) for name, one in disturbers.items()}
            result["health"] = _counters(server, TOKEN)
            try:
                _account(live, time.perf_counter() - began, began, result)
            finally:
                live.cut()
                _finish(args.out, result)


def _disturbers(
    url: str, seconds: float, seed: int, token: str
) -> dict[str, subprocess.Popen[str]]:
    from benchmarks.kit.processes import standing_back
    from streaming.server.settings import TOKEN_VARIABLE

    return {
        name: subprocess.Popen(
            [
                *standing_back(sys.executable, "-m", "benchmarks.attacks.attacker", name),
                "--url", url, "--clients", str(clients), "--seconds", str(seconds),
                "--seed", str(seed + number),
            ],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, TOKEN_VARIABLE: token},
        )
        for number, (name, clients) in enumerate(DISTURBERS.items())
    }  # fmt: skip


def _watch(
    server: RunningServer, seconds: float, began: float, memory: list[tuple[float, float]]
) -> None:
    """Looks at the server's memory until the time is over, and says how it goes. Raises ValueError
    where the server goes."""
    from benchmarks.kit.processes import usage

    told = 0.0
    while (now := time.perf_counter() - began) < seconds:
        if server.pid is not None and (used := usage(server.pid)) is not None:
            memory.append((round(now, 1), round(used.memory, 2)))
        elif memory:
            raise ValueError(f"the server has gone after {now:.0f} s")
        if now - told >= TOLD_EVERY and memory:
            told = now
            say(f"soak: {now / 60:.1f} of {seconds / 60:g} minutes, {memory[-1][1]:.0f} MiB")
        time.sleep(min(LOOK, max(0.0, seconds - now)))


def _counts(process: subprocess.Popen[str]) -> dict[str, float]:
    """Tells a disturber to stop: what it counted, empty where it does not say."""
    from benchmarks.attacks.testbed import GRACE

    process.terminate()
    try:
        told, _ = process.communicate(timeout=GRACE)
        return dict(json.loads(told))
    except (subprocess.TimeoutExpired, ValueError):
        process.kill()
        process.communicate()
        return {}


def _counters(server: RunningServer, token: str) -> dict[str, Any]:
    """The server's own counters; empty where it does not answer."""
    import asyncio

    from benchmarks.attacks.wire import Target, get

    status, body = asyncio.run(get(Target.of(server.url, token=token), "/healthz"))
    return dict(json.loads(body).get("metrics", {})) if status == 200 else {}


def _account(live: Undisturbed, seconds: float, began: float, result: Result) -> None:
    """Ends the live sessions and puts what they saw into the result."""
    from benchmarks.attacks.soaking import lag_over_time
    from benchmarks.kit.statistics import percentiles
    from benchmarks.load import undisturbed

    account = live.account()
    lags = live.lags()
    lags = lags[(lags[:, 0] >= began) & (lags[:, 0] <= began + seconds)]
    say("soak: comparing what was heard with the offline codec")
    account.update(undisturbed.inexact(live.out, undisturbed.speech()))
    for sound in live.out.glob("heard-*.s16"):
        sound.unlink()
    result["undisturbed"] = account
    result["ran_s"] = round(seconds, 1)
    if len(lags):
        times = lags[:, 1] * 1e3
        result["lag_ms"] = {**percentiles(times), "max": float(times.max())}
        result["lag_over_time"] = lag_over_time(lags[:, 0] - began, times)


def _finish(out: Path, result: Result) -> None:
    """The slope, the checks, the files."""
    from benchmarks.attacks.soaking import plot, slope

    ran = result.get("ran_s", 0.0)
    warm_up = min(WARM_UP_SHARE * ran, WARM_UP_MOST)
    result["warm_up_s"] = warm_up
    after = [(s, mib) for s, mib in result["memory"] if s >= warm_up]
    enough = len(after) > 2 and after[-1][0] - after[0][0] >= SHORTEST_FIT
    result["slope_mib_h"] = round(3600.0 * slope(after), 2) if enough else None
    result["checks"] = [check.to_json() for check in _checks(result)]
    try:
        plot(result, out / "soak.svg")
    except ImportError:
        result["notes"].append("no plot: pip install matplotlib")
    write_json(out / "soak.json", result)


def _checks(result: Result) -> list[Check]:
    from benchmarks.attacks.checks import LAG_MS, Check, share
    from benchmarks.attacks.testbed import SESSIONS

    account, lag = result["undisturbed"], result.get("lag_ms")
    made = [Check("lag p99", lag["p99"] if lag else None, LAG_MS, "ms")]
    if account:
        spoilt = sum(account[name] for name in ("lost", "misnumbered", "miscounted", "inexact"))
        made.append(share("sessions that end well", account["outcomes"].get("done", 0), SESSIONS))
        made.append(Check("frames lost or changed", spoilt, 0, f"of {account['sent']:,}"))
    if result["slope_mib_h"] is not None:
        made.append(Check("memory slope", result["slope_mib_h"], SLOPE_MIB_H, "MiB/h"))
    return made


def tables(result: Result) -> list[Table]:
    if not result.get("checks"):
        return []
    lag = result.get("lag_ms") or {}
    rows = [
        [c["what"], c["bound_text"], c["figure_text"], "yes" if c["held"] else "no"]
        for c in result["checks"]
    ]
    shown = ", ".join(f"{name} {lag[name]:.0f}" for name in ("p50", "p95", "p99", "max") if lag)
    made = [
        Table(
            "soak", f"{result.get('ran_s', 0.0) / 60:.1f} minutes beside churn, loss, stalls, "
            "floods and garbage", ("bounded", "bound", "figure", "held"), rows,
            f"Lag of the undisturbed sessions, ms: {shown}.",
        )
    ]  # fmt: skip
    told = [
        [name, event, int(count)]
        for name, counts in result["disturbers"].items()
        for event, count in sorted(counts.items())
        if event != "longest_ms"
    ]
    made.append(Table("disturbers", "What the others met", ("client", "what", "times"), told))
    return made


def run(args: argparse.Namespace) -> int:
    made: Result = {}
    status = run_part(args, measure, tables, made)
    return status or (0 if all(check["held"] for check in made["checks"]) else NOT_HELD)
