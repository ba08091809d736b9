"""Denoising: sample for sample in its place, whatever the chunks, and what it takes and keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec

import numpy as np
import pytest

from clients.audio.denoise import DELAY, FRAME, DenoisedSource, Denoiser
from clients.audio.microphone import Block
from clients.cli import main
from facodec.config import HOP, SAMPLE_RATE
from tests.conftest import missing

LATEST = (DELAY + FRAME / 3 + HOP) / SAMPLE_RATE
"""Seconds that a sample is late at most: the delay, a frame and a hop to be full."""


@pytest.fixture
def denoiser() -> None:
    if find_spec("pyrnnoise") is None:
        missing("pyrnnoise: pip install 'facodec-live[denoise]'")


def through(sound: np.ndarray, cut: int) -> np.ndarray:
    stream = Denoiser()
    parts = [stream.push(part) for part in np.split(sound, range(cut, len(sound), cut))]
    return np.concatenate([*parts, stream.flush()])


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(samples).astype(np.float32)


@pytest.mark.usefixtures("denoiser")
def test_chunks_change_nothing_and_no_sample_is_lost(hello: np.ndarray) -> None:
    clip = hello[:20_001]
    whole = through(clip, len(clip))
    assert len(whole) == len(clip)
    np.testing.assert_allclose(through(clip, 333), whole, atol=1e-6)
    assert len(through(clip[:1], 1)) == 1


@pytest.mark.usefixtures("denoiser")
def test_speech_stays_in_its_place(hello: np.ndarray) -> None:
    spectrum = np.conj(np.fft.rfft(hello, 1 << 18)) * np.fft.rfft(through(hello, 4000), 1 << 18)
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    assert min(shift, (1 << 18) - shift) <= 1


@pytest.mark.usefixtures("denoiser")
def test_stationary_noise_comes_out_quieter(hello: np.ndarray) -> None:
    """White noise 15 dB below speech, judged in two seconds of pause."""
    sound = np.concatenate([np.zeros(48_000, np.float32), hello])
    hiss = noise(len(sound)) * np.float32(np.sqrt(np.square(hello).mean() / 10**1.5))
    pause = slice(16_000, 46_000)
    left = np.square(through(sound + hiss, 4000)[pause]).mean() / np.square(hiss[pause]).mean()
    assert 10 * np.log10(left) < -15.0


class SpokenClip:
    """A source that speaks a clip in hops, by a clock of its own."""

    name, overruns, live = "clip", 0, False

    def __init__(self, clip: np.ndarray) -> None:
        self._clip = clip

    async def blocks(self) -> AsyncIterator[Block]:
        for end in range(HOP, len(self._clip) + HOP, HOP):
            part = self._clip[end - HOP : end]
            yield Block(part, (end - HOP + len(part)) / SAMPLE_RATE)

    def stop(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.usefixtures("denoiser")
def test_blocks_tell_when_they_were_heard_and_how_late_they_are(hello: np.ndarray) -> None:
    clip = hello[: 50 * HOP + 3]

    async def heard() -> list[Block]:
        return [block async for block in DenoisedSource(SpokenClip(clip)).blocks()]

    blocks = asyncio.run(heard())
    done = 0
    for block in blocks[:-1]:
        done += len(block.samples)
        assert block.captured == pytest.approx(done / SAMPLE_RATE)
        assert DELAY / SAMPLE_RATE <= block.denoise <= LATEST
    assert done + len(blocks[-1].samples) == len(clip)


def test_a_sentence_names_the_extra_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("facodec.extras.find_spec", lambda name: None)
    assert main(["talk", "--denoise", "--input", "a.wav"]) == 2
    assert "this needs RNNoise" in capsys.readouterr().err
