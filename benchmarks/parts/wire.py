"""``facodec bench wire``: bits on the wire against frames in a packet, all headers included.

First, speech from an encoder here through a room to a listener here, as ``facodec publish`` and
``facodec listen`` send it with ``--local`` in ``facodec.v2``. Then the messages of ``facodec.v1``:
real sessions send codes at their own pace and get them back, one for each packet size, all at the
same time; the kernel's own counters of each connection tell bytes and segments, those that only
acknowledge included.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.kit.common import Result, add_common, duration, run_part, say
from benchmarks.kit.present import Cell, Chart, Table
from benchmarks.kit.statistics import HOP_MS
from benchmarks.load.spoken import IP_TCP
from facodec.config import HOP, SAMPLE_RATE

if TYPE_CHECKING:
    from benchmarks.kit.processes import RunningServer
    from benchmarks.speech.activity import Mix

EXAMPLES = """\
  facodec bench wire                   1 to 8 frames a packet, with time stamps and without
  facodec bench wire --data speech     60 s of this speech, and a conversation made of it
  facodec bench wire --seconds 30      longer, for steadier figures of what TCP adds
"""
SIZES = range(1, 9)
WEBSOCKET = {"up": 6, "down": 2}
"""Bytes of a frame's header below 126 bytes of payload; a client's carries a mask of four."""
CODES_KBIT = 4.8
SPOKEN_SIZES = (1, 4, 8)
SPOKEN_KEYS = ("payload_kbit_s", "on_wire_kbit_s")
SPEAKERS = 24
"""Files of the folder that are heard, spread over it."""
ACTIVITY = 0.45
QUIET_ROOM = 30.0
"""dB that the noise of a conversation's room is below its speech."""
STAMPED = {True: "with stamps", False: "without"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    parser.add_argument(
        "--seconds", type=duration, help="each session talks (default 10, 3 if quick)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of speech (default: the bundled sample)"
    )
    parser.add_argument("--server", metavar="URL", help="a server that runs already")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``spoken``, of real speech, ``computed``, from the messages of version 1 alone, and
    ``measured``, by the kernel's counters."""
    from benchmarks.kit.processes import RunningServer, running_server

    result.update(
        computed=[compute(n, stamped) for stamped in STAMPED for n in SIZES],
        measured=[],
        spoken=[],
        notes=[],
    )
    server: AbstractContextManager[RunningServer]
    server = nullcontext(RunningServer(args.server)) if args.server else running_server()
    seconds = args.seconds or (3.0 if args.quick else 10.0)
    with server as running:
        result["spoken"] += measure_speech(running.url, args.data, 10.0 if args.quick else 60.0)
        for stamped in STAMPED:
            say(f"wire: 8 sessions for {seconds:g} s, {STAMPED[stamped]}")
            result["measured"] += measure_sizes(running.url, stamped, seconds, args.seed)
    if not all(row["up"] for row in result["measured"]):
        result["notes"].append("this system does not tell a connection's bytes and segments")


def measure_speech(url: str, data: Path | None, seconds: float) -> list[dict[str, Any]]:
    """Speech in 1, 4 and 8 frames a packet, and a conversation that is half silence, with and
    without its pauses: rates of each, up and down."""
    import asyncio

    import facodec
    from benchmarks.kit.subjects import speech
    from benchmarks.load.spoken import Talk, encoded, talk_all
    from benchmarks.speech.clips import clips

    codec, most = facodec.load(), int(seconds * SAMPLE_RATE)
    said = [speech()] if data is None else [sound for _, sound in clips(data, SPEAKERS)]
    whole = np.resize(np.concatenate(said), most)
    talk, active = small_talk(said, most)
    say(
        f"wire: {seconds:g} s of speech and of a conversation, {active:.0%} of it active (P.56), "
        "all talks at once"
    )
    plans = [
        *(("speech", Talk(size, coder)) for coder in (True, False) for size in SPOKEN_SIZES),
        *(("conversation", Talk(size, pauses=p)) for p in (False, True) for size in (4, 8)),
    ]
    sounds = {"speech": whole, "conversation": talk}
    cut = {
        (name, size): encoded(codec, sounds[name], size)
        for name, size in {(name, talk.size) for name, talk in plans}
    }
    talks = [(plan, cut[name, plan.size]) for name, plan in plans]
    rows = asyncio.run(talk_all(url, codec, talks))
    shares = {"speech": 1.0, "conversation": round(active, 3)}
    return [
        {"speech": name, "activity": shares[name], **row}
        for (name, _), row in zip(plans, rows, strict=True)
    ]


def small_talk(said: Sequence[np.ndarray], samples: int) -> tuple[np.ndarray, float]:
    """One side of a conversation in a quiet room, so many samples: as few of the clips as
    fill them, with pauses; and the share of it that is active as P.56 measures it."""
    from benchmarks.speech.activity import P56_HOLD, conversation, held, noise, with_noise

    def mixed(count: int) -> Mix:
        return conversation(said[:count], ACTIVITY, hold=P56_HOLD)

    enough = (n for n in range(1, len(said)) if len(mixed(n).audio) >= samples)
    mix = mixed(next(enough, len(said)))
    heard = with_noise(mix, noise("pink", 10.0), QUIET_ROOM).audio
    active = np.resize(held(mix.speech, P56_HOLD), samples // HOP)
    return np.resize(heard, samples), float(active.mean())


def spoken_table(rows: list[dict[str, Any]]) -> Table:
    """Rates of real speech."""
    cells: list[list[Cell]] = [
        [
            row["speech"] + ("" if row["activity"] == 1 else f", {row['activity']:.0%} active"),
            row["frames"], "yes" if row["coder"] else "no",
            "left out" if row["pauses"] else "sent",
            *(row[way][key] for way in ("up", "down") for key in SPOKEN_KEYS),
        ]
        for row in rows
    ]  # fmt: skip
    return Table(
        "spoken",
        "Speech in facodec.v2, from an encoder through a room to a listener, all that goes in that "
        "direction: kbit/s of messages, and with WebSocket, TCP and IPv4 headers, acknowledgements "
        "and signs of life as the kernel counted",
        ("what", "frames a packet", "entropy coded", "pauses",
         "up: messages", "with headers", "down: messages", "with headers"),
        cells,
    )  # fmt: skip


def compute(frames: int, stamped: bool) -> dict[str, Any]:
    """Bytes of one packet of codes each way, layer by layer: message, with its WebSocket header,
    with TCP/IP; and the kbit/s that makes, acknowledgements not counted."""
    from streaming.wire import protocol
    from streaming.wire.protocol import Codes, Stamps

    packed = bytes(protocol.codes_size(6, frames))
    middle = 80 * 60  # a minute into the stream: seq has grown to its usual three bytes
    stamps = Stamps(1234.5, 0.001, 0.002, 0.0)
    messages = {
        "up": Codes(middle, frames, packed, t=1234.5 if stamped else None),
        "down": Codes(middle, frames, packed, stamps=stamps if stamped else None),
    }
    row: dict[str, Any] = {"frames": frames, "stamped": stamped, "codes": len(packed)}
    for way, message in messages.items():
        size = len(protocol.encode(message))
        framed = size + WEBSOCKET[way] + (2 if size > 125 else 0)
        on_wire = framed + IP_TCP
        row[way] = {
            "message": size, "framed": framed, "on_wire": on_wire,
            "message_kbit_s": rate(size, frames), "framed_kbit_s": rate(framed, frames),
            "on_wire_kbit_s": rate(on_wire, frames),
        }  # fmt: skip
    return row


def rate(size: int, frames: int) -> float:
    """kbit/s of one packet of so many bytes every so many frames."""
    return size * 8 / (frames * HOP_MS)


def measure_sizes(url: str, stamped: bool, seconds: float, seed: int) -> list[dict[str, Any]]:
    """One session for each packet size, all at once; kbit/s each way by the kernel's counters."""
    from concurrent.futures import ThreadPoolExecutor

    from benchmarks.parts.load import generate

    def one(frames: int) -> dict[str, Any]:
        stamps = () if stamped else ("--no-stamps",)
        tallies, _ = generate(
            url, 1, seconds, 1, "--input", "codes", "--output", "codes", "--settle", "0",
            "--frames-per-packet", str(frames), "--seed", str(seed), *stamps,
        )  # fmt: skip
        return account(tallies[0], frames, stamped)

    with ThreadPoolExecutor(len(SIZES)) as pool:
        return list(pool.map(one, SIZES))


def account(tally: dict[str, Any], frames: int, stamped: bool) -> dict[str, Any]:
    """A session's rates from what its generator tells. Raises ValueError where frames were lost,
    as rates mean nothing then."""
    if tally["lost"] or tally["outcomes"] != {"done": 1}:
        raise ValueError(f"a session was not complete: {tally['outcomes']}, lost {tally['lost']}")
    row: dict[str, Any] = {"frames": frames, "stamped": stamped, "up": None, "down": None}
    spoken = tally["sent"] * HOP_MS / 1e3
    for counted in tally["tcp"]:
        for way in ("up", "down"):
            on_wire = counted[f"bytes_{way}"] + IP_TCP * counted[f"segments_{way}"]
            only_acks = counted[f"segments_{way}"] - counted[f"data_segments_{way}"]
            row[way] = {
                "framed_kbit_s": counted[f"bytes_{way}"] * 8e-3 / spoken,
                "on_wire_kbit_s": on_wire * 8e-3 / spoken,
                "acknowledgements_kbit_s": only_acks * IP_TCP * 8e-3 / spoken,
            }
    return row


def tables(result: Result) -> list[Table]:
    spoken = [spoken_table(result["spoken"])] if result.get("spoken") else []
    if not result.get("computed"):
        return spoken
    measured = {(row["frames"], row["stamped"]): row for row in result["measured"]}
    rows: list[list[Cell]] = []
    for row in result["computed"]:
        found = measured.get((row["frames"], row["stamped"]), {})
        delay = (row["frames"] - 1) * HOP_MS
        rows.append([row["frames"], delay, STAMPED[row["stamped"]]])
        for way in ("up", "down"):
            on_wire = (found.get(way) or {}).get("on_wire_kbit_s")
            rows[-1] += [row[way]["message"], row[way]["framed_kbit_s"],
                         row[way]["on_wire_kbit_s"], on_wire]  # fmt: skip
    return [
        *spoken,
        Table(
            "wire",
            f"facodec.v1: codes of {CODES_KBIT} kbit/s on the wire; each way: bytes a message, "
            f"kbit/s with WebSocket headers, with TCP/IPv4 headers ({IP_TCP} bytes a segment), and "
            "as the kernel counted in real sessions, acknowledgements included",
            ("frames a packet", "adds ms", "stamps", "up: bytes", "framed", "TCP/IP", "counted",
             "down: bytes", "framed", "TCP/IP", "counted"),
            rows,
            "TLS adds 22 bytes a message, IPv6 20 bytes a segment.",
        )
    ]  # fmt: skip


def charts(result: Result) -> list[Chart]:
    if not result.get("computed"):
        return []
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in result["computed"]:
        if row["stamped"]:
            continue
        for label, key in (("with TCP/IP", "on_wire_kbit_s"), ("WebSocket", "framed_kbit_s")):
            xs, ys = lines.setdefault(f"up, {label}", ([], []))
            xs.append(float(row["frames"]))
            ys.append(row["up"][key])
    for row in result["measured"]:
        if row["up"] and not row["stamped"]:
            xs, ys = lines.setdefault("up, as counted", ([], []))
            xs.append(float(row["frames"]))
            ys.append(row["up"]["on_wire_kbit_s"])
    return [
        Chart(
            "wire", "Packet size against wire rate; each frame more adds 12.5 ms",
            "frames a packet", "kbit/s", lines, limits={"codes alone": CODES_KBIT},
        )
    ]  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return run_part(args, measure, tables)
