"""``facodec bench attack``: what attackers can do to a server, and to live sessions beside them.

Every attack is made by small clients in processes of their own, over real sockets of this machine,
on a real server that is started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.common import Result, add_common, duration, run_part, say
from benchmarks.kit.present import Table

if TYPE_CHECKING:
    from benchmarks.attacks.cases import Attack, Beside, Facts
    from benchmarks.attacks.testbed import Testbed

EXAMPLES = """\
  facodec bench attack                            all of them, about ten minutes
  facodec bench attack unread-pings tiny-clock    just these
  facodec bench attack --list                     their names and what they do
  facodec bench attack --write docs/reliability.md --column after
                                                  fill in that column of the document's table
The attackers share this machine with the server, at a lower priority. Exit status 3: not all held.
"""
SECONDS, QUICK_SECONDS = 8.0, 3.0
NOT_HELD = 3
COLUMNS = ("before", "after")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="attacks to make (default: all)")
    add("--list", action="store_true", help="say which there are, and end")
    add("--seconds", type=duration, help="that each takes (default 8, 3 if quick)")
    add("--write", type=Path, metavar="FILE", help="put the figures into this document's table")
    add("--column", choices=COLUMNS, default=COLUMNS[1], help="which (default %(default)s)")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``attacks``, each with what :func:`measure_attack` gives, in the order they are
    made."""
    from benchmarks.attacks.cases import BY_NAME

    unknown = [name for name in args.names if name not in BY_NAME]
    if unknown:
        raise ValueError(f"expected attacks of {', '.join(BY_NAME)}, got {', '.join(unknown)}")
    if args.write and not args.write.is_file():
        raise ValueError(f"expected a document at {args.write}, got none")
    names = args.names or list(BY_NAME)
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    attacks: list[dict[str, Any]] = []
    result.update(seconds=seconds, attacks=attacks, notes=[])
    for number, name in enumerate(names, start=1):
        attack = BY_NAME[name]
        say(f"attack {number} of {len(names)}: {name}: {attack.summary}")
        attacks.append(measure_attack(attack, seconds, args.seed))
        say(f"  {'held' if attacks[-1]['held'] else 'NOT HELD'}: {brief(attacks[-1])}")


def measure_attack(attack: Attack, seconds: float, seed: int) -> dict[str, Any]:
    """Makes one attack. ``checks``: what is bounded, with ``figure``, ``bound`` and ``held``;
    ``attackers``: what these counted. Where live sessions talked beside it: their ``lag_ms``, and
    that just before, their account ``undisturbed`` and the server's ``memory_mib``. ``failed``: why
    there is no figure."""
    began = time.monotonic()
    told: dict[str, Any] = {"name": attack.name, "summary": attack.summary, "checks": []}
    try:
        if attack.alone is not None:
            checks, counts = attack.alone(seconds * attack.takes, seed)
        else:
            checks, counts = _beside(attack, seconds, seed, told)
        told["checks"] = [check.to_json() for check in checks]
        told["attackers"] = counts
    except (ValueError, OSError) as error:
        told["failed"] = str(error)
    told["held"] = "failed" not in told and all(check["held"] for check in told["checks"])
    told["took_s"] = round(time.monotonic() - began, 1)
    return told


def _beside(attack: Attack, seconds: float, seed: int, told: dict[str, Any]) -> Facts:
    """The attack beside undisturbed sessions, what they saw put into ``told``."""
    from benchmarks.attacks.testbed import GRACE, SETTLE, live_sessions, testbed
    from benchmarks.load.undisturbed import inexact, speech

    assert attack.beside is not None
    with (
        testbed(attack.options, seconds, seed, attack.token) as place,
        live_sessions(place, 8 * seconds + GRACE) as sessions,
    ):
        began, (checks, counts), ended = asyncio.run(_scene(place, attack.beside))
        account = sessions.account()
        lags = sessions.lags()
        account.update(inexact(sessions.out, speech()))
    dues, times = lags[:, 0], lags[:, 1] * 1e3
    told.update(
        undisturbed=account,
        lag_ms=_lag(times[(dues >= began) & (dues <= ended)]),
        lag_before_ms=_lag(times[(dues > began - SETTLE) & (dues < began - 0.2)]),
        memory_mib=_memory(place.memory),
    )
    return [*checks, *_common_checks(told, attack.growth)], counts


async def _scene(place: Testbed, attack: Beside) -> tuple[float, Facts, float]:
    """Runs the attack: when it began, its facts, when it ended (monotonic s)."""
    async with place.watched():
        await asyncio.sleep(0.3)
        began = time.perf_counter()
        facts = await attack(place)
        return began, facts, time.perf_counter()


def _common_checks(told: dict[str, Any], growth: float) -> list[Any]:
    """Checks that every attack is judged by. ``growth``: MiB that the server may grow by."""
    from benchmarks.attacks.checks import LAG_MS, TIMES_BEFORE, Check, share
    from benchmarks.attacks.testbed import SESSIONS

    account, lag, memory = told["undisturbed"], told["lag_ms"], told["memory_mib"]
    before = told["lag_before_ms"]
    bound = max(LAG_MS, TIMES_BEFORE * before["p99"]) if before else LAG_MS
    spoilt = sum(account[name] for name in ("lost", "misnumbered", "miscounted", "inexact"))
    made = [
        Check("lag p99", lag["p99"] if lag else None, bound, "ms"),
        share("sessions that end well", account["outcomes"].get("done", 0), SESSIONS),
        Check("frames lost or changed", spoilt, 0),
    ]
    if memory is not None:
        made.append(Check("server grows", memory["growth"], growth, "MiB"))
    return made


def _lag(during: Any) -> dict[str, float] | None:
    from benchmarks.kit.statistics import percentiles

    return {**percentiles(during), "max": float(during.max())} if during.size else None


def _memory(seen: list[tuple[float, float]]) -> dict[str, float] | None:
    if not seen:
        return None
    first, most = seen[0][1], max(memory for _, memory in seen)
    return {"before": round(first, 1), "most": round(most, 1), "growth": round(most - first, 1)}


def own_checks(attack: dict[str, Any]) -> list[dict[str, Any]]:
    """The attack's own checks, and of the common ones those that did not hold."""
    from benchmarks.attacks.checks import COMMON

    return [c for c in attack["checks"] if c["what"] not in COMMON or not c["held"]]


def brief(attack: dict[str, Any]) -> str:
    """One line about an attack."""
    if "failed" in attack:
        return str(attack["failed"])
    parts = [f"{check['what']} {check['figure_text']}" for check in own_checks(attack)]
    if attack.get("lag_ms"):
        lag = attack["lag_ms"]
        parts.append(f"lag p50 {lag['p50']:.0f}, p99 {lag['p99']:.0f}, max {lag['max']:.0f} ms")
        if attack.get("lag_before_ms"):
            parts[-1] += f" (p99 before: {attack['lag_before_ms']['p99']:.0f})"
    if attack.get("memory_mib"):
        parts.append(f"{attack['memory_mib']['growth']:+.0f} MiB")
    return "; ".join(parts)


def tables(result: Result) -> list[Table]:
    if not result.get("attacks"):
        return []
    rows = []
    for attack in result["attacks"]:
        checks = own_checks(attack)
        lag, memory = attack.get("lag_ms") or {}, attack.get("memory_mib") or {}
        if "failed" in attack:
            checks = [{"what": "failed", "bound_text": "–", "figure_text": attack["failed"]}]
        rows.append(
            [
                attack["name"], _cell(checks, "what"), _cell(checks, "bound_text"),
                _cell(checks, "figure_text"), lag.get("p50"), lag.get("p99"), lag.get("max"),
                memory.get("growth"), "yes" if attack["held"] else "no",
            ]
        )  # fmt: skip
    held = sum(attack["held"] for attack in result["attacks"])
    return [
        Table(
            "attacks",
            f"Attacks of {result['seconds']:g} s beside undisturbed sessions; lag in ms",
            ("attack", "bounded", "bound", "figure", "lag p50", "lag p99", "lag max", "grew MiB",
             "held"),
            rows, f"{held} of {len(rows)} held.",
        )
    ]  # fmt: skip


def _cell(checks: list[dict[str, Any]], name: str) -> str | None:
    return "; ".join(str(check[name]) for check in checks) or None


def run(args: argparse.Namespace) -> int:
    if args.list:
        from benchmarks.attacks.cases import ATTACKS

        for attack in ATTACKS:
            print(f"{attack.name:<20} {attack.summary}")
        return 0
    made: Result = {}
    status = run_part(args, measure, tables, made)
    if args.write and made.get("attacks"):
        from benchmarks.attacks.document import fill

        fill(args.write, args.column, {attack["name"]: attack for attack in made["attacks"]})
    return status or (0 if all(a["held"] for a in made.get("attacks", [])) else NOT_HELD)
