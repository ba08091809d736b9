"""Estimates of the talker: not of offset, hum and tones, the one who talks now, in pauses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facodec.bundled import prosody
from facodec.bundled.conditioning import REMEMBERED, TAKEN, Conditioning, run
from facodec.bundled.features import MEL_BANDS, MEL_WINDOW, CausalFeatures, mel_filterbank
from facodec.bundled.levels import levelled, speech_level
from facodec.bundled.talker import LONG, SHORT, VoiceStatistics, remember
from facodec.codec import Codec
from facodec.config import HOP, SAMPLE_RATE
from facodec.streams.conversion import PAUSE, SETTLED, SourcePitch, hertz_of, octaves_of

SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2, 0)
"""Semitones of C major, up and down."""
SEMITONE = 12.0 * prosody.STEP / np.log(2.0)
"""Semitones of one pitch class."""


def tone(hertz: float, seconds: float, amplitude: float) -> np.ndarray:
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hertz * t + 1.0)).astype(np.float32)


def vowel(hertz: float, seconds: float) -> np.ndarray:
    """A sung /a/, rms 0.1."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(t))
    for harmonic in range(1, int(7500 / hertz)):
        at = harmonic * hertz
        formants = ((700, 90, 1.0), (1200, 110, 0.5), (2600, 150, 0.25), (3500, 200, 0.1))
        gain = sum(g / (1 + ((at - f) / b) ** 2) for f, b, g in formants)
        sound += gain * np.sin(2 * np.pi * at * t + harmonic**2)
    return (0.1 * sound / np.sqrt(np.square(sound).mean())).astype(np.float32)


def melody(gap: float) -> np.ndarray:
    """C major up and down from 131 Hz, notes of 0.4 s, ``gap`` seconds of silence after each."""
    silence = np.zeros(int(gap * SAMPLE_RATE), np.float32)
    notes = [vowel(130.8 * 2 ** (step / 12), 0.4) for step in SCALE]
    return np.concatenate([part for note in notes for part in (note, silence)])


def shifts(codec: Codec, audio: np.ndarray, target: np.ndarray, **known: float) -> np.ndarray:
    """Semitones by which each frame is moved, NaN where it is unvoiced."""
    stream = codec.converter_stream(target, **known)
    made = [*stream.push_frames(audio), *stream.flush_frames()]
    moved = np.concatenate([part.codes[0] for part in made]) // prosody.LEVELS
    heard = codec.encode(audio).codes[0] // prosody.LEVELS
    steps = np.where(heard > 0, moved - heard, np.nan)
    steps[(moved == 1) | (moved == prosody.PITCH_CLASSES - 1)] = np.nan  # at the range's end
    return np.asarray(steps * SEMITONE)


# ------------------------------------------------------------------ the entrance


def test_conditioning_over_hops_equals_its_recursion() -> None:
    conditioning = Conditioning()
    audio = torch.randn(2, 5 * HOP, generator=torch.Generator().manual_seed(1)) + 0.3
    state = torch.randn(2, REMEMBERED, dtype=torch.float64)
    wanted, after = run(audio.double(), state)
    found, found_after = conditioning(audio, state)
    torch.testing.assert_close(found, wanted.float(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found_after, after, rtol=0, atol=1e-9)


def test_the_lowest_log_mels_get_back_what_conditioning_takes() -> None:
    """Noise serves, which has as much at all frequencies; speech and its rooms differ a little."""
    audio = 0.05 * torch.randn(1, 800 * HOP, generator=torch.Generator().manual_seed(2))
    conditioning, features = Conditioning(), CausalFeatures()
    conditioned, _ = conditioning(audio, conditioning.initial_state(1))
    given_back = features(conditioned)[0]
    gains = features.mel_basis.sum(0) / mel_filterbank(MEL_BANDS, MEL_WINDOW).sum(0)
    features.mel_basis = mel_filterbank(MEL_BANDS, MEL_WINDOW)
    change = (given_back - features(audio)[0]).mean((0, 1))
    assert change[:2].abs().max() < 0.1 and change[2:].abs().max() < 0.02
    wanted = torch.ones(MEL_BANDS)
    wanted[: len(TAKEN)] = 10 ** torch.tensor(TAKEN)
    torch.testing.assert_close(gains, wanted)
    assert len(TAKEN) == 5 and (gains[:5].diff() < 0).all()


@pytest.mark.parametrize("disturbance", ["offset .05", "offset .3", "50 Hz", "60 Hz", "50.05 Hz"])
def test_offset_and_hum_change_nothing(live: Codec, hello: np.ndarray, disturbance: str) -> None:
    kind, value = disturbance.split()
    seconds = len(hello) / SAMPLE_RATE
    added = float(value) if kind == "offset" else tone(float(kind), seconds, 0.03)
    clean, disturbed = live.encode(hello), live.encode((hello + added).astype(np.float32))
    voiced = [f.codes[0] >= prosody.LEVELS for f in (clean, disturbed)]
    assert np.mean(voiced[0] != voiced[1]) < 0.01
    assert clean.timbre[:-1] @ disturbed.timbre[:-1] > 0.99
    assert abs(clean.timbre[-1] - disturbed.timbre[-1]) < 0.05
    for quieter in (1.0, 0.5):  # a voice is enrolled from what was cleared and brought to a level
        enrolled = [live.voice((quieter * hello + n).astype(np.float32)) for n in (0.0, added)]
        assert enrolled[0][:-1] @ enrolled[1][:-1] > 0.99


@pytest.mark.parametrize("kind", ["offset", "hum", "tone", "chord", "noise"])
def test_what_is_no_speech_is_no_voice(live: Codec, hello: np.ndarray, kind: str) -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE)
    sound = {
        "offset": np.full(3 * SAMPLE_RATE, 0.3),
        "hum": tone(50, 3, 0.03),
        "tone": tone(200, 3, 0.1),
        "chord": tone(262, 3, 0.05) + tone(330, 3, 0.05) + tone(392, 3, 0.05),
        "noise": noise,
    }[kind].astype(np.float32)
    with pytest.raises(ValueError, match="no speech"):
        live.voice(sound)
    stream = live.encoder_stream()
    stream.push(hello)
    before = stream.timbre
    stream.push(sound)
    assert before is not None and stream.timbre is not None
    assert before[:-1] @ stream.timbre[:-1] > 0.99
    assert abs(before[-1] - stream.timbre[-1]) < 0.05


# ------------------------------------------------------------------ who is talking


def test_a_memory_is_a_mean_and_then_fades() -> None:
    """Against the recursion it stands for, in blocks of any length."""
    random = torch.Generator().manual_seed(3)
    hidden = torch.randn(1, 400, 4, generator=random)
    pitch = torch.randint(0, 128, (1, 400), generator=random)
    speech = torch.rand(1, 400, generator=random) < 0.6
    memory = VoiceStatistics.none(1, 4, torch.device("cpu"))
    for block in (slice(0, 7), slice(7, 150), slice(150, 400)):
        memory = remember(memory, SHORT, hidden[:, block], pitch[:, block], speech[:, block])
    weight, first = 0.0, torch.zeros(4, dtype=torch.float64)
    for frame in hidden[0][speech[0]].double():
        weight = min(weight + 1.0, SHORT)
        first = first + (frame - first) / weight
    assert float(memory.weight) == pytest.approx(SHORT) and SHORT < LONG
    torch.testing.assert_close(memory.first[0] / memory.weight, first)
    assert float(memory.pitches.sum()) == pytest.approx(SHORT)


def test_within_seconds_of_another_talker_the_voice_is_his(
    live: Codec, hello: np.ndarray, reply: np.ndarray
) -> None:
    hello, reply = (levelled(x, speech_level(x)) for x in (hello, reply))  # as voices are enrolled
    voices = [live.voice(x)[:-1] for x in (hello, reply)]
    stream = live.encoder_stream()
    for _ in range(int(60 * SAMPLE_RATE / len(hello)) + 1):
        stream.push(hello)
    assert stream.timbre is not None
    assert stream.timbre[:-1] @ voices[0] > 0.95
    stream.push(np.tile(reply, 3)[: 3 * SAMPLE_RATE])
    assert stream.timbre[:-1] @ voices[1] > stream.timbre[:-1] @ voices[0]
    assert stream.timbre[:-1] @ voices[1] > 0.8


# ------------------------------------------------------------------ how high he speaks


@pytest.mark.parametrize("gap", [0.0, 0.1, 0.2])
def test_a_melody_keeps_its_intervals(live: Codec, gap: float) -> None:
    moved = shifts(live, melody(gap), live.voices["hazel"])
    moved = moved[np.isfinite(moved)]
    assert len(moved) > 300
    assert np.ptp(moved) <= 0.3


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_a_known_pitch_is_moved_by_one_interval(live: Codec, gap: float) -> None:
    target = live.voices["hazel"]
    moved = shifts(live, melody(gap), target, pitch=180.0)
    wanted = 12 * (target[-1] - octaves_of(180.0))
    np.testing.assert_allclose(moved[np.isfinite(moved)], wanted, atol=SEMITONE / 2 + 1e-6)


def test_the_pitch_moves_in_pauses_alone(live: Codec, hello: np.ndarray) -> None:
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    moved = shifts(live, np.concatenate([hello, pause] * 4), live.voices["rowan"])
    voiced = np.flatnonzero(np.isfinite(moved))
    changes = np.flatnonzero(np.diff(moved[voiced]) != 0)
    gaps = np.diff(voiced)[changes]
    assert (gaps > 8).all()
    assert np.abs(np.diff(moved[voiced[len(voiced) // 2 :]])).max() <= SEMITONE + 1e-6


def estimate(place: int, hertz: float) -> np.ndarray:
    vector = np.zeros(256, np.float32)
    vector[place], vector[-1] = 1.0, octaves_of(hertz)
    return vector


def test_a_new_talker_is_followed_and_noise_is_not() -> None:
    def speak(source: SourcePitch, hertz: float) -> float:
        pitch = int(prosody.pitch_class(torch.tensor(hertz)))
        wave = pitch + np.round(4 * np.sin(np.arange(120))).astype(np.int64)
        phrase = np.concatenate((wave * prosody.LEVELS, np.zeros(2 * PAUSE, np.int64)))
        followed = source.follow(phrase)
        assert len(set(followed[:120].tolist())) == 1
        return float(followed[-1])

    source = SourcePitch()
    source.hear(estimate(0, 100.0))
    assert speak(source, 100.0) == pytest.approx(octaves_of(100.0), abs=1e-6)
    source.hear(estimate(0, 130.0))  # the same voice: slowly
    assert 0 < speak(source, 130.0) - octaves_of(100.0) <= 0.15 / 12 + 1e-6
    source.hear(estimate(1, 210.0))  # another one: at once
    assert speak(source, 210.0) == pytest.approx(octaves_of(210.0), abs=1e-6)
    given = SourcePitch(pitch=100.0)
    given.hear(estimate(1, 210.0))
    assert speak(given, 210.0) == octaves_of(100.0)
    known = SourcePitch(talker=estimate(2, 120.0))
    known.hear(estimate(0, 200.0))
    assert known.follow(np.array([400]))[0] == pytest.approx(octaves_of(120.0), abs=1e-6)
    with pytest.raises(ValueError, match="55 to 450"):
        SourcePitch(pitch=5.0)


def test_a_known_talker_holds_where_the_pitch_is_known_too() -> None:
    both = SourcePitch(pitch=100.0, talker=estimate(2, 120.0))
    both.hear(estimate(0, 200.0))
    assert both.trusts_talker
    assert set(both.follow(np.full(SETTLED - 1, 400)).tolist()) == {octaves_of(100.0)}
    both.follow(np.zeros(100, np.int64))
    assert both.trusts_talker, "silence tells nothing"
    both.follow(np.array([400]))
    assert not both.trusts_talker


def test_octaves_and_hertz_are_inverses() -> None:
    for hertz in (prosody.LOWEST, 118.0, 150.0, prosody.HIGHEST):
        assert hertz_of(octaves_of(hertz)) == pytest.approx(hertz)
    assert (hertz_of(-9.0), hertz_of(9.0)) == (prosody.LOWEST, prosody.HIGHEST)
