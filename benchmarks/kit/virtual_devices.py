"""A microphone and a loudspeaker without a sound card: PulseAudio null sinks, and `facodec talk`
between them.

The virtual mouth is a sink whose monitor is the microphone; what the loudspeaker plays is recorded
from its monitor. Both are recorded with the time of arrival, which gives the delay mouth to ear.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]
TOOLS = ("pulseaudio", "pactl", "paplay", "parec")
WINDOW = SAMPLE_RATE // 4
DEADLINE = 120.0
"""Seconds after which waiting for another process is given up."""


STARTED: list[subprocess.Popen[Any]] = []
"""Killed by :func:`end_all` if what started them failed and left them behind."""


def end_all() -> None:
    """Kill every recorder and client that is still running."""
    for process in STARTED:
        process.kill()
        process.wait(DEADLINE)


def missing_tools() -> list[str]:
    """Command-line tools that the virtual devices need and this machine lacks."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


class Pulse:
    """A PulseAudio of our own with a mouth (its monitor is the microphone) and a speaker."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        address = f"unix:{folder}/native"
        self.env = os.environ | {
            "PULSE_SERVER": address, "PULSE_SOURCE": "mic", "PULSE_SINK": "speaker",
            "XDG_STATE_HOME": str(folder / "state"),  # no talker remembered elsewhere
        }  # fmt: skip
        shape = "rate=16000 channels=1 format=s16le norewinds=1"
        modules = (
            f"module-native-protocol-unix auth-anonymous=1 socket={folder}/native",
            f"module-null-sink sink_name=mouth {shape}",
            f"module-null-sink sink_name=speaker {shape}",
            "module-remap-source master=mouth.monitor source_name=mic",
        )
        self._process = subprocess.Popen(
            [
                "pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no",
                "--disable-shm=yes", "--realtime=no", "--high-priority=no",
                *(word for module in modules for word in ("-L", module)),
            ],
            env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while subprocess.run(["pactl", "info"], env=self.env, capture_output=True).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("pulseaudio does not start here")
            time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Recorder:
    """Records a monitor, with the best known time of its first sample."""

    def __init__(self, pulse: Pulse, source: str) -> None:
        self._process = subprocess.Popen(
            [
                "parec", f"--device={source}", f"--rate={SAMPLE_RATE}", "--channels=1",
                "--format=s16le", "--latency-msec=20", "--raw",
            ],
            env=pulse.env,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        STARTED.append(self._process)
        self._data = bytearray()
        self.began = float("inf")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 4096):
            self._data += data
            # The piece that was held up least tells best when the recording began.
            self.began = min(self.began, time.monotonic() - len(self._data) / 2 / SAMPLE_RATE)

    @property
    def seconds(self) -> float:
        return len(self._data) / 2 / SAMPLE_RATE

    def stop(self) -> Audio:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        whole = len(self._data) // 2 * 2
        integers = np.frombuffer(bytes(self._data[:whole]), "<i2")
        return (integers / 32768.0).astype(np.float32)


class Talk:
    """A running `facodec talk --json`."""

    def __init__(self, pulse: Pulse, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "clients.cli", "talk", "--json", *options],
            env=pulse.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        STARTED.append(self._process)
        self.reports: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.reports.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self.reports.append({"type": "gone"})
            self._changed.notify_all()

    def wait_status(self) -> dict[str, Any]:
        """The next status line."""
        with self._changed:
            seen = len(self.reports)
            assert self._changed.wait_for(
                lambda: any(r["type"] in ("status", "gone") for r in self.reports[seen:]), DEADLINE
            )
            latest = self.reports[-1]
        assert latest["type"] == "status", self.reports
        return latest

    def wait_settled(self) -> dict[str, Any]:
        """Wait until the playout buffer has found its delay: a second without any change. On a
        machine too busy for that, go on after a while."""
        latest = self.wait_status()
        for _ in range(20):
            previous, latest = latest, self.wait_status()
            if latest["frames_out"] and latest["playout"] == previous["playout"]:
                break
        return latest

    def end(self) -> tuple[int, str]:
        """Exit status, and what it said."""
        status = self._process.wait(DEADLINE)
        self._thread.join(DEADLINE)
        assert self._process.stderr is not None
        return status, self._process.stderr.read()

    def stop(self) -> dict[str, Any]:
        self._process.send_signal(signal.SIGINT)
        status, said = self.end()
        if status != 0:
            raise RuntimeError(f"facodec talk ended with {status}: {said}")
        return next(r for r in self.reports if r["type"] == "summary")


SILENT = 1e-3
"""Share of the loudest amplitude below which there is nothing to be found."""


def find(pattern: Audio, among: Audio) -> tuple[int, float]:
    """Returns the offset in ``among`` where the pattern is, and the normalised correlation
    there."""
    size = len(among) + len(pattern)
    spectrum = np.fft.rfft(among, size) * np.conj(np.fft.rfft(pattern, size))
    products = np.fft.irfft(spectrum, size)[: len(among) - len(pattern) + 1]
    energy = np.cumsum(np.concatenate([[0.0], among.astype(np.float64) ** 2]))
    local = np.sqrt(energy[len(pattern) :] - energy[: len(energy) - len(pattern)])
    least = max(SILENT * float(local.max()), 1e-6)  # of less, rounding is what is compared
    likeness = products / np.maximum(local, least) / max(float(np.linalg.norm(pattern)), 1e-6)
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def loud_windows(speech: Audio, size: int = WINDOW) -> list[int]:
    """Starts of the windows that hold speech rather than silence."""
    power = [float(np.mean(speech[at : at + size] ** 2)) for at in range(0, len(speech), size)]
    return [
        index * size
        for index, value in enumerate(power)
        if value > 0.1 * np.mean(power) and (index + 1) * size <= len(speech)
    ]
