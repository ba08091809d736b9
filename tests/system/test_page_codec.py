"""The codec in the page: the same codes and sound as on the server, and only codes travel."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.kit.browser import ELSEWHERE, Browser, Tab
from facodec.codec import Codec
from facodec.config import HOP, MIN_LAYERS, SAMPLE_RATE
from facodec.streams.batching import run_alone
from facodec.streams.talkers import TalkerLine
from streaming.engine.pipeline import ConvertFrames, Decode, Encode, Pipeline
from streaming.wire.media import Sound
from tests.exactness import assert_equal_audio, assert_equal_codes
from tests.system.test_page import (
    HAS_CODEC,
    Running,
    likeness,
    opened,
    said_and_sent,
    talk,
    wait_for_sound,
)

SECONDS = 4
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


@pytest.fixture(scope="module")
def talker(tab: Tab) -> Tab:
    """A tab that talks and broadcasts, and computes the codec."""
    tab.until(HAS_CODEC)
    talk(tab, 0.2)
    tab.click("broadcast")
    tab.until("document.getElementById('link').value")
    return tab


def test_who_talks_computes_for_himself(talker: Tab, live: Codec, record_property: Any) -> None:
    assert talker.run(COMPUTES % "talk") == "browser"
    wait_for_sound(talker, 2.0)
    assert talker.run("document.getElementById('figure-codec').textContent") == "in this browser"
    for way in ("up", "down"):
        tell_rate(talker, way, record_property)
    named = talker.run("document.querySelector('#voices input:checked + label').firstChild.data")
    said, sent = said_and_sent(talker)
    known = slice(len(sent) - live.latency.total)
    wanted = converted(live, said, live.voices[named.strip()])
    assert likeness(sent[known], wanted[known]) > 0.99  # codes may be tied
    total = talker.run("document.getElementById('sum').textContent")
    assert 30 < float(total.split()[0]) < 1000


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


def converted(live: Codec, said: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """Sound that comes back of codes and estimates, in another voice."""
    pipeline = Pipeline([Encode(live, 6), ConvertFrames(live, voice), Decode(live, 0)])
    media = [*pipeline.push(Sound(said)).media, *pipeline.flush().media]
    return np.concatenate([item.samples for item in media if isinstance(item, Sound)])
