"""The ends of a talk: what is said, processes and their files, virtual devices, the picture."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kit.present import Chart
from benchmarks.link import client, runs
from benchmarks.link.codecs import CONTENDERS
from benchmarks.link.picture import small_multiples
from benchmarks.link.speech import compose
from benchmarks.speech.words import missing_tools
from facodec.config import HOP, SAMPLE_RATE

DEVICES = """
import asyncio, time
import numpy as np
from benchmarks.link.client import watch_playout
from benchmarks.link.sound import Ear, Mouth, install

mouth, ear = Mouth(np.full(1600, 0.5, np.float32)), Ear()
install(mouth, ear)
arrivals = watch_playout()

async def main():
    from clients.audio.microphone import Microphone
    from clients.audio.speaker import Speaker

    speaker, microphone = Speaker(), Microphone()
    speaker.start()
    mouth.begin(time.monotonic())
    count = 0
    async for block in microphone.blocks():
        speaker.play(block.samples)
        count += 1
        if count == 20:
            microphone.stop()
    await speaker.drain()
    speaker.close()
    microphone.close()

asyncio.run(main())
loud = np.flatnonzero(ear.heard > 0.4)
delay = (ear.began - mouth.began) + loud[0] / 16000
print(len(loud), len(arrivals), delay)
"""


def test_the_clients_devices_run_on_virtual_ones() -> None:
    command = [sys.executable, "-c", DEVICES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loud, arrivals, delay = map(float, done.stdout.split())
    assert 1000 < loud <= 1700  # cut by fades where the machine was busy
    assert arrivals >= 20
    assert 0.0125 < delay < 1.0


def test_a_talk_is_recordings_and_sentences_in_turn() -> None:
    talk = compose(4.0, None, spoken=False)
    assert len(talk.audio) == 4 * SAMPLE_RATE and not talk.sentences
    if missing_tools() is None:
        talk = compose(9.0, None, spoken=True)
        (sentence,) = talk.sentences
        assert sentence.words[:2] == ["the", "children"]
        margin = int(0.5 * SAMPLE_RATE)
        assert not talk.audio[sentence.begin - margin : sentence.begin].any()
        assert np.abs(talk.audio[sentence.begin : sentence.end]).max() > 0.1
    assert len(talk.audio) % HOP == 0


@pytest.mark.parametrize("key", CONTENDERS)
def test_commands_are_such_as_the_programs_take(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    contender = CONTENDERS[key]
    listener = contender.listener("ws://10.77.0.2:1", "10.77.0.2", "ear.npz")
    talker = contender.talker("ws://10.77.0.2:1", "10.77.0.2", "said.npy", "mouth.npz")
    assert (contender.frames is None) == (contender.opus_ms is not None)
    if contender.frames is not None:
        for words, name in ((listener, "listen"), (talker, "publish")):
            assert words[1:3] == ["-m", client.__name__]
            args = client.parser().parse_args(words[3:])
            assert (args.command, args.room) == (name, "talk")
            assert args.frames_per_packet == contender.frames and args.local and args.json


def test_a_process_is_read_told_and_ended() -> None:
    program = "print('ready', flush=True); print('told', input(), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stop = threading.Event()
    watched = runs.Watched(process, stop)
    watched.wait_for("ready")
    watched.tell("it")
    assert watched.wait_for("told") == "told it\n"
    stop.set()
    with pytest.raises(runs.Interrupted):
        watched.wait_for("more")
    stop.clear()
    watched.finish()
    assert process.returncode is not None
    with pytest.raises(ValueError, match="expected 'more' of a process, got: told it"):
        watched.wait_for("more")


def test_the_files_of_a_talk_become_its_outcome(tmp_path: Path) -> None:
    mouth, ear, log = (tmp_path / name for name in ("mouth.npz", "ear.npz", "way.json"))
    with pytest.raises(ValueError, match="the mouth left nothing"):
        runs.read(mouth, ear, log, 10.0, [])
    np.savez(mouth, began=100.0)
    arrivals = [(100.5, 200), (100.6, 200)]
    np.savez(ear, began=99.0, heard=np.zeros(5, np.float32), arrivals=np.array(arrivals))
    log.write_text(
        json.dumps([[-1, 0, 0, 999], [1, 1.02, 0, 100], [2, None, 0, 150], [3, 4, 1, 50]])
    )
    lines = ["no JSON\n", '{"type": "status"}\n', '{"type": "summary", "link": {"steps": 1}}\n']
    outcome = runs.read(mouth, ear, log, 10.0, lines)
    assert outcome.heard.began == -1.0
    assert outcome.heard.arrivals == pytest.approx([0.5, 0.6])
    assert (outcome.there_kbps, outcome.back_kbps) == (0.2, 0.04)
    assert outcome.told["link"] == {"steps": 1}


def test_a_picture_has_a_chart_for_each_path() -> None:
    lines = {"a codec": ([1.0, 2.0], [80.0, 90.0])}
    drawn = small_multiples([Chart(n, n, "s", "ms", lines) for n in ("one", "two", "three")])
    assert drawn.startswith("<?xml") and all(n in drawn for n in ("one", "three", "a codec"))
    assert small_multiples([]).startswith("<?xml")
