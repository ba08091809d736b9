"""Devices without devices: choosing, rings, cutting into blocks, resampling, sentences."""

from __future__ import annotations

import builtins
import ctypes
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.audio.devices import Device, choose, list_devices, silence_alsa
from clients.audio.microphone import BlockCutter, CaptureRing
from clients.audio.resample import LiveResampler
from clients.errors import DeviceError, UsageError
from streaming.playout.buffer import PlayoutBuffer, PlayoutSettings
from tests.exactness import assert_equal_audio


def device(number: int, name: str, inputs: int = 1, outputs: int = 0, **more: Any) -> Device:
    default = {"system": "ALSA", "rate": 48000, "default_input": False, "default_output": False}
    return Device(number=number, name=name, inputs=inputs, outputs=outputs, **(default | more))


DEVICES = [
    device(0, "Front speaker", 0, 2),
    device(1, "Headset"),
    device(2, "Webcam microphone", default_input=True),
    device(3, "Desk microphone"),
]


def test_devices_by_default_number_and_name() -> None:
    assert choose(DEVICES, None, "input").number == 2
    assert choose(DEVICES, None, "output").number == 0  # no default set: the first
    assert choose(DEVICES, "3", "input").name == "Desk microphone"
    assert choose(DEVICES, "HEAD", "input").number == 1
    twins = [device(0, "pulse"), device(1, "pulse monitor")]
    assert choose(twins, "pulse", "input").number == 0  # the exact name wins


def test_a_choice_that_fits_none_or_several_lists_what_there_is() -> None:
    with pytest.raises(UsageError, match="several input devices fit 'microphone'; there are 2: "):
        choose(DEVICES, "microphone", "input")
    with pytest.raises(UsageError, match=r"no input devices fit '0'; .*1: Headset"):
        choose(DEVICES, "0", "input")


def test_no_device_at_all_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match=r"no sound input device.*--input speech\.wav"):
        choose([DEVICES[0]], None, "input")


def test_without_portaudio_the_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without_portaudio(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_portaudio)
    with pytest.raises(DeviceError, match=r"sudo apt install libportaudio2.*--input speech\.wav"):
        list_devices()


def test_the_capture_ring_keeps_time() -> None:
    ring = CaptureRing(16000)
    ring.write(np.arange(200, dtype=np.float32), heard=5.0)
    ring.write(np.arange(200, 400, dtype=np.float32), heard=5.0125)
    samples, heard = ring.read()
    np.testing.assert_array_equal(samples, np.arange(400))
    assert heard == 5.0125
    assert len(ring.read()[0]) == 0


def test_a_full_capture_ring_drops_the_newest_and_counts() -> None:
    ring = CaptureRing(1000)
    ring.write(np.arange(800, dtype=np.float32), heard=1.0)
    ring.write(np.arange(800, 1600, dtype=np.float32), heard=1.8)
    assert ring.overruns == 1
    samples, heard = ring.read()
    np.testing.assert_array_equal(samples, np.arange(1000))
    assert heard == pytest.approx(1.2)


@given(st.lists(st.integers(0, 700), max_size=30))
@settings(deadline=None)
def test_blocks_are_whole_in_order_and_stamped(counts: list[int]) -> None:
    cutter = BlockCutter(16000)
    source = np.arange(sum(counts), dtype=np.float32)
    blocks = []
    at = 0
    for count in counts:
        at += count
        blocks += cutter.push(source[at - count : at], heard=at / 16000)
    for index, block in enumerate(blocks):
        assert block.captured == pytest.approx((index + 1) * 200 / 16000)
    joined = np.concatenate([*(block.samples for block in blocks), cutter.rest()])
    np.testing.assert_array_equal(joined, source)


def band_limited(seconds: float, rate: int) -> np.ndarray:
    slow = np.random.default_rng(2).normal(0, 0.1, int(seconds * 10000)).astype(np.float32)
    return soxr.resample(slow, 10000, rate, quality="VHQ")


@pytest.mark.parametrize(("source", "target"), [(48000, 16000), (16000, 48000), (32000, 16000)])
def test_live_resampling_is_that_of_soxr_a_millisecond_later(source: int, target: int) -> None:
    sound = band_limited(2.0, source)
    stream = LiveResampler(source, target)
    parts = [stream.push(part) for part in np.array_split(sound, 61)]
    got = np.concatenate([*parts, stream.flush()])
    assert 0 < stream.delay <= 0.0011
    wanted = soxr.resample(sound, source, target, quality="VHQ")
    shift = round(stream.delay * target)
    error = got[shift : shift + len(wanted)] - wanted
    assert np.sqrt(np.mean(error[100:-100] ** 2)) < 1e-3 * np.sqrt(np.mean(wanted**2))


@given(st.sampled_from([8000, 22050, 44100, 48000, 96000]), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_live_resampling_does_not_depend_on_the_chunks(rate: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    sound = random.normal(0, 0.1, 5000).astype(np.float32)
    whole, cut = LiveResampler(rate, 16000), LiveResampler(rate, 16000)
    places = np.sort(random.integers(0, len(sound), 9))
    parts = [cut.push(part) for part in np.split(sound, places)]
    got = np.concatenate([*parts, cut.flush()])
    wanted = np.concatenate([whole.push(sound), whole.flush()])
    assert_equal_audio(got, wanted)
    assert abs(len(got) - (len(sound) / rate + whole.delay) * 16000) <= 1


def test_48_khz_capture_gives_blocks_without_holding_sound_back() -> None:
    cutter = BlockCutter(48000)
    sound = band_limited(1.0, 48000)
    blocks = []
    for index in range(80):
        new = cutter.push(sound[index * 600 : (index + 1) * 600], heard=(index + 1) / 80)
        assert len(new) == 1
        blocks += new
    assert blocks[10].captured == pytest.approx(11 / 80 - 0.001)


def test_a_48_khz_loudspeaker_plays_the_resampled_sound() -> None:
    sound = band_limited(1.0, 16000)
    resampler, playout = LiveResampler(16000, 48000), PlayoutBuffer(PlayoutSettings(48000))
    heard = []
    for index in range(80):
        now = index / 80
        playout.push(resampler.push(sound[index * 200 : (index + 1) * 200]), now)
        heard.append(playout.pull(600))
    got = np.concatenate(heard)
    start = 2 * 600 + 48  # the playout's first margin, two blocks here, and the filter
    wanted = soxr.resample(sound, 16000, 48000, quality="VHQ")[: len(got) - start]
    assert playout.counters.underruns == playout.counters.cut == 0
    error = got[start:] - wanted
    assert np.sqrt(np.mean(error[300:-300] ** 2)) < 1e-3 * np.sqrt(np.mean(wanted**2))


def test_alsa_does_not_print_into_the_status_line(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        alsa = ctypes.CDLL("libasound.so.2")
    except OSError:
        pytest.skip("no ALSA on this machine")
    pcm = ctypes.c_void_p()

    def open_nothing() -> str:
        assert alsa.snd_pcm_open(ctypes.byref(pcm), b"no-such-device", 0, 0) < 0
        return capfd.readouterr().err

    alsa.snd_lib_error_set_handler(None)  # as it is by default
    assert "ALSA lib" in open_nothing()
    silence_alsa.cache_clear()
    silence_alsa()
    assert open_nothing() == ""
