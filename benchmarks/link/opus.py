"""Opus over RTP and UDP, as telephones on the Internet speak: the peer on the same paths.

    python -m benchmarks.link.opus --frame-ms 20 --said said.npy --out mouth.npz 10.77.0.2
    python -m benchmarks.link.opus --frame-ms 20 --out ear.npz 10.77.0.2

Options and files as in :mod:`benchmarks.link.client`; ends when standard input does.
"""

from __future__ import annotations

import argparse
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.link.sound import Audio, Device, Ear, Mouth
from benchmarks.peers.libopus import OpusDecoder, OpusEncoder, as_integers
from facodec.config import SAMPLE_RATE

PORT = 5004
BITRATE = 6_000
RTP = struct.Struct(">BBHII")
VERSION, TYPE, SOURCE = 0x80, 96, 1
EAR_BLOCK = 160
"""Samples that the loudspeaker asks for at once."""
FULL_SCALE = 32768.0


class JitterBuffer:
    """Packets of speech by number, heard at a delay that follows the jitter measured lately.

    ``decode``: a packet, or None to conceal one, to samples. ``seconds``: of a packet.

    A packet that is not there when its time comes is concealed; one that comes later is dropped.
    Where the delay is too short, it grows by concealing one more; where it is too long, a packet
    is left out, at most one in five, or all at once where it is far too long.
    """

    WINDOW = 4.0
    """Seconds of which jitter is reckoned."""
    QUANTILE, MARGIN = 0.97, 0.01
    """Share of packets that are to be in time, and s beyond that."""
    FAR = 0.3
    LEAST_APART = 5
    """Packets from one that is left out to the next."""

    def __init__(self, decode: Callable[[bytes | None], Audio], seconds: float) -> None:
        self._decode, self._seconds = decode, seconds
        self._packets: dict[int, bytes] = {}
        self._transits: deque[float] = deque(maxlen=round(self.WINDOW / seconds))
        self._next: int | None = None
        self._since_cut = 0
        self._rest = np.zeros(0, np.float32)

    def push(self, number: int, packet: bytes, now: float) -> None:
        """Takes the packet of this number, counted without wrapping, that comes ``now`` (s)."""
        self._transits.append(now - number * self._seconds)
        if self._next is None or number >= self._next:
            self._packets[number] = packet

    def pull(self, count: int, now: float) -> Audio:
        """Samples (count,) to be heard from ``now`` (s) on; silence before the first packet."""
        while len(self._rest) < count:
            if not self._ready(now):
                return np.zeros(count, np.float32)
            self._rest = np.concatenate([self._rest, self._packet(now)])
        out, self._rest = self._rest[:count], self._rest[count:]
        return out

    def _ready(self, now: float) -> bool:
        if self._next is None and self._packets:
            first = min(self._packets)
            if self._age(first, now) >= self._wanted():
                self._next = first
        return self._next is not None

    def _age(self, number: int, now: float) -> float:
        """Seconds since a packet could have come at the earliest."""
        return now - number * self._seconds - min(self._transits)

    def _wanted(self) -> float:
        """The age at which packets are to be heard."""
        transits = np.array(self._transits)
        if len(transits) < 10:
            return self._seconds + self.MARGIN
        return float(np.quantile(transits - transits.min(), self.QUANTILE)) + self.MARGIN

    def _packet(self, now: float) -> Audio:
        """The next packet's samples."""
        assert self._next is not None
        excess = self._age(self._next, now) - self._wanted()
        self._since_cut += 1
        if excess > self.FAR:
            self._skip(int(excess / self._seconds))
        elif excess > self._seconds and self._since_cut >= self.LEAST_APART:
            self._skip(1)
        packet = self._packets.pop(self._next, None)
        if packet is not None or excess >= 0:
            self._next += 1
        return self._decode(packet)

    def _skip(self, count: int) -> None:
        assert self._next is not None
        for number in range(self._next, self._next + count):
            self._packets.pop(number, None)
        self._next += count
        self._since_cut = 0


class Unwrapped:
    """Numbers of 16 bits that wrap around, as whole ones."""

    def __init__(self) -> None:
        self._newest = 0

    def __call__(self, number: int) -> int:
        ahead = (number - self._newest + 0x8000) % 0x10000 - 0x8000
        whole = self._newest + ahead
        self._newest = max(self._newest, whole)
        return whole


def offline(said: Audio, frame: int) -> Audio:
    """Sound (n,) through the codec alone, aligned with what was said."""
    encoder, decoder = OpusEncoder(BITRATE), OpusDecoder(frame)
    padded = as_integers(np.pad(said, (0, 2 * frame - len(said) % frame)))
    frames = [np.ascontiguousarray(each) for each in padded.reshape(-1, frame)]
    decoded = [_floats(decoder.decode(encoder.encode(each))) for each in frames]
    return np.concatenate(decoded)[encoder.look_ahead :][: len(said)]


def _floats(samples: np.ndarray) -> Audio:
    return np.asarray(samples / FULL_SCALE, np.float32)


def talk(mouth: Mouth, frame: int, address: tuple[str, int]) -> None:
    """Sends what the mouth says until standard input ends."""
    encoder, count = OpusEncoder(BITRATE), 0
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect(address)

    def send(due: float) -> None:
        nonlocal count
        samples = as_integers(mouth.block(due - frame / SAMPLE_RATE, frame))
        head = RTP.pack(VERSION, TYPE, count & 0xFFFF, count * frame * 3 & 0xFFFFFFFF, SOURCE)
        count += 1
        try:
            link.send(head + encoder.encode(samples))
        except OSError:
            return  # nobody listens yet

    device = Device(frame, send)
    device.start()
    for line in sys.stdin:
        mouth.begin(float(line))
    device.stop()


def hear(ear: Ear, frame: int, address: tuple[str, int]) -> list[tuple[float, int]]:
    """Plays what comes until standard input ends; time and samples of each packet."""
    decoder, arrivals, whole = OpusDecoder(frame), list[tuple[float, int]](), Unwrapped()
    buffer = JitterBuffer(lambda packet: _floats(decoder.decode(packet)), frame / SAMPLE_RATE)
    lock = threading.Lock()
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(address)

    def receive() -> None:
        while True:
            data = link.recv(2048)
            now = time.monotonic()
            with lock:
                arrivals.append((now, frame))
                buffer.push(whole(RTP.unpack_from(data)[2]), data[RTP.size :], now)

    def play(due: float) -> None:
        with lock:
            block = buffer.pull(EAR_BLOCK, time.monotonic())
        ear.hear(due, block)

    threading.Thread(target=receive, daemon=True).start()
    device = Device(EAR_BLOCK, play)
    device.start()
    sys.stdin.read()
    device.stop()
    return arrivals


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.link.opus", allow_abbrev=False)
    add = parser.add_argument
    add("address", help="where it is heard")
    add("--frame-ms", type=int, default=20)
    add("--said", type=Path)
    add("--out", type=Path, required=True)
    args = parser.parse_args()
    frame, address = SAMPLE_RATE * args.frame_ms // 1000, (args.address, PORT)
    # To be asked to end is to be told by the end of the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    if args.said is None:
        ear = Ear()
        arrivals = hear(ear, frame, address)
        if ear.began is not None:
            np.savez(args.out, began=ear.began, heard=ear.heard, arrivals=np.array(arrivals))
    else:
        mouth = Mouth(np.load(args.said))
        talk(mouth, frame, address)
        if mouth.began is not None:
            np.savez(args.out, began=mouth.began)
    return 0


if __name__ == "__main__":
    sys.exit(main())
