"""``facodec bench step``: computing time of one hop, encoder and decoder, over batches of streams,
hops a call, backends, and beside other codecs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.kit.baseline import BUNDLED
from benchmarks.kit.common import (
    Result,
    add_common,
    duration,
    progress,
    reason,
    run_part,
    share,
    whole_number,
    whole_numbers,
)
from benchmarks.kit.present import Cell, Chart, Table
from benchmarks.kit.statistics import HOP_MS
from facodec.families import BACKENDS

if TYPE_CHECKING:
    from benchmarks.kit.statistics import Seconds
    from benchmarks.kit.subjects import Subject
    from facodec.codec import Codec

EXAMPLES = """\
  facodec bench step                                the bundled model, 1 to 64 streams a call
  facodec bench step --model ns3 --batch 1 --hops 1,4
                                                    the published model's sizes, random weights
  facodec bench step --model ns3 --backend float32 --backend int8 --batch 1
                                                    side by side, with the ratio of pairs
  facodec bench step --peers --batch 1 --hops 1     beside Opus, Mimi, EnCodec and the naive way
  facodec bench step --baseline                     status 1 where something is slower than it
                                                    was when this version was measured
  facodec bench step --save-baseline step.json      a baseline of your own, for
  facodec bench step --baseline step.json
All that is compared takes turns in one run. A baseline holds ratios to a calibration kernel that
takes turns too, so it outlives a busy hour and, roughly, a change of machine.
"""
BATCHES, QUICK_BATCHES = [1, 2, 4, 8, 16, 32, 64], [1, 4, 16]
HOPS, QUICK_HOPS = [1, 2, 4], [1, 4]
SIDES = ("encode", "decode")
CALIBRATION = "calibration"
QUANTILES = ("p50", "p95", "p99")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add(
        "--model",
        action="append",
        dest="models",
        metavar="NAME",
        help="live, ns3 or a folder of weights; repeat for more (default live)",
    )
    add(
        "--backend",
        action="append",
        dest="backends",
        metavar="NAME",
        help=f"how the model computes, of {', '.join(BACKENDS)}; repeat to compare (default auto)",
    )
    add("--device", default="cpu", help="where it computes (default cpu)")
    add("--batch", type=whole_numbers, metavar="N,N..", help="streams a call (default 1,2,..64)")
    add("--hops", type=whole_numbers, metavar="N,N..", help="hops a call (default 1,2,4)")
    add("--seconds", type=duration, help="spent on each batch size (default 2, 0.5 if quick)")
    add("--calls", type=whole_number, default=300, help="most timed calls of each (default 300)")
    add("--threads", type=whole_number, default=1, help="CPU threads (default 1)")
    add("--peers", action="store_true", help="also other codecs and the naive way, one stream")
    add("--save-baseline", type=Path, metavar="FILE", help="keep the ratios to the calibration")
    add(
        "--baseline",
        type=Path,
        metavar="FILE",
        nargs="?",
        const=BUNDLED,
        help="compare with ratios kept earlier; without FILE, with those of this version",
    )
    add("--tolerance", type=share, default=1.5, help="ratio to the baseline that counts as slower "
        "(default 1.5)")  # fmt: skip


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``cases``, one for each side of each subject, and ``peers``."""
    import torch

    torch.set_num_threads(args.threads)
    cases: list[dict[str, Any]] = []
    result.update(
        what={"device": args.device, "threads": args.threads, "models": args.models or ["live"]},
        cases=cases, peers=[], notes=[],
    )  # fmt: skip
    for model in args.models or ["live"]:
        codecs = _codecs(model, args, result["notes"])
        batches = args.batch or (QUICK_BATCHES if args.quick else BATCHES)
        hops = args.hops or (QUICK_HOPS if args.quick else HOPS)
        grid = [(batch, n) for n in hops for batch in batches]
        for batch, n in progress(grid, f"step {model}", len(grid)):
            cases += measure_group(codecs, batch, n, args)
    if args.peers:
        result["peers"], left_out = measure_peers(args)
        result["notes"] += left_out
    _compare(args, result)


def _codecs(model: str, args: argparse.Namespace, notes: list[str]) -> dict[str, Codec]:
    """The codecs to compare by backend; those that cannot be had are noted, unless none can."""
    from benchmarks.kit.subjects import load_codec

    found: dict[str, Codec] = {}
    failures: list[str] = []
    for backend in args.backends or [None]:
        try:
            codec = load_codec(model, backend, args.device)
        except (ValueError, TypeError, ImportError) as error:
            failures.append(f"{model} with backend {backend} left out: {reason(error)}")
            continue
        found[codec.steps.backend] = codec
    if not found:
        raise ValueError("; ".join(failures))
    notes += failures
    return found


def measure_group(
    codecs: dict[str, Codec], batch: int, hops: int, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """The cases of all backends of one model at one batch size, timed in turns with the
    calibration kernel."""
    from benchmarks.kit.machine import Calibration
    from benchmarks.kit.statistics import time_in_turns
    from benchmarks.kit.subjects import Subject

    subjects = {
        backend: Subject(
            codec.steps, batch, hops, args.seed, codec.device, captured=args.device != "cpu"
        )
        for backend, codec in codecs.items()
    }
    calls = {
        f"{backend} {side}": getattr(subject, side)
        for backend, subject in subjects.items()
        for side in SIDES
    }
    seconds = args.seconds or (0.5 if args.quick else 2.0)
    times = time_in_turns({**calls, CALIBRATION: Calibration()}, seconds, args.calls, args.seed)
    first = next(iter(codecs))
    return [
        {
            "model": codecs[backend].name, "backend": backend, "batch": batch, "hops": hops,
            "side": side,
            **_figures(subjects[backend], times, f"{backend} {side}", f"{first} {side}"),
        }
        for backend in codecs
        for side in SIDES
    ]  # fmt: skip


def _figures(subject: Subject, times: dict[str, Seconds], name: str, first: str) -> dict[str, Any]:
    """``call_ms`` for a whole call; ``to_calibration``: undisturbed, over the calibration kernel;
    ``to_first``: ratio of pairs to the first backend."""
    from benchmarks.kit.statistics import paired_ratio, percentiles, undisturbed_ratio

    return {
        "call_ms": percentiles(times[name] * 1e3),
        "captured": subject.captured,
        "to_calibration": undisturbed_ratio(times[name], times[CALIBRATION]),
        "to_first": paired_ratio(times[name], times[first]) if name != first else None,
    }


def measure_peers(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Other codecs, ours, and ours the naive way, one stream each, in turns. All times are per
    second of audio; ``to_ours``: ratio of pairs of the sums of both sides."""
    from benchmarks.kit.statistics import paired_ratio, percentiles, time_in_turns
    from benchmarks.kit.subjects import Subject, load_codec, speech
    from benchmarks.peers.streams import Peer, find_peers, naive
    from facodec.config import HOP, SAMPLE_RATE

    samples = speech()
    peers, left_out = find_peers(samples)
    ours: list[Peer] = []
    for model in args.models or ["live"]:
        codec = load_codec(model, (args.backends or [None])[0])
        subject = Subject(codec.steps, 1, 1, args.seed)
        how = f"streaming, one hop a call, {codec.steps.backend}"
        ours.append(Peer(codec.name, HOP / SAMPLE_RATE, how, subject.encode, subject.decode))
        ours.append(naive(codec, samples))
    everyone = [*ours, *peers]
    calls = {f"{p.name} {side}": getattr(p, side) for p in everyone for side in SIDES}
    seconds = (args.seconds or (0.5 if args.quick else 2.0)) * len(everyone)
    times = time_in_turns(calls, seconds, args.calls, args.seed)

    def per_second(peer: Peer) -> Seconds:
        both: Seconds = times[f"{peer.name} encode"] + times[f"{peer.name} decode"]
        return both / peer.piece

    rows = [
        {
            "name": peer.name, "how": peer.how, "piece_ms": peer.piece * 1e3,
            **{f"{s}_ms": percentiles(times[f"{peer.name} {s}"] * 1e3) for s in SIDES},
            "per_second_ms": percentiles(per_second(peer) * 1e3),
            "to_ours": paired_ratio(per_second(peer), per_second(ours[0])),
        }
        for peer in everyone
    ]  # fmt: skip
    return rows, left_out


def _compare(args: argparse.Namespace, result: Result) -> None:
    from benchmarks.kit import baseline

    ratios = baseline.ratios(result["cases"])
    if args.baseline:
        result["baseline"] = baseline.compare(ratios, baseline.load(args.baseline), args.tolerance)
    if args.save_baseline:
        baseline.save(args.save_baseline, ratios)


def tables(result: Result) -> list[Table]:
    made = [_step_table(result)] if result.get("cases") else []
    if any(case["to_first"] for case in result.get("cases", [])):
        made.append(_backend_table(result))
    if result.get("peers"):
        made.append(_peer_table(result))
    if result.get("baseline"):
        from benchmarks.kit.baseline import table

        made.append(table(result["baseline"]))
    return made


def _step_table(result: Result) -> Table:
    what = result["what"]
    rows: list[list[Cell]] = []
    cases = result["cases"]
    for encode, decode in zip(cases[::2], cases[1::2], strict=True):
        hops, batch = encode["hops"], encode["batch"]
        both = [(encode["call_ms"][q] + decode["call_ms"][q]) / hops for q in ("p50", "p99")]
        rows.append(
            [
                encode["model"], encode["backend"], batch, hops,
                *(side["call_ms"][q] / hops for side in (encode, decode) for q in QUANTILES),
                both[0], both[0] / batch, int(HOP_MS / (both[0] / batch)),
            ]
        )  # fmt: skip
    captured = ", captured as graphs" if any(case["captured"] for case in cases) else ""
    return Table(
        "step",
        f"Computing time per hop of 12.5 ms on {what['device']}{captured}, {what['threads']} "
        "thread(s), all streams of a call together; ms",
        ("model", "backend", "streams", "hops a call", "encode p50", "p95", "p99", "decode p50",
         "p95", "p99", "both p50", "both, per stream", "streams in real time"),
        rows,
    )  # fmt: skip


def _backend_table(result: Result) -> Table:
    rows: list[list[Cell]] = [
        [case["model"], case["side"], case["batch"], case["hops"], case["backend"],
         *(case["to_first"][q] for q in ("p5", "p50", "p95"))]
        for case in result["cases"] if case["to_first"]
    ]  # fmt: skip
    first = next(case["backend"] for case in result["cases"])
    return Table(
        "backends",
        f"Time over that of {first}, call by call in one run",
        ("model", "side", "streams", "hops a call", "backend", "p5", "median", "p95"),
        rows,
    )


def _peer_table(result: Result) -> Table:
    peers = result["peers"]
    rows: list[list[Cell]] = [
        [
            p["name"], p["how"], p["piece_ms"], p["encode_ms"]["p50"], p["decode_ms"]["p50"],
            p["per_second_ms"]["p50"], p["per_second_ms"]["p99"],
            p["to_ours"]["p50"], p["to_ours"]["p5"], p["to_ours"]["p95"],
        ]
        for p in peers
    ]  # fmt: skip
    return Table(
        "peers",
        f"Other codecs in the same run, one stream, {result['what']['threads']} thread(s); ms",
        ("codec", "measured", "ms of audio a call", "encode p50", "decode p50",
         "both, per s of audio", "p99", f"ratio to {peers[0]['name']}", "p5", "p95"),
        rows,
    )  # fmt: skip


def charts(result: Result) -> list[Chart]:
    lines: dict[str, tuple[list[float], list[float]]] = {}
    cases = result.get("cases", [])
    for encode, decode in zip(cases[::2], cases[1::2], strict=True):
        name = f"{encode['model']} {encode['backend']}, {encode['hops']} hop(s) a call"
        xs, ys = lines.setdefault(name, ([], []))
        xs.append(float(encode["batch"]))
        both = encode["call_ms"]["p50"] + decode["call_ms"]["p50"]
        ys.append(both / encode["hops"] / encode["batch"])
    if not lines:
        return []
    return [
        Chart(
            "batch", "Batch against time: encode + decode", "streams a call",
            "ms per stream and hop", lines, limits={"real time, one stream": HOP_MS},
            log_x=True, log_y=True,
        )
    ]  # fmt: skip


def run(args: argparse.Namespace) -> int:
    kept: Result = {}

    def measure_and_keep(options: argparse.Namespace, result: Result) -> None:
        measure(options, result)
        kept.update(result)

    status = run_part(args, measure_and_keep, tables)
    return status or int(bool(kept.get("baseline", {}).get("slower")))
