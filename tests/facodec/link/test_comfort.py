"""Voice activity loses no words, and comfort noise is as loud as what it stands for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.speech.activity import Mix, conversation, decide, noise, score, with_noise
from facodec.config import HOP, SAMPLE_RATE
from facodec.link.activity import VoiceActivity
from facodec.link.bands import BANDS, BandMeter, decibel
from facodec.link.comfort import BYTES, LEAST_HOPS, ComfortNoise, Describer, Description
from facodec.sound.reading import read_audio
from facodec.training.metrics import clicks

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def mix() -> Mix:
    clips = [read_audio(DATA / name) for name in ("hello.flac", "reply.flac")]
    return conversation([c[:48000] for c in clips] * 4, activity=0.45)


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("snr", [5.0, 10.0, 20.0])
def test_at_most_one_frame_of_speech_in_a_hundred_is_lost(mix: Mix, kind: str, snr: float) -> None:
    noisy = with_noise(mix, noise(kind, 20), snr)
    found = score(noisy, decide(noisy.audio))
    assert found["lost"] <= 0.01
    assert found["sent"] < 0.8


def test_clean_pauses_are_not_sent(mix: Mix) -> None:
    found = score(mix, decide(mix.audio))
    assert found["lost"] <= 0.01
    assert found["sent"] < found["speech"] + 0.25


@pytest.mark.parametrize("snr", [30.0, 40.0])
def test_in_a_quiet_room_little_is_sent_beside_speech(mix: Mix, snr: float) -> None:
    quiet = with_noise(mix, noise("pink", 20), snr)
    found = score(quiet, decide(quiet.audio))
    assert found["lost"] <= 0.01
    assert found["sent"] < found["speech"] + 0.15


def test_who_goes_on_in_a_whisper_is_heard_again_soon(mix: Mix) -> None:
    """Also where it is as far below the talk as is no speech in it."""
    talk, label = mix.audio[: 600 * HOP], mix.speech[:600]
    both = np.concatenate([talk, 0.01 * talk]) + 1e-6 * noise("white", 15)[: 2 * len(talk)]
    sent = decide(both.astype(np.float32))[600:]
    begin = int(np.flatnonzero(label)[0])
    assert sent[begin + 120 :][label[begin + 120 :]].mean() > 0.9


def test_silence_and_steady_noise_are_not_sent() -> None:
    assert not decide(np.zeros(80 * HOP, np.float32)).any()
    assert decide(0.01 * noise("pink", 20))[400:].mean() < 0.2


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("seed", range(4))
def test_noise_is_known_soon_after_the_start(kind: str, seed: int) -> None:
    sent = decide(0.01 * noise(kind, 4, seed=seed))
    assert sent[48:].mean() < 0.1


def test_noise_that_grows_louder_at_once_is_told_from_speech_within_two_seconds() -> None:
    steady = 0.01 * noise("pink", 20)
    steady[8 * SAMPLE_RATE :] *= 2
    rise = 8 * SAMPLE_RATE // HOP
    assert decide(steady)[rise + 160 :].mean() < 0.1


def test_who_begins_at_once_is_heard(mix: Mix) -> None:
    noisy = with_noise(mix, noise("pink", 20), 20)
    begins = [n for n in range(0, 1200, 30) if mix.speech[n : n + 10].all()]
    sent = [decide(noisy.audio[n * HOP : (n + 80) * HOP]) for n in begins]
    label = [noisy.speech[n : n + 80] for n in begins]
    assert np.mean([(a & ~b).sum() / a.sum() for a, b in zip(label, sent, strict=True)]) < 0.06


def test_a_held_vowel_is_no_noise() -> None:
    hum = 0.001 * noise("white", 4)
    time = np.arange(len(hum) - SAMPLE_RATE) / SAMPLE_RATE
    vowel = sum(np.sin(2 * np.pi * 140 * n * time) / n for n in range(1, 20))
    hum[SAMPLE_RATE:] += 0.05 * np.asarray(vowel, np.float32)
    codes = [0] * 80 + [400] * 240
    assert decide(hum, codes)[84:].all()


def test_what_the_model_calls_voiced_needs_less_to_be_sent() -> None:
    hum = 0.01 * noise("white", 4)
    time = np.arange(len(hum)) / 16000
    hum[32000:] += 0.002 * np.sin(2 * np.pi * 1200 * time[32000:]).astype(np.float32)
    hops = len(hum) // HOP
    unaided = decide(hum, [0] * hops)[165:].mean()
    aided = decide(hum, [0] * (hops // 2) + [400] * (hops - hops // 2))[165:].mean()
    assert aided >= unaided


def test_a_hop_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a hop of 200 samples"):
        VoiceActivity().push(np.zeros(199, np.float32))


@given(st.lists(st.floats(1e-12, 1.0), min_size=BANDS, max_size=BANDS))
def test_a_description_survives_its_five_bytes(powers: list[float]) -> None:
    description = Description.of(np.array(powers))
    data = description.to_bytes()
    assert len(data) == BYTES
    assert Description.from_bytes(data) == description


def test_other_sizes_are_no_description() -> None:
    with pytest.raises(ValueError, match="expected 5 bytes"):
        Description.from_bytes(bytes(4))


def test_descriptions_are_rare_and_none_says_what_the_last_one_said() -> None:
    describer, meter = Describer(), BandMeter()
    sent = []
    for i, hop in enumerate((0.01 * noise("pink", 20)).reshape(-1, HOP)):
        if describer.push(meter.push(hop), active=i % 200 < 20) is not None:
            sent.append(i)
    assert 8 <= len(sent) <= 20
    assert min(np.diff(sent)) >= LEAST_HOPS


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_switching_to_comfort_noise_is_no_step(kind: str) -> None:
    real = 0.01 * noise(kind, 4)
    meter, describer, comfort = BandMeter(), Describer(), ComfortNoise()
    description, average = None, np.zeros(BANDS)
    for hop in real[: 160 * HOP].reshape(-1, HOP):
        powers = meter.push(hop)
        average += 0.1 * (powers - average)
        description = describer.push(powers, active=False) or description
    assert description is not None
    comfort.hear(average)
    comfort.aim(description)
    made = np.concatenate([comfort.hop() for _ in range(160)])
    joined = np.concatenate((real[: 160 * HOP], made, real[160 * HOP :]))
    powers = np.array([meter.push(hop) for hop in joined.reshape(-1, HOP)]).sum(axis=1)
    levels = decibel(powers.reshape(-1, 16).mean(axis=1))
    assert np.abs(np.diff(levels))[[9, 19]].max() < 3.0
    heard = np.array([meter.push(hop) for hop in made.reshape(-1, HOP)])[20:].mean(axis=0)
    assert np.abs(decibel(heard) - decibel(description.powers)).max() < 1.5
    assert clicks(real[: len(made)], made) == 0


def test_a_far_target_is_reached_in_small_steps() -> None:
    comfort = ComfortNoise()
    comfort.hear(np.full(BANDS, 1e-3))
    comfort.aim(Description.of(np.full(BANDS, 1e-8)))
    made = np.concatenate([comfort.hop() for _ in range(160)]).reshape(-1, 4 * HOP)
    levels = decibel(np.square(made, dtype=np.float64).mean(axis=1))
    assert np.diff(levels)[1:].max() < 3.0
    assert -76 < levels[-1] < -66
