"""A live command on virtual sound devices, in a process of its own.

    python -m benchmarks.link.client --said said.npy --out mouth.npz publish ROOM --local ...
    python -m benchmarks.link.client --out ear.npz listen ROOM --local ...

Standard input tells when to begin to speak (monotonic s). ``--out`` gets ``began``, the time of the
first sample said or heard, and of a listener ``heard`` (n,) and ``arrivals`` (m, 2): time and
samples of each packet that came to be played.
"""

from __future__ import annotations

import argparse
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.link.sound import Audio, Ear, Mouth, install
from clients.commands import listen, publish
from clients.errors import ClientError
from streaming.playout.buffer import PlayoutBuffer

COMMANDS = {"publish": publish, "listen": listen}


def watch_playout() -> list[tuple[float, int]]:
    """Time and samples of each packet that any playout buffer of this process takes from now on;
    the list grows."""
    arrivals: list[tuple[float, int]] = []
    push = PlayoutBuffer.push

    def noted(
        self: PlayoutBuffer, samples: Audio, now: float, surplus: int = 0, **told: bool
    ) -> float:
        arrivals.append((now, len(samples)))
        return push(self, samples, now, surplus, **told)

    setattr(PlayoutBuffer, "push", noted)  # noqa: B010 - no attribute of ours
    return arrivals


def await_order(mouth: Mouth) -> None:
    """Has the mouth begin when standard input says so."""

    def read() -> None:
        if line := sys.stdin.readline():
            mouth.begin(float(line))

    threading.Thread(target=read, daemon=True).start()


def parser() -> argparse.ArgumentParser:
    """Returns the parser of this program, those of its commands inside."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.link.client", allow_abbrev=False)
    made.add_argument("--said", type=Path, help="samples (n,) to say, of a publisher")
    made.add_argument("--out", type=Path, required=True)
    commands = made.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, allow_abbrev=False))
    return made


def main() -> int:
    args = parser().parse_args()
    found: dict[str, Any]
    if args.said is None:
        ear, arrivals = Ear(), watch_playout()
        install(None, ear)
        status = _run(args)
        found = {"began": ear.began, "heard": ear.heard, "arrivals": arrivals}
    else:
        mouth = Mouth(np.load(args.said))
        await_order(mouth)
        install(mouth, None)
        status = _run(args)
        found = {"began": mouth.began}
    if found["began"] is not None:
        np.savez(args.out, **found)
    return status


def _run(args: argparse.Namespace) -> int:
    try:
        status: int = COMMANDS[args.command].run(args)
        return status
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
