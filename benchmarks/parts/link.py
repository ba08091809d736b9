"""``facodec bench link``: talks over bad paths between two network namespaces, beside Opus.

The commands of clients and server run as users run them, on virtual sound devices that keep time
to the sample; a program between the namespaces delays, drops and throttles IP packets, so that loss
and outages act on TCP as they do outside.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.kit.common import Result, add_common, duration, reason, run_part, say, whole_number
from benchmarks.kit.present import Cell, Chart, Table
from facodec.files import LARGEST_TEXT, read_text, write_text

if TYPE_CHECKING:
    from benchmarks.link.codecs import Contender
    from benchmarks.link.conditions import Path as Conditions
    from benchmarks.link.speech import Talk

T = TypeVar("T")

EXAMPLES = """\
  sudo facodec bench link --data speech/valid        all paths, about half an hour
  sudo facodec bench link --path clean --path loss-5 just these
  sudo facodec bench link --path kbit-12 --codec v2-4 --seconds 600
  sudo facodec bench link --side down                the path lies between server and listener
  sudo facodec bench link --data speech/valid --write docs/link.md
                                                     table and picture into the document
Needs root, for network namespaces. Words need flite and pocketsphinx, Opus needs libopus.
"""
SECONDS, QUICK_SECONDS = 60.0, 15.0
AT_ONCE = 3
PICTURED = ("clean", "loss-5", "kbit-16", "outage-1", "outage-5", "edge")
PICTURED_CODECS = ("v2-4", "opus-20")
OPENING, CLOSING = "<!-- paths -->\n", "<!-- end -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_common(parser, EXAMPLES)
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="folder of speech (default: the bundled sample)")
    add("--seconds", type=duration, help="of each talk (default 60, 15 if quick)")
    add("--path", action="append", metavar="NAME", help="repeat for more (default: all)")
    add(
        "--codec",
        action="append",
        metavar="NAME",
        help="v2-4, v2-1, quic-4, quic-4-2, opus-20, opus-60 (all)",
    )
    add("--side", choices=("up", "down"), default="up",
        help="the path lies before the server or behind it (default %(default)s)")  # fmt: skip
    add("--at-once", type=whole_number, default=AT_ONCE, metavar="N",
        help="talks at the same time, each over its own path (default %(default)s)")  # fmt: skip
    add("--write", type=Path, metavar="FILE", help="put table and picture into this document")


def measure(args: argparse.Namespace, result: Result) -> None:
    """Fills ``rows``, one for each path and contender, with figures or ``failed``, and ``delays``
    over time; ``codecs``: share of words wrong of each contender without any path."""
    from benchmarks.link import conditions, namespaces
    from benchmarks.link.codecs import CONTENDERS
    from benchmarks.link.speech import compose
    from benchmarks.speech.words import missing_tools

    if lacking := namespaces.missing():
        raise ValueError(lacking)
    if args.write and not args.write.is_file():
        raise ValueError(f"expected a document at {args.write}, got none")
    seconds = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    chosen = conditions.only(args.path, seconds)
    contenders = _contenders(args.codec, CONTENDERS)
    without_words = missing_tools()
    talk = compose(seconds, args.data, spoken=without_words is None)
    result.update(seconds=seconds, side=args.side, rows=[], codecs={}, notes=[])
    if without_words:
        result["notes"].append(f"words were not counted: {without_words}")
    bench = _Bench(talk, args, result)
    for key, contender in contenders.items():
        bench.meet(key, contender)
    stop = threading.Event()
    talks = [
        partial(bench.carry, name, path, key, contender, stop)
        for name, path in chosen
        for key, contender in contenders.items()
    ]
    carried = []
    for number, (row, heard) in enumerate(side_by_side(talks, args.at_once, stop), start=1):
        carried.append((row, heard))
        say(f"link: {number} of {len(talks)}, {row['path']}, {row['codec']}")
    # Not meanwhile: to judge takes what computing time there is.
    for number, each in enumerate(carried, start=1):
        result["rows"].append(bench.judge(*each))
        say(f"link: {number} of {len(talks)} judged")


def side_by_side(
    works: Sequence[Callable[[], T]], at_once: int, stop: threading.Event
) -> Generator[T, None, None]:
    """Yields the results of ``works`` in order, so many running at a time. After an error or Ctrl-C
    ``stop`` is set, by which those under way end, and no other begins."""
    with ThreadPoolExecutor(at_once) as pool:
        jobs = [pool.submit(work) for work in works]
        try:
            for job in jobs:
                yield job.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            if any(job.running() for job in jobs):
                say("link: ending the talks under way")
            raise


def _contenders(names: list[str] | None, known: dict[str, Contender]) -> dict[str, Contender]:
    from benchmarks.peers.libopus import library
    from facodec.extras import need

    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"expected codecs of {', '.join(known)}, got {', '.join(unknown)}")
    chosen = {key: one for key, one in known.items() if names is None or key in names}
    if any(one.opus_ms for one in chosen.values()):
        library()
    if any(one.over_quic for one in chosen.values()):
        need("quic")
    return chosen


class _Bench:
    """A talk, what each contender makes of it alone, and who counts words."""

    def __init__(self, talk: Talk, args: argparse.Namespace, result: Result) -> None:
        self._talk, self._seed, self._side = talk, args.seed, args.side
        self._codecs = result["codecs"]
        self._references: dict[str, Any] = {}
        self._recogniser: Any = None
        self._words = sum(len(each.words) for each in talk.sentences)

    def meet(self, key: str, contender: Contender) -> None:
        """Puts the talk through a contender's codec alone."""
        import numpy as np

        from benchmarks.link.hearing import Heard

        sound = contender.offline(self._talk.audio)
        self._references[key] = sound
        times = np.arange(0, len(sound) / 16_000, 0.1)
        alone = np.stack([times, np.zeros(len(times))], axis=1)
        self._codecs[key] = self._wrong(Heard(sound, 0.0, times), alone)

    def carry(
        self, name: str, path: Conditions, key: str, contender: Contender, stop: threading.Event
    ) -> tuple[dict[str, Any], Any]:
        """The talk over a path; None, with the reason in the row, where it does not come about, or
        is told to ``stop``."""
        from benchmarks.link.runs import carry

        row = {"path": path.name, "key": name, "codec": contender.name, "codec_key": key,
               "outages": path.outages}  # fmt: skip
        try:
            said = self._talk.audio
            return row, carry(name, path, contender, said, self._seed, self._side, stop)
        except (ValueError, OSError) as error:
            return {**row, "failed": reason(error)}, None

    def judge(self, row: dict[str, Any], outcome: Any) -> dict[str, Any]:
        """The row with its figures."""
        from benchmarks.link.hearing import figures

        if outcome is None:
            return row
        row |= {"there_kbps": outcome.there_kbps, "back_kbps": outcome.back_kbps}
        row["link"] = outcome.told.get("link")
        try:
            found, points = figures(
                self._references[row["codec_key"]], outcome.heard, row["outages"]
            )
        except ValueError as error:
            return {**row, "failed": reason(error)}
        row |= found
        row["wrong_words"] = self._wrong(outcome.heard, points)
        row["delays"] = [[round(at, 2), round(delay * 1e3, 1)] for at, delay in points.tolist()]
        return row

    def _wrong(self, heard: Any, points: Any) -> float | None:
        """Share of words that are not heard as said; None where none can be told."""
        from benchmarks.link.hearing import wrong_words
        from benchmarks.speech.words import Pocketsphinx

        if not self._words:
            return None
        self._recogniser = self._recogniser or Pocketsphinx()
        sentences = self._talk.sentences
        return wrong_words(sentences, heard, points, self._recogniser.hear) / self._words


COLUMNS = (
    "path", "codec", "kbit/s there", "back", "delay p50, ms", "p99", "live again, s",
    "1 s after a stall, ms", "silence, s", "words wrong",
)  # fmt: skip


def tables(result: Result) -> list[Table]:
    if not result.get("rows"):
        return []
    rows: list[list[Cell]] = []
    for row in result["rows"]:
        head: list[Cell] = [row["path"], row["codec"]]
        if "failed" in row:
            rows.append([*head, row.get("there_kbps"), row.get("back_kbps"), row["failed"],
                         *[None] * (len(COLUMNS) - 5)])  # fmt: skip
            continue
        wrong = row["wrong_words"]
        rows.append(
            [
                *head, row["there_kbps"], row["back_kbps"], row["p50_ms"], row["p99_ms"],
                row["live_again_s"], row["late_after_stalls_ms"], row["silence_s"],
                None if wrong is None else f"{wrong:.0%}",
            ]
        )  # fmt: skip
    alone = ", ".join(
        f"{key} {share:.0%}" for key, share in result["codecs"].items() if share is not None
    )
    return [
        Table(
            "paths",
            f"Talks of {result['seconds']:g} s over paths, mouth to ear: delay of what was heard, "
            "time from the end of an outage until it is live again, most that the delay is longer "
            f"than at first 1 s and more after a stall, silence put in; the path lies "
            f"{'before' if result['side'] == 'up' else 'behind'} the server",
            COLUMNS, rows, f"Words wrong without any path: {alone}." if alone else "",
        )
    ]  # fmt: skip


def charts(result: Result) -> list[Chart]:
    """Delay over time of some paths, the codecs beside each other."""
    made = []
    for key in PICTURED:
        rows = {
            row["codec"]: row
            for row in result.get("rows", [])
            if row["key"] == key and row["codec_key"] in PICTURED_CODECS and row.get("delays")
        }
        if rows:
            lines = {
                name: ([p[0] for p in row["delays"]], [p[1] for p in row["delays"]])
                for name, row in rows.items()
            }
            title = next(iter(rows.values()))["path"]
            made.append(Chart(key, title, "s", "delay, ms", lines))
    return made


def run(args: argparse.Namespace) -> int:
    made: Result = {}
    status = run_part(args, measure, tables, made)
    if args.write and made.get("rows"):
        write(args.write, made)
    return status


def write(document: Path, result: Result) -> None:
    """Puts the table between the document's markers, and the picture beside it. Raises ValueError
    without markers."""
    from benchmarks.link.picture import small_multiples

    text = read_text(document, LARGEST_TEXT)
    head, opening, rest = text.partition(OPENING)
    _, closing, tail = rest.partition(CLOSING)
    if not (opening and closing):
        raise ValueError(f"expected {OPENING.strip()} and {CLOSING} in {document}, got none")
    (table,) = tables(result)
    body = "\n\n".join(filter(None, (f"{table.title}.", table.markdown(), table.note)))
    picture = document.with_suffix(".svg")
    write_text(picture, small_multiples(charts(result)))
    image = f"![Delay over time]({picture.name})"
    write_text(document, f"{head}{opening}\n{body}\n\n{image}\n\n{closing}{tail}")
