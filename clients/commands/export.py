"""``facodec export``: a model for other runtimes."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

EXAMPLES = """\
  facodec export --out graphs/                            the bundled model, float32
  facodec export --out graphs/ --precision int8           half the size or less
  facodec export --model weights/ --out graphs/           official files, or a trained model
A program here loads the folder like any other: facodec serve --model graphs/"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="(default onnx)")
    parser.add_argument(
        "--model", metavar="NAME", default="live", help="name or folder (default live)"
    )
    parser.add_argument("--precision", choices=["float32", "int8"], default="float32",
                        help="of the weights (default float32)")  # fmt: skip
    parser.add_argument("--hops", type=int, default=1, metavar="N",
                        help="frames a call; this program runs 1, the default")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")


def run(arguments: argparse.Namespace) -> int:
    from clients.errors import ClientError, UsageError
    from facodec.extras import need

    need("onnx")
    from facodec.families import read_model
    from facodec.files import need_folder
    from facodec.loading import weights_folder
    from facodec.onnx.export import export
    from facodec.reasons import named_why, shown
    from facodec.weights.hashing import identity_of
    from facodec.weights.speakers import load_speakers, save_speakers
    from facodec.weights.timbres import load_voices, save_voices

    try:
        weights = weights_folder(arguments.model)
        if os.path.realpath(arguments.out) == os.path.realpath(weights):
            raise UsageError(
                f"{shown(arguments.out)} holds the weights that are read: graphs go into a folder "
                "of their own"
            )
        need_folder(arguments.out)
        model = read_model(weights)
        identity = identity_of(model)
        sidecar = export(model, arguments.out, arguments.precision, arguments.hops)
        if voices := load_voices(weights, identity):
            save_voices(arguments.out, voices, identity)
        if speakers := load_speakers(weights, identity):
            save_speakers(arguments.out, speakers, identity)
    except (ValueError, OSError) as error:
        raise ClientError(named_why(error)) from error
    print(f"wrote {sidecar} and the graphs it describes")
    return 0
