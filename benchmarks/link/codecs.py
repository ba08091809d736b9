"""Contenders of the benchmark: what is started at both ends of a path for each of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from facodec.config import SAMPLE_RATE

if TYPE_CHECKING:
    from benchmarks.link.sound import Audio

ROOM = "talk"


@dataclass(frozen=True)
class Contender:
    """A way to speak. ``frames``: frames a packet in ``facodec.v2``; ``opus_ms``: a packet of Opus;
    one of them is None. ``redundancy``: over QUIC, packets from one to its repeat, 0 for none;
    None: over TCP."""

    name: str
    frames: int | None = None
    opus_ms: int | None = None
    redundancy: int | None = None

    @property
    def over_quic(self) -> bool:
        """Whether it goes over QUIC."""
        return self.redundancy is not None

    def offline(self, said: Audio) -> Audio:
        """The talk (n,) through the codec alone, in its place."""
        if self.opus_ms is not None:
            from benchmarks.link.opus import offline

            return offline(said, SAMPLE_RATE * self.opus_ms // 1000)
        import facodec

        codec = facodec.load()
        coded = codec.encode(said)
        return codec.decode(coded.codes, coded.timbre)[: len(said)]

    def listener(self, url: str, far: str, out: str) -> list[str]:
        """Command at the far end, ``far`` its address."""
        if self.opus_ms is not None:
            return [*self._opus(out), far]
        return [*_client(out), "listen", ROOM, *self._session(url)]

    def talker(self, url: str, far: str, said: str, out: str) -> list[str]:
        """Command at the near end."""
        if self.opus_ms is not None:
            return [*self._opus(out), "--said", said, far]
        own = ("--said", said)
        return [*_client(out), *own, "publish", ROOM, *self._session(url), "--talker", "none"]

    def _opus(self, out: str) -> list[str]:
        words = ("--out", out, "--frame-ms", str(self.opus_ms))
        return [sys.executable, "-m", "benchmarks.link.opus", *words]

    def _session(self, url: str) -> Sequence[str]:
        own = ["--frames-per-packet", str(self.frames)]
        if self.over_quic:
            own += ["--redundancy", str(self.redundancy)]
        return ("--server", url, "--local", "--reconnect", "--json", *own)


def _client(out: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.link.client", "--out", out]


CONTENDERS = {
    "v2-4": Contender("facodec.v2, 4 frames", frames=4),
    "v2-1": Contender("facodec.v2, 1 frame", frames=1),
    "quic-4": Contender("facodec.v2, 4 frames, QUIC", frames=4, redundancy=0),
    "quic-4-2": Contender("facodec.v2, 4 frames, QUIC, repeats", frames=4, redundancy=2),
    "opus-20": Contender("Opus 6, 20 ms", opus_ms=20),
    "opus-60": Contender("Opus 6, 60 ms", opus_ms=60),
}
