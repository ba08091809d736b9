"""``facodec bench``: all of it in one report, or one part. Each part is a module of its own, which
is imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from facodec.files import need_folder, need_writable

PARTS = {
    "step": "computing time per hop: batches, hops a call, backends, and other codecs beside it",
    "load": "how many live sessions a server holds before the deadline breaks",
    "latency": "mouth to ear through virtual sound devices, by stage, and the network alone",
    "attack": "what attackers can do to a server, and to the live sessions beside them",
    "soak": "half an hour of churn, loss, stalls, floods and garbage beside undisturbed sessions",
    "wire": "bits on the wire against packet size, headers included",
    "startup": "time to start, memory of a server and of each session",
    "graphs": "exported graphs beside PyTorch: codes changed, distance, time, size",
    "gpu": "all that is to be known of a GPU: batches, precisions, captured graphs",
    "quality": "PESQ, STOI, log-mel distance and pitch of a model on a folder of speech",
    "voice": "voice conversion, the words it keeps, and what the codes leak",
    "training": "hours of speech that an hour of one core trains on, by stage, and where it goes",
    "fuzz": "damaged and malicious inputs through the doors: sound, codes, voices, weights, ...",
    "report": "the HTML page and the documents' tables from a report that was made earlier",
}
MODULES = {"report": "report_command"}
SUITE = "suite"


class _Lazy(argparse.ArgumentParser):
    """A part's parser, which gets its options when it is used: numpy and torch take their time."""

    def __init__(self, *words: Any, module: str = "", **options: Any) -> None:
        super().__init__(*words, **{"allow_abbrev": False, **options})
        self._module = module

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._module:
            module, self._module = self._module, ""
            import_module(f"benchmarks.{module}").add_arguments(self)
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from benchmarks import suite

    suite.add_arguments(parser)
    parts = parser.add_subparsers(
        dest="part", required=False, metavar="PART", title="parts", parser_class=_Lazy
    )
    for name, summary in PARTS.items():
        text = f"{summary[0].upper()}{summary[1:]}."
        parts.add_parser(name, help=summary, description=text, module=module_of(name))


def module_of(part: str) -> str:
    """Name of a part's module in this package."""
    return MODULES.get(part, part)


def parse(part: str, words: Sequence[str]) -> argparse.Namespace:
    """The options of a part, as if it had been called with these words."""
    parser = argparse.ArgumentParser(prog=f"facodec bench {part}", allow_abbrev=False)
    import_module(f"benchmarks.{module_of(part)}").add_arguments(parser)
    return parser.parse_args(list(words))


def run(args: argparse.Namespace) -> int:
    _check_outputs(args)
    import numpy  # noqa: F401 - torch's own import of it swallows a Ctrl-C

    name = module_of(args.part) if args.part else SUITE
    result: int = import_module(f"benchmarks.{name}").run(args)
    return result


def _check_outputs(args: argparse.Namespace) -> None:
    """Before a quarter of an hour of work: what is to be written can be. Raises FileError."""
    folder = getattr(args, "out", None)
    if folder is not None:
        need_folder(folder)
    for name in ("save_baseline", "html"):
        if (path := getattr(args, name, None)) is not None:
            need_writable(path)
