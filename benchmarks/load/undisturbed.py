"""Live sessions that do nothing wrong, to be measured while others do: their lag and their sound.

    python -m benchmarks.load.undisturbed --url ws://127.0.0.1:8765 --seconds 10 --out DIR

All say the same, with the same voice and seed, each on its own phase of the hop, so that every
one must get what the offline codec gives for it. Standard output gets the line ``talking`` as each
of them begins; DIR gets, at the end, their account as JSON, their lags and what they heard.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from argparse import ArgumentParser
from array import array
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.load.generator import generate
from benchmarks.load.session import HOP_SECONDS, Load, Media, Talker, Tally
from facodec.config import HOP, TIMBRE_DIM
from streaming.server.settings import TOKEN_VARIABLE
from streaming.wire import protocol
from streaming.wire.protocol import Audio, Codes, Hello

TALKING = "talking"
LAGS, ACCOUNT = "lags.npy", "account.json"
NEUTRAL = bytes(4 * TIMBRE_DIM)
"""The voice they are all heard in, exact: nothing is estimated."""
TAIL = 8
"""Frames at a session's end that hear silence after it, where the reference hears speech."""
ROUNDING = 1.5
"""Steps of 16 bits that one result may be from the other: 1e-5 of full scale, and rounding."""


class Media16(Media):
    """The one input that all of them send: speech from its start, over and over, as 16 bits."""

    def __init__(self, hello: Hello, speech: NDArray[np.float32]) -> None:
        super().__init__(hello, speech, seed=0)
        self._packets = [
            protocol.pcm_to_bytes(speech[at : at + HOP], "s16")
            for at in range(0, len(speech) - HOP + 1, HOP)
        ]

    def samples(self, frames: int) -> NDArray[np.float32]:
        """The first ``frames`` hops of it (frames * 200,), as a server reads them."""
        sent = b"".join(self._packets[i % len(self._packets)] for i in range(frames))
        return np.frombuffer(sent, "<i2").astype(np.float32) / 32768.0


class PatientListener(Talker):
    """A session that keeps what it hears, and when: ``lags`` holds (due, lag) pairs in s, of each
    frame from when its packet was due to be sent until it was back."""

    def __init__(self, load: Load, media: Media, tally: Tally, heard: IO[bytes]) -> None:
        super().__init__(load, media, tally)
        self._heard = heard
        self.lags = array("d")

    def begin(self, due: float) -> None:
        super().begin(due)
        if self.ready.done() and self.ready.result():
            print(TALKING, flush=True)

    def _on_media(self, message: Audio | Codes, now: float) -> None:
        super()._on_media(message, now)
        due = self._first + message.seq * HOP_SECONDS
        self.lags.extend((due, now - due))
        self._heard.write(message.data)


async def listen(load: Load, speech: NDArray[np.float32], out: Path) -> Tally:
    """Runs the sessions until SIGTERM or the end of their time; writes what they kept."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    listeners: list[PatientListener] = []
    files: list[IO[bytes]] = []

    def make(index: int, tally: Tally) -> Talker:
        files.append(open(out / f"heard-{index}.s16", "wb"))  # noqa: SIM115
        listeners.append(PatientListener(load, Media16(load.hello, speech), tally, files[-1]))
        return listeners[-1]

    try:
        tally = await generate(load, speech, stopped, make)
    finally:
        for file in files:
            file.close()
        pairs = [np.asarray(one.lags, np.float64).reshape(-1, 2) for one in listeners]
        np.save(out / LAGS, np.concatenate([np.zeros((0, 2)), *pairs]))
    return tally


def hello(token: str | None = None) -> Hello:
    """The hello of each session."""
    return Hello("loopback", "pcm", "pcm", pcm="s16", voice=NEUTRAL, token=token)


def inexact(folder: Path, speech: NDArray[np.float32]) -> dict[str, Any]:
    """Compares what the sessions heard with the offline codec: ``frames`` compared and
    ``inexact`` among them, over all sessions; ``worst`` difference in steps of 16 bits."""
    import facodec

    sounds = [np.fromfile(path, "<i2") for path in sorted(folder.glob("heard-*.s16"))]
    frames = [max(0, len(sound) // HOP - TAIL) for sound in sounds]
    codec = facodec.load("live")
    encoder = codec.encoder_stream()
    decoder = codec.decoder_stream(np.zeros(TIMBRE_DIM, np.float32))
    said = Media16(hello(), speech).samples(max(frames, default=0) + TAIL)
    pieces = [
        decoder.push(encoder.push(said[at : at + TAIL * HOP]))
        for at in range(0, len(said), TAIL * HOP)
    ]
    right = np.concatenate([np.zeros(0, np.float32), *pieces]) * 32768.0
    wrong, worst = 0, 0.0
    for sound, count in zip(sounds, frames, strict=True):
        size = min(count * HOP, len(right) // HOP * HOP)
        apart = np.abs(sound[:size] - np.clip(right[:size], -32768, 32767)).reshape(-1, HOP)
        if apart.size:
            wrong += int((apart.max(axis=1) > ROUNDING).sum())
            worst = max(worst, float(apart.max()))
    return {"frames": sum(frames), "inexact": wrong, "worst": round(worst, 2)}


def speech() -> NDArray[np.float32]:
    """Speech of the sessions (n,) float32, n a multiple of the hop."""
    import soundfile

    from clients.offline.voicebook import BUNDLED

    samples, _ = soundfile.read(BUNDLED["slt"], dtype="float32")
    return np.asarray(samples[: len(samples) // HOP * HOP], np.float32)


def main() -> int:
    parser = ArgumentParser(prog="python -m benchmarks.load.undisturbed", allow_abbrev=False)
    parser.add_argument("--url", required=True)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of their phases")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    asked = hello(os.environ.get(TOKEN_VARIABLE) or None)
    load = Load(
        options.url, options.sessions, options.seconds, asked, settle=0.0, seed=options.seed
    )
    work = listen(load, speech(), options.out)
    try:
        import uvloop

        tally = uvloop.run(work)
    except ImportError:
        tally = asyncio.run(work)
    (options.out / ACCOUNT).write_text(json.dumps(tally.to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
