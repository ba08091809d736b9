"""Traces of packets for playout buffers, and what the one in Python decides about them.

The page's buffer has to decide the same: ``python -m tests.traces`` writes tests/data/playout.json,
which tests give to both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from streaming.playout.buffer import PlayoutBuffer, PlayoutSettings

FILE = Path(__file__).parent / "data" / "playout.json"
PERIOD = 0.0125
LOOK_EVERY = 8
"""Blocks between two levels that are written down."""


def sound(start: int, count: int) -> np.ndarray:
    """Samples (count,) from number ``start`` on of a noise that any language can make."""
    at = np.arange(start, start + count, dtype=np.int64)
    return ((at * 7919 + (at * at % 1009) * 131) % 2001 - 1000).astype(np.float32) / 2000


def decide(trace: dict[str, Any]) -> dict[str, Any]:
    """Levels and counters of a buffer that gets packets at ``arrivals`` (s) and gives blocks."""
    rate, packet, block = trace["rate"], trace["packet"], trace["block"]
    buffer = PlayoutBuffer(PlayoutSettings(rate=rate))
    arrivals, levels, waits, sent = list(trace["arrivals"]), [], [], 0
    for index in range(int(trace["seconds"] * rate / block)):
        while arrivals and arrivals[0] <= index * block / rate:
            waits.append(round(buffer.push(sound(sent, packet), arrivals.pop(0)), 4))
            sent += packet
        buffer.pull(block)
        if index % LOOK_EVERY == 0:
            levels.append(buffer.level)
    return {
        "levels": levels,
        "waits": waits[::LOOK_EVERY],
        "target": buffer.target,
        "counters": buffer.counters.as_dict(),
    }


def _steady(seconds: float, period: float = PERIOD) -> list[float]:
    return [0.004 + i * period for i in range(int(seconds / period))]


def _jittery(seconds: float, spread: float) -> list[float]:
    late = np.random.default_rng(3).exponential(spread, int(seconds / PERIOD))
    return list(np.maximum.accumulate(np.array(_steady(seconds)) + late))


def _normal(seconds: float, mean: float, spread: float) -> list[float]:
    late = np.random.default_rng(5).normal(mean, spread, int(seconds / PERIOD))
    return list(np.maximum.accumulate(np.array(_steady(seconds)) + np.maximum(late, 0)))


def _stalled(seconds: float, start: float, length: float) -> list[float]:
    return [max(t, start + length) if start <= t < start + length else t for t in _steady(seconds)]


def _trace(name: str, arrivals: list[float], seconds: float, **shape: int) -> dict[str, Any]:
    whole = {"rate": 16000, "packet": 200, "block": 128, **shape}
    trace = {"name": name, **whole, "seconds": seconds, "arrivals": [round(t, 4) for t in arrivals]}
    return {**trace, "decisions": decide(trace)}


def main() -> None:
    traces = [
        _trace("steady", _steady(1.0), 1.5),
        _trace("a stall, then everything at once", _stalled(8.0, 2.0, 0.3), 8.0),
        _trace("an outage of a second", _stalled(4.5, 1.5, 1.0), 4.5),
        _trace("an outage of five seconds", _stalled(8.5, 1.5, 5.0), 8.5),
        _trace("a short stall of packets of 50 ms", _stalled(4.0, 1.5, 0.15)[::4], 4.0, packet=800),
        _trace("a stall of packets of 200 ms", _stalled(6.0, 1.5, 0.35)[::16], 6.0, packet=3200),
        _trace("a packet a little too late", _stalled(4.0, 1.5, 0.05), 4.0),
        _trace("twice as much at once", sorted([*_steady(3.0), *_steady(1.06)[-6:]]), 4.0),
        _trace("jitter", _jittery(8.0, 0.008), 8.0),
        _trace("a slow sender", _steady(6.0, PERIOD * 1.005), 6.0),
        _trace("a fast sender", _steady(6.0, PERIOD * 0.99), 6.0),
        _trace("more than fits", [0.01] * 60 + [1.0 + t for t in _steady(1.0)], 2.5),
        _trace("jitter of 20 ms about 50", _normal(6.0, 0.05, 0.02), 6.0),
        _trace("a device at 48 kHz", _stalled(4.0, 1.0, 0.1), 4.0, rate=48000, packet=600),
    ]
    lines = ",\n".join(json.dumps(trace, separators=(",", ":")) for trace in traces)
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
