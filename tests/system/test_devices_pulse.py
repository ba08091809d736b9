"""Speech through real audio devices: PulseAudio null sinks, a server, and `facodec talk`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.kit.processes import running_server
from benchmarks.kit.virtual_devices import (
    WINDOW,
    Pulse,
    Recorder,
    Talk,
    end_all,
    find,
    loud_windows,
    missing_tools,
)
from facodec.config import SAMPLE_RATE
from facodec.identity import model_of
from facodec.profiles import read_profile

SENTENCE = "The quick brown fox jumps over the lazy dog, and then walks home along the river."


@pytest.fixture
def pulse(tmp_path: Path) -> Iterator[Pulse]:
    wanting = [*missing_tools(), *(["flite"] if shutil.which("flite") is None else [])]
    if wanting and os.environ.get("FACODEC_TESTS_REQUIRE_ALL"):
        pytest.fail(f"required here, but missing: {', '.join(wanting)}")
    if wanting:
        pytest.skip(f"missing: {', '.join(wanting)}")
    pulse = Pulse(tmp_path / "pulse")
    yield pulse
    pulse.close()  # which ends recorders and players too
    end_all()


@pytest.fixture
def server() -> Iterator[str]:
    with running_server("--model", "live") as started:
        yield started.url


def speak(folder: Path, voice: str, text: str) -> Path:
    path = folder / f"{voice}.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    return path


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
        later = (place - in_mouth - start) / SAMPLE_RATE
        delays.append(speaker.began - mouth.began + later)
    # A window in which the sound card or the playout buffer shifted the sound matches less well.
    assert np.mean(np.array(likeness) > 0.95) >= 0.7, likeness
    assert after["underruns"] == before["underruns"]
    delay = float(np.median(delays))
    assert 0.05 < delay < 1.5
    total = summary["ledger"]["sum"]
    record_property(
        "measured",
        f"mouth to ear {delay * 1000:.0f} ms with a playout margin of 150 ms; "
        f"the ledger says {total['p50_ms']:.0f} ms; match {np.median(likeness):.3f}",
    )


@pytest.mark.parametrize("options", [(), ("--local",), ("--talker", "none")])
def test_the_next_session_begins_with_who_talked_into_this_microphone(
    options: tuple[str, ...], pulse: Pulse, server: str, tmp_path: Path
) -> None:
    import facodec

    speech = speak(tmp_path, "rms", SENTENCE * 2)
    devices = ("--device-in", "pulse", "--device-out", "pulse", *options)
    store = tmp_path / "pulse" / "state" / "facodec" / "talkers"
    first = Talk(pulse, "--server", server, *devices)
    first.wait_settled()
    subprocess.run(["paplay", "--device=mouth", str(speech)], env=pulse.env, check=True)
    first.wait_status()
    first.stop()
    if "none" in options:
        assert not store.exists()
        return
    (profile,) = store.iterdir()
    codec = facodec.load()
    remembered = read_profile(profile)
    assert model_of(remembered) == codec.identity
    whole = codec.voice(soundfile.read(speech, dtype="float32")[0])
    assert float(remembered[:-1] @ whole[:-1]) > 0.9
    assert 12 * abs(float(remembered[-1] - whole[-1])) < 1.5, "semitones"
    assert not told(first)

    second = Talk(pulse, "--server", server, *devices)
    second.wait_status()
    second.stop()
    assert told(second)
    assert np.array_equal(read_profile(profile), remembered), "nobody spoke"


def told(talk: Talk) -> bool:
    """Whether it said that it begins with somebody remembered."""
    lines = [report for report in talk.reports if report["type"] == "message"]
    return any("last heard through this microphone" in str(line) for line in lines)


def test_devices_that_go_away_end_the_talk_with_a_sentence(pulse: Pulse, server: str) -> None:
    talk = Talk(pulse, "--server", server, "--device-in", "pulse", "--device-out", "pulse")
    talk.wait_status()
    pulse.close()
    status, errors = talk.end()
    assert status == 1
    assert "was it unplugged?" in errors and "Traceback" not in errors
