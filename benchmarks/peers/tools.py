"""Other codecs, run by their command-line tools where these are installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from facodec.config import SAMPLE_RATE

Audio = NDArray[np.float32]
Transmit = Callable[[Audio], Audio]
CODEC2_RATE = 8_000


def installed_peers() -> dict[str, tuple[float, Transmit]]:
    """Name -> (kbit/s, function from audio to audio) of the peers found on this machine."""
    peers: dict[str, tuple[float, Transmit]] = {}
    if shutil.which("opusenc") and shutil.which("opusdec"):
        for rate in (6, 9):
            peers[f"Opus {rate}"] = (float(rate), _opus(rate))
    if shutil.which("c2enc") and shutil.which("c2dec"):
        peers["Codec2 3.2"] = (3.2, _codec2)
    return peers


def align(reference: Audio, degraded: Audio) -> Audio:
    """``degraded`` moved to where it correlates best with ``reference``, cut to its length."""
    size = 1 << (len(reference) + len(degraded)).bit_length()
    spectrum = np.fft.rfft(degraded, size) * np.conj(np.fft.rfft(reference, size))
    correlation = np.fft.irfft(spectrum, size)
    furthest = SAMPLE_RATE // 5
    near = np.concatenate((correlation[-furthest:], correlation[: furthest + 1]))
    delay = int(near.argmax()) - furthest
    moved = degraded[delay:] if delay >= 0 else np.pad(degraded, (-delay, 0))
    fitted = np.pad(moved, (0, max(0, len(reference) - len(moved))))[: len(reference)]
    return np.asarray(fitted, dtype=np.float32)


def _opus(kbit: int) -> Transmit:
    def transmit(audio: Audio) -> Audio:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            soundfile.write(folder / "in.wav", audio, SAMPLE_RATE)
            _run(
                "opusenc",
                "--quiet",
                "--speech",
                "--bitrate",
                str(kbit),
                "in.wav",
                "out.opus",
                cwd=folder,
            )
            _run(
                "opusdec", "--quiet", "--rate", str(SAMPLE_RATE), "out.opus", "out.wav", cwd=folder
            )
            decoded, _ = soundfile.read(folder / "out.wav", dtype="float32")
        return align(audio, decoded)

    return transmit


def _codec2(audio: Audio) -> Audio:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        narrow = soxr.resample(audio, SAMPLE_RATE, CODEC2_RATE)
        raw = np.round(np.clip(narrow, -1, 1) * 32767).astype("<i2")
        (folder / "in.raw").write_bytes(raw.tobytes())
        _run("c2enc", "3200", "in.raw", "out.bit", cwd=folder)
        _run("c2dec", "3200", "out.bit", "out.raw", cwd=folder)
        decoded = np.frombuffer((folder / "out.raw").read_bytes(), dtype="<i2") / 32768.0
    wide = soxr.resample(decoded.astype(np.float32), CODEC2_RATE, SAMPLE_RATE)
    return align(audio, wide)


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)
