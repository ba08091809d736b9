"""Pauses go over into speech without a step in level."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.config import HOP
from facodec.link.bands import BandMeter, decibel
from facodec.link.pauses import MEMORY
from facodec.streams.batching import run_alone
from streaming.engine.pipeline import Decode
from streaming.wire.media import Frames, Pause, Sound, Timbre


def levels(sound: np.ndarray) -> np.ndarray:
    """Levels of the hops, dB."""
    meter = BandMeter()
    powers = [meter.push(hop).sum() for hop in sound[: len(sound) // HOP * HOP].reshape(-1, HOP)]
    return np.asarray(decibel(np.array(powers)))


def around_the_end(rise: float, live: Codec, hello: np.ndarray, seed: int) -> tuple[float, float]:
    """Levels in dB before and behind the end of a pause in which the noise of a talk rose."""
    spoken, count = hello[: len(hello) // HOP * HOP], 240
    noise = np.random.default_rng(seed).standard_normal(2 * len(spoken) + count * HOP)
    gains = np.interp(np.arange(len(noise)), [len(spoken) + 8000, len(noise) - len(spoken) - 8000],
                      [1e-3, rise * 1e-3])  # fmt: skip
    talk = np.concatenate([spoken, np.zeros(count * HOP, np.float32), spoken]) + gains * noise
    coded = live.encode(talk.astype(np.float32))
    codes, timbre = np.asarray(coded.codes), coded.timbre
    begin, end = len(spoken) // HOP + 40, len(spoken) // HOP + count - 24
    decoder, heard = Decode(live, 0), []

    def feed(item: Frames) -> None:
        media = decoder.feed(item)
        for each in media if isinstance(media, list) else run_alone(media):
            assert isinstance(each, Sound)
            heard.append(each.samples)

    decoder.feed(Timbre(timbre, exact=True))
    feed(Frames(codes[:, :begin]))
    before = (Frames(codes[:, begin - MEMORY : begin]),)
    for at in range(begin, end, 4):
        feed(Pause(at, 4, before, 6, b""))
    feed(Frames(codes[:, end:]))
    found = levels(np.concatenate(heard))
    return found[end - 20 : end].mean(), found[end + 2 : end + 22].mean()


@pytest.mark.parametrize("rise", [1.0, 3.0])
def test_noise_that_rises_in_a_pause_makes_no_step_where_it_ends(
    rise: float, live: Codec, hello: np.ndarray
) -> None:
    # What the decoder leaves of noise varies by some dB from one second to the next.
    inside, after = np.mean([around_the_end(rise, live, hello, n) for n in range(3)], axis=0)
    assert abs(inside - after) < 3.0
