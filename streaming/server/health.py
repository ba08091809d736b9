"""State of a server, for /healthz and /metrics."""

from __future__ import annotations

from typing import Any

from streaming.server.runtime import Runtime


def status_of(runtime: Runtime) -> str:
    """The one word that anybody is told."""
    return "draining" if runtime.draining else "ok"


def health_of(runtime: Runtime) -> dict[str, Any]:
    """State of a server as JSON: its models and voices, sessions, load and counters."""
    return {
        "status": status_of(runtime),
        "models": list(runtime.codecs),
        "identities": [str(codec.identity) for codec in runtime.codecs.values()],
        "voices": runtime.voice_names,
        "about_voices": runtime.about_voices,
        "keeps_voices": runtime.settings.keep_voices is not None,
        "sessions": runtime.occupancy.computing,
        "publishers": runtime.occupancy.publishers,
        "listeners": runtime.occupancy.listeners,
        "unknown": runtime.occupancy.unknown,
        "parked": len(runtime.parking),
        "capacity": runtime.places(),
        "load": round(runtime.engine.load, 4),
        "slowness": round(runtime.slowness.value, 3),
        "measured": {name: one.to_json() for name, one in runtime.measured.items()},
        "memory": runtime.memory(),
        "rooms": len(runtime.rooms),
        "streams": runtime.engine.streams,
        "backlog_frames": round(runtime.engine.backlog, 3),
        "uptime_s": round(runtime.clock() - runtime.started, 3),
        "metrics": runtime.metrics.to_json(),
    }


def prometheus_of(runtime: Runtime) -> str:
    """State of a server as the text that Prometheus reads."""
    gauges = {
        "sessions": runtime.occupancy.computing,
        "publishers": runtime.occupancy.publishers,
        "listeners": runtime.occupancy.listeners,
        "unknown": runtime.occupancy.unknown,
        "parked": len(runtime.parking),
        "capacity": runtime.places(),
        "load": runtime.engine.load,
        "slowness": runtime.slowness.value,
        **runtime.memory(),
        "rooms": len(runtime.rooms),
        "streams": runtime.engine.streams,
        "backlog_frames": runtime.engine.backlog,
        "uptime_seconds": runtime.clock() - runtime.started,
    }
    return runtime.metrics.to_prometheus(gauges)
