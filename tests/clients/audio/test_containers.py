"""Recordings of phones and browsers, by PyAV where it is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.audio.files import read_audio
from facodec.reasons import FileError

HELLO = Path(__file__).parents[2] / "data" / "hello.flac"
HEADS = {
    "a.m4a": b"\x00\x00\x00\x20ftypM4A ",
    "a.webm": b"\x1aE\xdf\xa3",
    "a.amr": b"#!AMR\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_without_it_a_sentence_says_what_is_needed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / name).write_bytes(HEADS[name] + bytes(500))
    with pytest.raises(FileError, match=rf"{name} .* needs PyAV: pip install 'facodec-live\[av\]'"):
        read_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "kind"),
    [
        ("a.m4a", "aac", 44100, "stereo", "mp4"),
        ("a.mp4", "aac", 16000, "mono", "mp4"),
        ("a.webm", "libopus", 48000, "mono", "webm"),
        ("a.aac", "aac", 16000, "mono", "adts"),
        ("a.mka", "aac", 48000, "5.1", "matroska"),
    ],
)
def test_phones_and_browsers(
    name: str, codec: str, rate: int, layout: str, kind: str, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    speech = read_audio(HELLO)
    _write(av, tmp_path / name, speech, codec, rate, layout, kind)
    heard = read_audio(tmp_path / name)
    assert 0 <= len(heard) - len(speech) < 3000
    shifted = [np.corrcoef(speech[:90_000], heard[d : 90_000 + d])[0, 1] for d in range(2500)]
    assert max(shifted) > 0.98
    twice = tmp_path / f"twice-{name}"
    twice.write_bytes(2 * (tmp_path / name).read_bytes())
    assert len(read_audio(twice)) == pytest.approx(2 * len(heard), abs=400)
    (tmp_path / name).write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(FileError, match="is no sound file"):
        read_audio(tmp_path / name)


def test_a_phone_of_old(tmp_path: Path) -> None:
    """Frames of any bits are sound to a decoder of AMR: 31 bytes and a head each, 20 ms."""
    pytest.importorskip("av")
    random = np.random.default_rng(0)
    frames = b"".join(b"\x3c" + random.bytes(31) for _ in range(50))
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + frames)
    heard = read_audio(tmp_path / "a.amr")
    assert len(heard) == pytest.approx(16_000, abs=400) and np.abs(heard).max() > 0.001


def _write(
    av: Any, path: Path, speech: np.ndarray, codec: str, rate: int, layout: str, kind: str
) -> None:
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = layout
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        frame = av.AudioFrame.from_ndarray(speech[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                container.mux(packet)


@pytest.mark.parametrize("channels", [6, 8, 9, 16])
def test_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    """PyAV reads past the end of planes from eight channels on, which ended the process."""
    av = pytest.importorskip("av")
    drawn = np.random.default_rng(channels).integers(-3000, 3000, (16_000, channels))
    layout = f"{channels} channels"
    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            drawn.astype(np.int16).reshape(1, -1), format="s16", layout=layout
        )
        frame.sample_rate = 16_000
        for part in (frame, None):
            container.mux(stream.encode(part))
    expected = drawn.mean(axis=1) / 32768
    np.testing.assert_allclose(read_audio(tmp_path / "a.mka"), expected, atol=1e-6)


def test_channels_that_change_on_the_way(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    speech, both = read_audio(HELLO), b""
    for layout in ("mono", "stereo", "5.1"):
        _write(av, tmp_path / "part.aac", speech, "aac", 16_000, layout, "adts")
        both += (tmp_path / "part.aac").read_bytes()
    (tmp_path / "a.aac").write_bytes(both)
    assert len(read_audio(tmp_path / "a.aac")) == pytest.approx(3 * len(speech), abs=9000)
