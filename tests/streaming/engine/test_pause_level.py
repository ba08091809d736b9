"""Pauses are heard as loud as they are told to be, while they last."""

from __future__ import annotations

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.config import HOP
from facodec.link.activity import VoiceActivity
from facodec.link.bands import BandMeter, decibel
from facodec.link.comfort import Describer, Description
from facodec.link.pauses import MEMORY, MOST_CHANGE, PauseLevel, pause_frames
from facodec.streams.batching import run_alone
from streaming.engine.pipeline import Decode
from streaming.wire.media import Frames, Pause, Sound, Timbre

FLAT = (-9.0,) * 8


def told(level: float) -> bytes:
    return Description(level, FLAT).to_bytes()


def levels(sound: np.ndarray) -> np.ndarray:
    """Levels of the hops, dB."""
    meter = BandMeter()
    powers = [meter.push(hop).sum() for hop in sound[: len(sound) // HOP * HOP].reshape(-1, HOP)]
    return np.asarray(decibel(np.array(powers)))


def test_where_nothing_changes_no_sample_does() -> None:
    level, sound = PauseLevel(), np.ones(800, np.float32)
    level.pause(told(-60))
    assert level.apply(sound) is sound
    level.pause(b"")
    assert level.apply(sound) is sound
    level.speech()
    assert level.apply(sound) is sound


@pytest.mark.parametrize("change", [10.0, -10.0, 40.0])
def test_the_level_glides_to_what_is_told_and_back_when_somebody_speaks(change: float) -> None:
    level, sound = PauseLevel(), np.ones(80 * HOP, np.float32)
    level.pause(told(-60))
    level.pause(told(-60 + change))
    heard = 20 * np.log10(level.apply(sound))
    wanted = min(max(change, -MOST_CHANGE), MOST_CHANGE)
    assert heard[0] == pytest.approx(0, abs=0.01) and heard[-1] == pytest.approx(wanted, abs=0.01)
    assert np.abs(heard[HOP:] - heard[:-HOP]).max() < 1
    level.speech()
    after = 20 * np.log10(level.apply(sound))
    assert after[0] == pytest.approx(wanted, abs=0.2)
    np.testing.assert_allclose(after[HOP:], 0, atol=1e-4)
    level.pause(b"")  # it begins as loud as the speech before it ended
    assert level.apply(sound) is sound


def test_noise_that_rises_in_a_pause_makes_no_step_where_it_ends(
    live: Codec, hello: np.ndarray
) -> None:
    """Without the description it would be as much as the noise has risen."""
    spoken, count = hello[: len(hello) // HOP * HOP], 240
    noise = np.random.default_rng(0).standard_normal(2 * len(spoken) + count * HOP)
    gains = np.interp(np.arange(len(noise)), [len(spoken) + 8000, len(noise) - len(spoken) - 8000],
                      [1e-3, 3e-3])  # fmt: skip
    talk = np.concatenate([spoken, np.zeros(count * HOP, np.float32), spoken]) + gains * noise
    talk = talk.astype(np.float32)
    coded = live.encode(talk)
    codes, timbre = np.asarray(coded.codes), coded.timbre
    begin, end = len(spoken) // HOP + 40, len(spoken) // HOP + count - 8
    activity, describer = VoiceActivity(), Describer()
    described = []
    for number, hop in enumerate(talk[: codes.shape[1] * HOP].reshape(-1, HOP)):
        activity.push(hop, int(codes[0, number]))
        found = describer.push(activity.powers, not begin <= number < end)
        described.append(b"" if found is None else found.to_bytes())
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
        feed(Pause(at, 4, before, 6, next(filter(None, described[at : at + 4]), b"")))
    feed(Frames(codes[:, end:]))
    found = levels(np.concatenate(heard))
    inside, after = found[end - 12 : end].mean(), found[end + 2 : end + 8].mean()
    assert abs(inside - after) < 3.0
    fixed = codes.copy()
    fixed[:, begin:end] = pause_frames(codes[:, begin - MEMORY : begin], begin, end - begin)
    flat = levels(live.decode(fixed, timbre))
    assert abs(flat[end - 12 : end].mean() - flat[end + 2 : end + 8].mean()) > 5.0
