"""``facodec train-entropy``: learn the entropy coder's tables for a model's codes."""

from __future__ import annotations

import argparse
from pathlib import Path

from clients.options import whole_number

EXAMPLES = """\
  facodec train-entropy --data speech/train --valid speech/valid --output facodec/weights/live
  facodec train-entropy --model runs/export --data speech/train --output runs/export"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="live", help="model whose codes are learned (%(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of speech to learn from; left out: the tables in --output are measured only",
    )
    parser.add_argument(
        "--valid",
        type=Path,
        action="append",
        default=[],
        help="folder of other speech to measure on, any number of times",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("runs/cache"),
        help="where coded speech is kept (%(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=whole_number(100, 1_000_000),
        default=3000,
        help="steps of learning (%(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of the model's weights, where the tables belong",
    )


def run(arguments: argparse.Namespace) -> int:
    from clients.errors import ClientError
    from facodec.reasons import named_why

    try:
        _run(arguments)
    except (ValueError, OSError) as error:
        raise ClientError(named_why(error)) from error
    return 0


def _run(arguments: argparse.Namespace) -> None:
    import facodec
    from facodec.files import need_folder, need_place, need_speech
    from facodec.link.entropy import load_tables
    from facodec.training import entropy
    from facodec.training.coded import pack_coded

    for folder in ([] if arguments.data is None else [arguments.data]) + arguments.valid:
        need_speech(folder)
    need_folder(arguments.output)
    need_place(arguments.cache)
    codec = facodec.load(arguments.model)
    if arguments.data is not None:
        corpus = pack_coded(arguments.data, arguments.cache, codec)
        tables = entropy.learn(corpus, codec.identity, arguments.steps)
        print(entropy.save(tables, arguments.output))
    kept = load_tables(arguments.output, codec.identity)
    if kept is None:
        raise ValueError(f"{arguments.output} holds no tables for the codes of {arguments.model}")
    for folder in arguments.valid:
        valid = pack_coded(folder, arguments.cache, codec)
        for frames in (1, 4, 8):
            found = entropy.measure(valid, kept, frames)
            layers = " ".join(f"{bits:5.2f}" for bits in found["information"])
            size = found["packets"][0]
            print(
                f"{folder.name}, {frames} frames a packet: {size:.2f} bits a frame of 60 "
                f"({1 - size / 60:.0%} off); information by code {layers}"
            )
