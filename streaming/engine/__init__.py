"""Many streams in turns of one model's threads."""

from __future__ import annotations

from facodec import renamed

__getattr__ = renamed.attributes(
    __name__,
    {
        "Engine": "streaming.engine.engine.Engine",
        "Outcome": "streaming.engine.streams.Outcome",
        "Stream": "streaming.engine.streams.Stream",
    },
)
