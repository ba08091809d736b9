"""The codec in the page: the same codes and sound as on the server, and only codes travel."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from benchmarks.kit.browser import ELSEWHERE, Browser, Tab
from clients.cli import main
from facodec.codec import Codec
from facodec.config import HOP, MIN_LAYERS, SAMPLE_RATE
from facodec.recording.blocks import FramesBlock
from facodec.recording.reading import Recording
from facodec.streams.batching import run_alone
from facodec.streams.talkers import TalkerLine
from streaming.engine.pipeline import ConvertFrames, Pipeline
from streaming.wire.media import Frames, Media, Timbre
from tests.exactness import assert_equal_audio, assert_equal_codes
from tests.system.test_page import (
    HAS_CODEC,
    Running,
    likeness,
    opened,
    said_and_sent,
    saved_files,
    talk,
    wait_for_sound,
)

SECONDS = 4
ARRAYS = """(() => {
    globalThis.floats = (text) => new Float32Array(
      Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    globalThis.textOf = (samples) => btoa(Array.from(
      new Uint8Array(Float32Array.from(samples).buffer),
      (byte) => String.fromCharCode(byte)).join(''));
})() ?? 1"""
"""Script after which samples go in and out as text."""
COMPUTES = "import('/app.js').then(({ page }) => page.%s.computes)"
HEARS = "import('/app.js').then(({ page }) => page.listen?.peak > 0.05"
CODEC = "import('/codec-thread.js').then(({ codecOfPage }) => codecOfPage()"
COMPUTE = """import('/codec.js').then(async ({ Codec }) => {
    const codec = await Codec.load(new URL('model.json', location.href));
    const bytes = Uint8Array.from(atob('%s'), (letter) => letter.charCodeAt(0));
    const clip = new Float32Array(bytes.buffer);
    const encoder = codec.encoder(), decoder = codec.decoder();
    const codes = [], voices = [], sound = [], times = [];
    const take = ({ codes: found, voice }) => {
      if (voice) {
        voices.push([codes.length, [...voice]]);
        decoder.setVoice(voice);
      }
      codes.push([...found]);
      // Without detail from half of the clip on.
      const said = 400 * codes.length < clip.length ? found : found.slice(0, 3);
      sound.push(...(decoder.decode(said) ?? []));
    };
    for (let at = 0; at < clip.length; at += 200) {
      const began = performance.now();
      encoder.encode(clip.subarray(at, at + 200)).forEach(take);
      times.push(performance.now() - began);
    }
    encoder.flush().forEach(take);
    times.sort((one, other) => one - other);
    return { identity: codec.identity, codes, voices, sound, pace: times[times.length >> 1] };
})"""


@pytest.fixture(scope="module")
def running(live: Codec) -> Iterator[Running]:
    with contextlib.closing(Running(live, allow_hosts=(ELSEWHERE,))) as server:
        yield server


@pytest.fixture(scope="module")
def tab(browser: Browser, running: Running) -> Iterator[Tab]:
    with opened(browser, running.page) as tab:
        yield tab


def test_the_page_computes_what_the_codec_does(
    tab: Tab, live: Codec, hello: np.ndarray, record_property: Any
) -> None:
    clip = hello[SAMPLE_RATE // 2 : SAMPLE_RATE // 2 + SECONDS * SAMPLE_RATE - 77]
    text = base64.b64encode(clip.astype("<f4").tobytes()).decode()
    found = tab.run(COMPUTE % text)
    assert found["identity"] == str(live.identity)
    codes = np.array(found["codes"], np.int64).T
    assert_equal_codes(codes, live.model, clip)

    line = TalkerLine(live.lanes)
    wanted, frames = [], 0
    for spoken in [*run_alone(line.push(clip)), *run_alone(line.flush())]:
        if spoken.timbre is not None:
            wanted.append((frames, spoken.timbre))
        frames += spoken.codes.shape[1]
    assert [at for at, _ in found["voices"]] == [at for at, _ in wanted] and len(wanted) > 1
    for (_, here), (_, there) in zip(found["voices"], wanted, strict=True):
        np.testing.assert_allclose(here, there, rtol=2.0**-10, atol=2e-6)  # of sixteen bits

    voices = dict(found["voices"])
    decoder, sound = live.decoder_stream(voices[0]), []
    for i in range(codes.shape[1]):
        if i in voices:
            decoder.timbre = voices[i]
        layers = len(codes) if 2 * HOP * (i + 1) < len(clip) else MIN_LAYERS
        sound.append(decoder.push(codes[:layers, i : i + 1]))
    assert_equal_audio(np.array(found["sound"], np.float32), np.concatenate(sound))
    pace = f"{found['pace']:.2f} ms a hop, encoded and decoded in Chromium"
    record_property("measured", f"the codec in the page: {pace}")


def text_of(samples: np.ndarray) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def samples_of(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_no_switch_and_no_slider_clicks(tab: Tab) -> None:
    """A voice that comes back upside down: as far from one's own as can be."""
    tone = 0.5 * np.cos(2 * np.pi * 160 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    tab.run(ARRAYS)
    found = tab.run(f"""import('/shaping.js').then(({{ Shaping }}) => {{
        const tone = floats('{text_of(tone)}');
        const choice = {{ mute: false, bypass: false, gain: 1, hear: true }};
        const shaping = new Shaping(choice);
        const changes = [
          {{}}, {{ mute: true }}, {{ mute: false }}, {{ gain: 2 }}, {{ bypass: true }},
          {{ gain: 0.3 }}, {{ bypass: false }}, {{ hear: false }},
          {{ hear: true, gain: 1 }}, 'another microphone',
        ];
        const heard = [];
        let skipped = 0;
        for (let at = 0; at + 1000 <= tone.length; at += 200) {{
          const change = at % 1000 ? {{}} : changes[at / 1000] ?? {{}};
          if (change === 'another microphone') {{
            shaping.breakOff();
            skipped = 150;
          }} else Object.assign(choice, change);
          const said = shaping.toSend(tone.subarray(at + skipped, at + skipped + 200));
          const back = said.map((sample) => -sample);
          heard.push(...shaping.toHear(shaping.toShare(back, said)));
        }}
        return textOf(heard);
    }})""")
    heard = samples_of(found)
    assert np.abs(heard).max() > 0.9 and np.abs(heard[1200:2000]).max() == 0
    steepest = 2 * np.abs(np.diff(tone)).max() + 2 / HOP  # twice as loud, and from end to end
    assert np.abs(np.diff(heard)).max() < steepest


def test_no_change_of_voice_or_pitch_clicks(tab: Tab, live: Codec, hello: np.ndarray) -> None:
    """In the middle of a word: no jump that neither voice would have."""
    clip = hello[SAMPLE_RATE // 2 : SAMPLE_RATE // 2 + 2 * SAMPLE_RATE]
    targets = [np.array(live.voices[name]).tolist() for name in ("birch", "alder")]
    tab.run(ARRAYS)
    changed, *steady = tab.run(f"""Promise.all([
        import('/codec.js'), import('/converter.js'), import('/conversion.js'),
    ]).then(async ([{{ Codec }}, {{ Converter }}, {{ raised }}]) => {{
        const codec = await Codec.load(new URL('model.json', location.href));
        const clip = floats('{text_of(clip)}');
        const [one, other] = {json.dumps(targets)};
        const aims = [one, other, raised(other, 9), raised(one, -9)];
        const say = (aimAt) => {{
          const converter = new Converter(codec, aims[aimAt(0)], codec.steer);
          const heard = [];
          for (let at = 0; at < clip.length; at += 200) {{
            if (at && aimAt(at) !== aimAt(at - 200)) converter.aim(aims[aimAt(at)], codec.steer);
            const {{ hops }} = converter.convert(clip.subarray(at, at + 200));
            for (const hop of hops) heard.push(...hop);
          }}
          converter.close();
          return textOf(heard);
        }};
        return [say((at) => Math.floor(at / 3000) % 4), ...aims.map((_, i) => say(() => i))];
    }})""")
    sounds = [samples_of(each) for each in (changed, *steady)]
    bends = [np.abs(np.diff(each, 2)) for each in sounds]
    pieces = [each[i * 3000 : (i + 1) * 3000] for i, each in enumerate(sounds[1:] * 3)]
    cut = np.abs(np.diff(np.concatenate(pieces), 2))  # as it would be without a glide

    def sharpest(bend: np.ndarray) -> float:
        """Sharpest bend where the voice changes, of those that the voices have nearby."""
        places = range(3000, len(clip) - 3000, 3000)
        usual = [max(each[at - 1600 : at + 1600].max() for each in bends[1:]) for at in places]
        return max(
            bend[at - 200 : at + 400].max() / most for at, most in zip(places, usual, strict=True)
        )

    assert sharpest(bends[0]) < 1 < sharpest(cut)


FEEDBACK = """import('/feedback.js').then(({ Feedback }) => {
    const [heard, played] = ['%s', '%s'].map(floats);
    const feedback = new Feedback();
    for (let at = 0; at + 200 <= heard.length; at += 200) {
      feedback.play(played.subarray(at, at + 200));
      feedback.hear(heard.subarray(at, at + 200));
      if (feedback.isHeard) return (at + 200) / 16000;
    }
    return null;
})"""
"""Script that gives the seconds after which the microphone is known to hear the loudspeaker."""


def later(sound: np.ndarray, seconds: float) -> np.ndarray:
    return np.concatenate([np.zeros(int(seconds * SAMPLE_RATE)), sound])[: len(sound)]


def test_who_hears_the_loudspeaker_is_told_and_nobody_else(
    tab: Tab, live: Codec, hello: np.ndarray, reply: np.ndarray
) -> None:
    count = int(3.5 * SAMPLE_RATE)
    own, others = np.tile(hello, 2)[:count], np.tile(reply, 4)[:count]
    voice = live.voices["rowan"]
    tab.run(ARRAYS)

    def told(heard: np.ndarray, played: np.ndarray) -> float | None:
        return tab.run(FEEDBACK % (text_of(heard), text_of(played)))

    def spoken(heard: np.ndarray) -> np.ndarray:
        return later(live.convert(heard.astype(np.float32), voice), 0.1)

    played = spoken(own)
    assert told(own, played) is None  # headphones
    assert told(own, later(own, 0.1)) is None  # in one's own voice
    together = own + 0.5 * others
    assert told(together, spoken(together)) is None
    tone = 0.1 * np.sign(np.sin(2 * np.pi * 150 * np.arange(count) / SAMPLE_RATE))
    assert told(tone, later(tone, 0.1)) is None
    assert told(np.zeros(count), np.zeros(count)) is None
    echo = 10 ** (-10 / 20)
    played = spoken(own + echo * later(played, 0.2))  # what was heard goes round
    heard = own + echo * later(played, 0.2)
    seconds = told(heard, played)
    assert seconds is not None and seconds <= 3


@pytest.fixture(scope="module")
def talker(tab: Tab) -> Tab:
    """A tab that talks without a server, and broadcasts."""
    tab.until(HAS_CODEC)
    talk(tab, 0.2)
    assert tab.run("import('/app.js').then(({ page }) => page.talk.wire.up)") == 0
    tab.click("broadcast")
    tab.until("document.getElementById('link').value")
    return tab


def test_who_talks_computes_for_himself(talker: Tab, live: Codec, record_property: Any) -> None:
    assert talker.run(COMPUTES % "talk") == "browser"
    wait_for_sound(talker, 2.0)
    assert talker.run("document.getElementById('figure-codec').textContent") == "in this browser"
    tell_rate(talker, "up", record_property)
    named = talker.run("document.querySelector('#voices input:checked + label').firstChild.data")
    said, sent = said_and_sent(talker)
    known = slice(len(sent) - live.latency.total)
    wanted = live.convert(said, live.voices[named.strip()])
    assert likeness(sent[known], wanted[known]) > 0.99  # codes may be tied
    total = talker.run("document.getElementById('sum').textContent")
    assert 30 < float(total.split()[0]) < 1000


def test_what_was_said_and_sent_can_be_saved_as_codes(
    talker: Tab, live: Codec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, sent = said_and_sent(talker)
    files = saved_files(talker, "save-codes", "fac")
    for name, data in zip(("said", "sent"), files, strict=True):
        (tmp_path / f"{name}.fac").write_bytes(data)
        assert main(["info", str(tmp_path / f"{name}.fac")]) == 0
        assert str(live.identity) in capsys.readouterr().out
    with Recording(tmp_path / "said.fac") as recording:
        parts = [item.codes for item in recording.items() if isinstance(item, FramesBlock)]
    codes = np.concatenate(parts, axis=1)[:, : len(said) // HOP]
    assert (codes == live.encode(said).codes[:, : codes.shape[1]]).mean() > 0.99  # some are tied
    assert main(["decode", str(tmp_path / "sent.fac"), str(tmp_path / "sent.wav")]) == 0
    decoded, _ = soundfile.read(tmp_path / "sent.wav", dtype="float32")
    np.testing.assert_allclose(decoded[: len(sent) - HOP], np.clip(sent[:-HOP], -1, 1), atol=2e-3)


def test_the_page_converts_as_servers_do(tab: Tab, live: Codec) -> None:
    rng = np.random.default_rng(5)
    frames, looks = 640, 80
    pitch = np.repeat(rng.integers(30, 90, frames // 8), 8) + rng.integers(-2, 3, frames)
    silent = np.repeat(rng.random(frames // 16) < 0.4, 16)
    codes = rng.integers(0, 1024, (6, frames))
    codes[0] = np.where(silent, 0, pitch) * 8 + rng.integers(0, 8, frames)
    voices = [np.array(live.voices[name]) for name in ("hazel", "rowan", "maple")]
    heard = [(voices[i // 40] + rng.normal(0, 0.03, 256)).astype(np.float32) for i in range(looks)]
    conversion = Pipeline([ConvertFrames(live, voices[2])])
    wanted: list[list[int]] = []
    changes: list[tuple[int, np.ndarray]] = []
    for i in range(frames):
        media: list[Media] = []
        if i == frames // 2 + 3:
            media += conversion.push(Timbre(voices[0], exact=True)).media
        if i % 8 == 0:
            media += conversion.push(Timbre(heard[i // 8], exact=False)).media
        media += conversion.push(Frames(codes[:, i : i + 1])).media
        changes += [(i, item.vector) for item in media if isinstance(item, Timbre)]
        wanted += [item.codes[:, 0].tolist() for item in media if isinstance(item, Frames)]
    given = {
        "codes": codes.T.tolist(),
        "heard": [vector.tolist() for vector in heard],
        "targets": [voices[2].tolist(), voices[0].tolist()],
        "steer": live.model.steer,
    }
    found = tab.run(f"""import('/conversion.js').then(({{ Conversion }}) => {{
        const {{ codes, heard, targets, steer }} = {json.dumps(given)};
        const conversion = new Conversion(targets[0], steer);
        const wanted = [], changes = [];
        let vector = null;
        codes.forEach((frame, i) => {{
          if (i === codes.length / 2 + 3) conversion.aim(targets[1], steer);
          const estimate = conversion.isTimeToLook ? Float32Array.from(heard[i / 8]) : null;
          wanted.push([...conversion.convert(frame, estimate)]);
          if (conversion.vector !== vector) {{
            vector = conversion.vector;
            changes.push([i, [...vector]]);
          }}
        }});
        return {{ wanted, changes }};
    }})""")
    assert found["wanted"] == wanted
    assert [at for at, _ in found["changes"]] == [at for at, _ in changes] and len(changes) > 2
    for (_, here), (_, there) in zip(found["changes"], changes, strict=True):
        np.testing.assert_allclose(here, there, atol=1e-6)


def test_who_listens_decodes_for_himself_what_he_can(
    talker: Tab, browser: Browser, record_property: Any
) -> None:
    link = talker.run("document.getElementById('link').value")
    listener = browser.tab()
    listener.open(link.replace("127.0.0.1", ELSEWHERE))
    listener.until("document.getElementById('talk-word').textContent === 'Listen'")
    listener.until(HAS_CODEC)
    listener.click("talk")
    listener.until(f"{HEARS} && page.listen.computes === 'browser')")
    tell_rate(listener, "down", record_property)

    # A room whose codes are of another model is left to the server.
    listener.click("talk")
    listener.until("document.getElementById('talk-word').textContent === 'Listen'")
    listener.run(f"{CODEC}.identity = 'live@000000000000')")
    listener.click("talk")
    listener.until(f"{HEARS} && page.listen.computes === 'server')")
    assert not listener.complaints
    listener.close()


def test_the_server_goes_on_where_the_codec_stops(talker: Tab) -> None:
    assert talker.run(COMPUTES % "talk") == "browser"
    talker.run(f"{CODEC}.stop() ?? 0)")
    talker.until(f"{COMPUTES % 'talk'}.then((who) => who === 'server')")
    talker.until("document.body.dataset.state === 'talking'")
    wait_for_sound(talker, 0.2)
    talker.click("talk")


def tell_rate(tab: Tab, way: str, record_property: Any) -> None:
    """Writes down the kbit/s of a way, once what a room sends at once who joins is past: they are
    far from those of sound, 260."""
    figure = f"Number(document.getElementById('figure-{way}').textContent)"
    rate = tab.until(f"(3 < {figure} && {figure} < 130 && {figure})")
    record_property("measured", f"kbit/s {way} with the codec in the page: {rate}")
