"""Parts of ``facodec bench`` by name: each is a module with ``add_arguments``, ``run`` and, where a
report has it, ``measure``, which is imported when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from clients.parsing import Parser

PARTS = {
    "step": "computing time per hop: batches, hops a call, backends, and other codecs beside it",
    "load": "how many live sessions a server holds before the deadline breaks",
    "latency": "mouth to ear through virtual sound devices, by stage, and the network alone",
    "attack": "what attackers can do to a server, and to the live sessions beside them",
    "soak": "half an hour of churn, loss, stalls, floods and garbage beside undisturbed sessions",
    "wire": "bits on the wire against packet size, headers included",
    "startup": "time to start, memory of a server and of each session",
    "page": "the codec in a browser's page: time per hop, and the model to fetch",
    "graphs": "exported graphs beside PyTorch: codes changed, distance, time, size",
    "gpu": "all that is to be known of a GPU: batches, precisions, captured graphs",
    "quality": "PESQ, STOI, log-mel distance and pitch of a model on a folder of speech",
    "voice": "voice conversion, the words it keeps, and what the codes leak",
    "noise": "speech in noise, noise alone, silence, voices from noisy or short recordings",
    "training": "hours of speech that an hour of one core trains on, by stage, and where it goes",
    "link": "delay, silence and words over bad paths between two namespaces, beside Opus (root)",
    "loss": "words lost against frames lost: concealed, and with gaps",
    "fuzz": "damaged and malicious inputs through the doors: sound, codes, voices, weights, ...",
    "report": "the HTML page and the documents' tables from a report that was made earlier",
}


def part_module(part: str) -> ModuleType:
    """Imports the module of a part."""
    return import_module(f"benchmarks.parts.{part}")


def parse(part: str, words: Sequence[str]) -> argparse.Namespace:
    """Options of a part, as if it had been called with these words."""
    parser = Parser(prog=f"facodec bench {part}")
    part_module(part).add_arguments(parser)
    return parser.parse_args(list(words))
