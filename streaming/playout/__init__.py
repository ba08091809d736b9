"""Playing sound out on time: a jitter buffer, and a ring of samples."""

from __future__ import annotations

from facodec import renamed

__getattr__ = renamed.attributes(
    __name__,
    {
        "PlayoutBuffer": "streaming.playout.buffer.PlayoutBuffer",
        "PlayoutCounters": "streaming.playout.buffer.PlayoutCounters",
        "PlayoutSettings": "streaming.playout.buffer.PlayoutSettings",
        "lengthen": "streaming.playout.splices.lengthen",
        "shorten": "streaming.playout.splices.shorten",
    },
)
