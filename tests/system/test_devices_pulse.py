"""Speech through real audio devices: PulseAudio null sinks, a real server, a real `facodec talk`.

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
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000
TOOLS = ("pulseaudio", "pactl", "paplay", "parec", "flite")
WINDOW = RATE // 4
DEADLINE = 120.0
SENTENCE = "The quick brown fox jumps over the lazy dog, and then walks home along the river."


def need_tools() -> None:
    """Skip without the tools, or fail where everything is required (as in CI)."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("FACODEC_TESTS_REQUIRE_ALL"):
        pytest.fail(f"required here, but missing: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")


STARTED: list[subprocess.Popen] = []
"""Killed at the end if a failed test left them behind."""


class Pulse:
    """A PulseAudio of our own with a mouth (its monitor is the microphone) and a speaker."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        address = f"unix:{folder}/native"
        self.env = os.environ | {
            "PULSE_SERVER": address, "PULSE_SOURCE": "mic", "PULSE_SINK": "speaker",
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
                pytest.skip("pulseaudio does not start here")
            time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Recorder:
    """Records a monitor, with the best known time of its first sample."""

    def __init__(self, pulse: Pulse, source: str) -> None:
        self._process = subprocess.Popen(
            [
                "parec", f"--device={source}", f"--rate={RATE}", "--channels=1",
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
            self.began = min(self.began, time.monotonic() - len(self._data) / 2 / RATE)

    @property
    def seconds(self) -> float:
        return len(self._data) / 2 / RATE

    def stop(self) -> np.ndarray:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        whole = len(self._data) // 2 * 2
        return np.frombuffer(bytes(self._data[:whole]), "<i2").astype(np.float32) / 32768


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
        self.reports: list[dict] = []
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

    def wait_status(self) -> dict:
        """The next status line."""
        with self._changed:
            seen = len(self.reports)
            assert self._changed.wait_for(
                lambda: any(r["type"] in ("status", "gone") for r in self.reports[seen:]), DEADLINE
            )
            latest = self.reports[-1]
        assert latest["type"] == "status", self.reports
        return latest

    def wait_settled(self) -> dict:
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

    def stop(self) -> dict:
        self._process.send_signal(signal.SIGINT)
        assert self.end()[0] == 0
        return next(r for r in self.reports if r["type"] == "summary")


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[Pulse]:
    need_tools()
    pulse = Pulse(tmp_path / "pulse")
    yield pulse
    pulse.close()  # which ends recorders and players too
    for process in STARTED:
        process.kill()
        process.wait(DEADLINE)


@pytest.fixture
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "clients.cli", "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving at "), line
    yield line.split()[2]
    process.terminate()
    process.wait(30)


def speak(folder: Path, voice: str, text: str) -> Path:
    path = folder / f"{voice}.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    return path


def find(pattern: np.ndarray, among: np.ndarray) -> tuple[int, float]:
    """Where in ``among`` the pattern is, and the normalised correlation there."""
    size = len(among) + len(pattern)
    spectrum = np.fft.rfft(among, size) * np.conj(np.fft.rfft(pattern, size))
    products = np.fft.irfft(spectrum, size)[: len(among) - len(pattern) + 1]
    energy = np.cumsum(np.concatenate([[0.0], among.astype(np.float64) ** 2]))
    local = np.sqrt(energy[len(pattern) :] - energy[: len(energy) - len(pattern)])
    likeness = products / np.maximum(local * np.linalg.norm(pattern), 1e-6)
    best = int(np.argmax(likeness))
    return best, float(likeness[best])


def loud_windows(speech: np.ndarray, size: int = WINDOW) -> list[int]:
    """Starts of the windows that hold speech rather than silence."""
    power = [float(np.mean(speech[at : at + size] ** 2)) for at in range(0, len(speech), size)]
    return [
        index * size
        for index, value in enumerate(power)
        if value > 0.1 * np.mean(power) and (index + 1) * size <= len(speech)
    ]


def test_speech_through_virtual_devices(
    pulse: Pulse, server: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    import facodec

    speech_file = speak(tmp_path, "slt", SENTENCE)
    reference = speak(tmp_path, "rms", "This is the voice that the decoder is to use. " * 2)
    sent_file = tmp_path / "sent.wav"
    talk = Talk(
        pulse, "--server", server, "--voice", str(reference), "--save-input", str(sent_file),
        "--device-in", "pulse", "--device-out", "pulse", "--playout", "150",
    )  # fmt: skip
    before = talk.wait_settled()
    mouth, speaker = Recorder(pulse, "mouth.monitor"), Recorder(pulse, "speaker.monitor")
    subprocess.run(["paplay", "--device=mouth", str(speech_file)], env=pulse.env, check=True)
    for _ in range(2):
        after = talk.wait_status()
    spoken, heard = mouth.stop(), speaker.stop()
    summary = talk.stop()

    sent, _ = soundfile.read(sent_file, dtype="float32")
    codec = facodec.load()
    timbre = codec.voice(soundfile.read(reference, dtype="float32")[0])
    expected = codec.decode(codec.encode(sent).codes, timbre)
    said, _ = soundfile.read(speech_file, dtype="float32")

    in_mouth, mouth_match = find(said, spoken)
    in_sent, sent_match = find(said, sent)
    assert mouth_match > 0.99 and sent_match > 0.99  # the microphone hears the mouth

    likeness, delays = [], []
    for start in loud_windows(said):
        window = expected[in_sent + start : in_sent + start + WINDOW]
        place, match = find(window, heard)
        likeness.append(match)
        delays.append(speaker.began + place / RATE - mouth.began - (in_mouth + start) / RATE)
    # A window in which the sound card or the playout buffer shifted the sound matches less well.
    assert np.mean(np.array(likeness) > 0.95) >= 0.7, likeness
    assert after["underruns"] == before["underruns"]
    delay = float(np.median(delays))
    assert 0.05 < delay < 1.5
    record_property("mouth_to_ear_ms", round(delay * 1000, 1))
    total = summary["ledger"]["sum"]
    print(
        f"\nmouth to ear {delay * 1000:.0f} ms measured with a playout margin of 150 ms; "
        f"the ledger says {total['p50_ms']:.0f} ms; match {np.median(likeness):.3f}"
    )


def test_devices_that_go_away_end_the_talk_with_a_sentence(pulse: Pulse, server: str) -> None:
    talk = Talk(pulse, "--server", server, "--device-in", "pulse", "--device-out", "pulse")
    talk.wait_status()
    pulse.close()
    status, errors = talk.end()
    assert status == 1
    assert "was it unplugged?" in errors and "Traceback" not in errors
