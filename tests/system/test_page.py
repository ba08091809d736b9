"""The page in a real browser that hears a file: what goes in comes out, in another voice."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import soundfile

from benchmarks.kit.browser import ELSEWHERE, Browser, Tab
from clients.cli import PAGE
from facodec import bitstream
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from facodec.profiles import read_profile
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings
from tests import traces
from tests.conftest import ROOT
from tests.loops import LoopThread
from tests.relay import Relay
from tests.streaming.wire.test_protocol_document import EXAMPLES, from_hex

TOKEN = "a-secret"
WITHOUT_VECTORS = "WebAssembly.validate = () => false"
VECTORS = json.loads((ROOT / "tests" / "streaming" / "wire" / "vectors.json").read_text())
NEVER_ASKED_FOR = {"repeat", "layers", "t"}
"""Parts of messages that no page sends or asks for."""
READ_VECTOR = """Promise.all(['/framing.js', '/msgpack.js'].map((name) => import(name))).then(
    ([{ CodedFraming }, { pack }]) => {
        const { side, first, hex, message } = %s, framing = new CodedFraming();
        const bytes = (text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
        if (side === 'client') return [...framing.pack({ ...message, data: bytes(message.data) })];
        framing.unpack(pack({ type: 'ready', first, layers: %d }).slice().buffer);
        const { seq, frames } = framing.unpack(bytes(hex).buffer);
        return { seq, frames: frames.map((frame) => [...frame]) };
    })"""
HAS_CODEC = "import('/codec-thread.js').then(({ codecOfPage }) => codecOfPage() !== null)"


class Running:
    """A server with the page, in a thread of its own."""

    def __init__(self, codec: Codec, **options: Any) -> None:
        self._loop = LoopThread()
        self._codec, self._options = codec, options
        self.server = self._start(0)
        self.page = self.server.page_url or ""

    def _start(self, port: int) -> Server:
        settings = ServerSettings(port=port, page=str(PAGE), max_sessions=8, **self._options)
        server = Server(settings, {self._codec.name: self._codec})
        self._loop.wait(server.start())
        return server

    def restart(self) -> None:
        port = int(self.page.rstrip("/").rpartition(":")[2])
        self._loop.wait(self.server.stop())
        self.server = self._start(port)

    @contextlib.contextmanager
    def relayed(self) -> Iterator[Relay]:
        """A relay between the page and the server, with the page at its address."""
        relay = Relay(self.server.url)
        self._loop.wait(relay.__aenter__())
        try:
            yield relay
        finally:
            self._loop.wait(relay.__aexit__())

    def call(self, function: Callable[[], None]) -> None:
        """Calls a function in the thread of the server."""

        async def work() -> None:
            function()

        self._loop.wait(work())

    def close(self) -> None:
        self._loop.wait(self.server.stop())
        self._loop.close()


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a server keeps voices."""
    return tmp_path_factory.mktemp("voices")


@pytest.fixture(scope="module")
def running(live: Codec, voices: Path) -> Iterator[Running]:
    options = {"voices": str(voices), "keep_voices": 1}
    with contextlib.closing(
        Running(live, allow_origins=("*",), allow_hosts=(ELSEWHERE,), **options)
    ) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(live: Codec) -> Iterator[Running]:
    """A server that wants a token."""
    with contextlib.closing(Running(live, tokens=(TOKEN,), drain=0.1)) as server:
        yield server


@contextlib.contextmanager
def opened(
    browser: Browser, url: str, *, microphone: bool = True, script: str = ""
) -> Iterator[Tab]:
    """A tab with the page in it, which must not complain. ``script``: run in it before the page."""
    tab = browser.tab(microphone=microphone)
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    tab.open(url)
    tab.until("document.querySelectorAll('#voices input').length > 3")
    if tab.run("document.getElementById('echo').checked"):
        tab.click("echo")  # it would work on the sound
    yield tab
    assert not tab.complaints
    tab.close()


@pytest.fixture(scope="module")
def recorder(browser: Browser, running: Running) -> Iterator[Tab]:
    """A tab that records a voice, which takes ten seconds: it begins before the other tests."""
    with opened(browser, running.page) as tab:
        tab.click("record")
        yield tab


@pytest.fixture(scope="module", autouse=True)
def _starts_first(recorder: Tab) -> None:
    """Records while others run."""


def talk(tab: Tab, seconds: float) -> None:
    tab.click("talk")
    tab.until("document.body.dataset.state === 'talking'")
    wait_for_sound(tab, seconds)


def wait_for_sound(tab: Tab, more: float) -> None:
    """Until so many seconds more have come back."""
    end = "import('/app.js').then(({ page }) => page.talk.sent.end)"
    tab.until(f"{end}.then((end) => end >= {tab.run(end) + int(more * SAMPLE_RATE)})")


def said_and_sent(tab: Tab) -> tuple[np.ndarray, np.ndarray]:
    both = tab.samples("(({ said, sent }) => Float32Array.from([...said, ...sent]))(lastSeconds())")
    return both[: len(both) // 2], both[len(both) // 2 :]


LAST = "import('/app.js').then(({ lastSeconds }) => lastSeconds()).then(({ said, sent }) =>"
"""Beginning of a script that looks at the last seconds."""
SAVED = """(() => {
    const blobs = [], names = [], make = URL.createObjectURL;
    URL.createObjectURL = (blob) => (blobs.push(blob), make.call(URL, blob));
    const listen = ({ target }) => target.download && names.push(target.download);
    const click = HTMLAnchorElement.prototype.click;
    HTMLAnchorElement.prototype.click = function () { listen({ target: this }); };
    document.getElementById('%s').click();
    URL.createObjectURL = make;
    HTMLAnchorElement.prototype.click = click;
    return Promise.all(blobs.map(async (blob, i) => [names[i], await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result.split(',')[1]);
      reader.readAsDataURL(blob);
    })]));
})()"""
"""Script that presses a button and gives the files that it would save."""


def saved_files(tab: Tab, button: str, kind: str) -> list[bytes]:
    """The files of a ``kind`` that a press on a button gives: as said, and as sent."""
    texts = tab.run(SAVED % button)
    assert [name for name, _ in texts] == [f"said.{kind}", f"sent.{kind}"]
    return [base64.b64decode(text) for _, text in texts]


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def best_likeness(heard: np.ndarray, clip: np.ndarray) -> float:
    """Correlation of ``heard`` with the stretch of the repeated clip that fits best."""
    long = np.concatenate([clip, clip])
    size = 1 << (len(long) + len(heard)).bit_length()
    spectrum = np.fft.rfft(long, size) * np.conj(np.fft.rfft(heard, size))
    at = int(np.argmax(np.fft.irfft(spectrum, size)[: len(long) - len(heard)]))
    return likeness(heard, long[at : at + len(heard)])


def test_speech_comes_back_in_the_voice_that_was_chosen(
    browser: Browser, running: Running, live: Codec, hello: np.ndarray, record_property: Any
) -> None:
    with opened(browser, running.page, script=WITHOUT_VECTORS) as tab:
        first = tab.run("document.querySelector('#voices input:checked + label').firstChild.data")
        talk(tab, 4.0)
        said, sent = said_and_sent(tab)
        assert best_likeness(said[SAMPLE_RATE // 2 : 4 * SAMPLE_RATE], hello) > 0.9
        known = slice(len(sent) - live.latency.total)  # the end was heard before what followed
        wanted = live.convert(said, live.voices[first.strip()])
        assert likeness(sent[known], wanted[known]) > 0.999
        assert tab.run("document.getElementById('figure-codec').textContent") == "by the server"
        total = tab.run("document.getElementById('sum').textContent")
        assert 30 < float(total.split()[0]) < 1000
        record_property("measured", f"mouth to ear in the page's ledger, Chromium: {total}")

        other = "rowan" if live.voices[first.strip()][-1] > 0 else "hazel"
        tab.run(
            f"[...document.querySelectorAll('#voices label')].find((label) => "
            f"label.textContent.startsWith('{other}')).click()"
        )
        wait_for_sound(tab, 2.5)
        said, sent = said_and_sent(tab)
        pitch = live.voice(sent[-2 * SAMPLE_RATE :])[-1]
        assert abs(pitch - live.voices[other][-1]) < abs(pitch - live.voices[first.strip()][-1])

        tab.click("bypass")
        tab.until(f"{LAST} sent.slice(-2000).every((x, i) => x === said.slice(-2000)[i]))")
        assert said_and_sent(tab)[0][-SAMPLE_RATE:].any()
        tab.click("mute")
        tab.until(f"{LAST} said.slice(-2000).every((x) => x === 0))")
        tab.click("talk")
        tab.until("document.getElementById('talk-word').textContent === 'Talk'")
        tab.click("save-codes")
        assert "the server computed" in tab.run("document.getElementById('status').textContent")
        for saved, sound in zip(saved_files(tab, "save", "wav"), said_and_sent(tab), strict=True):
            found, rate = soundfile.read(io.BytesIO(saved), dtype="float32")
            assert rate == SAMPLE_RATE and len(sound) > 4 * SAMPLE_RATE
            np.testing.assert_allclose(found, np.clip(sound, -1, 1), atol=1 / 32768)


def test_who_opens_the_link_hears_the_room(browser: Browser, running: Running) -> None:
    with opened(browser, running.page) as talker:
        talk(talker, 0.2)
        talker.run("document.getElementById('room').value = 'küche'")
        talker.click("broadcast")
        link = talker.until("document.getElementById('link').value")
        assert link.startswith(f"{running.page}#room=k")
        listener = browser.tab()
        listener.open(link.replace("127.0.0.1", ELSEWHERE))
        assert listener.run("globalThis.isSecureContext") is False
        listener.until("document.getElementById('talk-word').textContent === 'Listen'")
        listener.click("talk")
        listener.until("document.body.dataset.state === 'listening'")
        listener.until("import('/app.js').then(({ page }) => page.listen.peak > 0.05)")
        talker.click("broadcast")
        told = "document.getElementById('status').textContent"
        listener.until(f"{told}.startsWith('The broadcast has ended')")
        talker.click("talk")
        assert not listener.complaints
        listener.close()


def test_nobody_talks_over_http_from_elsewhere(browser: Browser, running: Running) -> None:
    tab = browser.tab(microphone=True)
    tab.open(running.page.replace("127.0.0.1", ELSEWHERE))
    told = tab.until("document.getElementById('alert').textContent")
    assert "only to pages that come over https" in told
    tab.close()


def test_a_token_comes_in_the_fragment_and_goes_no_further(
    browser: Browser, guarded: Running
) -> None:
    stranger = browser.tab()
    stranger.open(guarded.page)
    stranger.until("!document.getElementById('token-form').hidden")
    stranger.close()
    with opened(browser, f"{guarded.page}#token={TOKEN}") as tab:
        assert tab.run("location.href") == guarded.page
        talk(tab, 0.2)
        assert len(tab.requests) > 5
        assert not any(TOKEN in url.partition("#")[0] for url in tab.requests)


WATCH_WORDS = (
    "(globalThis.told = '', new MutationObserver(() => (globalThis.told += "
    "document.getElementById('%s').textContent + '|'))"
    ".observe(document.getElementById('%s'), { childList: true })) ?? 1"
)
"""Script that keeps what an element says."""


def test_a_talk_goes_on_over_another_connection(
    browser: Browser, running: Running, live: Codec
) -> None:
    """With its state and its numbers; what was said meanwhile is left out but for the newest."""
    metrics = running.server.runtime.metrics
    before = metrics.sessions["convert"], metrics.sessions["publish"], metrics.returned
    with running.relayed() as relay:
        page = relay.url.replace("ws://", "http://") + "/"
        with opened(browser, page, script=WITHOUT_VECTORS) as tab:
            talk(tab, 0.5)
            tab.click("broadcast")
            tab.until("document.getElementById('link').value")
            tab.run(WATCH_WORDS % ("status", "status"))
            running.call(relay.cut)
            wait_for_sound(tab, 1.0)
            assert "Coming back to where you were …|It works:" in tab.run("globalThis.told")
            named = tab.run(
                "document.querySelector('#voices input:checked + label').firstChild.data"
            )
            said, sent = said_and_sent(tab)
            known = slice(len(sent) - live.latency.total)
            wanted = live.convert(said, live.voices[named.strip()])
            assert likeness(sent[known], wanted[known]) > 0.999

            relay.refuses = True
            running.call(relay.cut)
            wait = "new Promise((next) => setTimeout(next, 1000))"
            tab.run(wait)
            relay.refuses = False
            tab.click("bypass")
            tab.until(f"{LAST} sent.slice(-9000).every((x, i) => x === said.slice(-9000)[i]))")
            tab.until(
                "document.getElementById('room-status').textContent.startsWith('You are live')"
            )
            tab.click("talk")
            tab.complaints = [each for each in tab.complaints if "WebSocket connection" not in each]
    after = metrics.sessions["convert"], metrics.sessions["publish"], metrics.returned
    assert after == (before[0] + 1, before[1] + 1, before[2] + 4)


def test_it_comes_back_when_the_server_does(browser: Browser, guarded: Running) -> None:
    with opened(browser, f"{guarded.page}#token={TOKEN}", script=WITHOUT_VECTORS) as tab:
        talk(tab, 0.2)
        tab.run(WATCH_WORDS % ("status", "status"))
        guarded.restart()
        wait_for_sound(tab, 1.0)
        told = tab.run("globalThis.told")
        assert "Trying again in" in told and told.endswith("It works: say something.|")
        # A browser writes down what it could not connect to, whoever asked it to.
        tab.complaints = [each for each in tab.complaints if "WebSocket connection" not in each]


def test_a_microphone_that_is_refused_is_said_in_words(browser: Browser, running: Running) -> None:
    with opened(browser, running.page, microphone=False) as tab:
        tab.click("talk")
        told = tab.until("document.getElementById('alert').textContent")
        assert told.startswith("The browser does not let this page use the microphone")
        assert tab.run("document.getElementById('talk-word').textContent") == "Talk"


def test_the_page_in_the_document_runs(browser: Browser, running: Running, tmp_path: Path) -> None:
    document = (ROOT / "docs" / "protocol.md").read_text()
    (shown,) = re.findall(r"```html\n(.*?)```", document, re.DOTALL)
    shutil.copy(PAGE / "msgpack.js", tmp_path)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        threading.Thread(target=files.serve_forever, daemon=True).start()
        here = shown.replace("ws://localhost:8765", running.server.url)
        (tmp_path / "index.html").write_text(here)
        tab = browser.tab(microphone=True)
        tab.open(f"http://127.0.0.1:{files.server_port}/index.html")
        tab.run("document.querySelector('button').click()")
        tab.until("Number(document.querySelector('output').textContent.split(' ')[1]) > 80")
        tab.close()
        files.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def modules(recorder: Tab) -> Tab:
    """A tab in which the page's modules can be tried."""
    return recorder


@pytest.mark.parametrize("trace", json.loads(traces.FILE.read_text()), ids=lambda t: t["name"])
def test_the_page_plays_out_as_the_client_does(modules: Tab, trace: dict[str, Any]) -> None:
    assert traces.decide(trace) == trace["decisions"]
    here = modules.run(f"""import('/playout.js').then(({{ PlayoutBuffer }}) => {{
        const trace = {json.dumps(trace)};
        const {{ rate, packet, block, arrivals }} = trace;
        const buffer = new PlayoutBuffer({{ rate }});
        const sound = (start) => Float32Array.from({{ length: packet }}, (_, i) => {{
          const at = start + i;
          return (((at * 7919 + (at * at % 1009) * 131) % 2001) - 1000) / 2000;
        }});
        const levels = [], waits = [];
        let sent = 0;
        for (let i = 0; i < Math.floor(trace.seconds * rate / block); i++) {{
          while (arrivals.length && arrivals[0] <= i * block / rate) {{
            waits.push(buffer.push(sound(sent), arrivals.shift()));
            sent += packet;
          }}
          buffer.pullInto(new Float32Array(block));
          if (i % {traces.LOOK_EVERY} === 0) levels.push(buffer.level);
        }}
        return {{ levels, waits, target: buffer.target, counters: buffer.counters }};
    }})""")
    waits = here.pop("waits")[:: traces.LOOK_EVERY]
    wanted = dict(trace["decisions"])
    np.testing.assert_allclose(waits, wanted.pop("waits"), atol=1e-4)
    assert here == wanted


@pytest.mark.parametrize("rates", [(44100, 16000), (48000, 16000), (16000, 44100), (16000, 48000)])
def test_other_rates_keep_a_tone(modules: Tab, rates: tuple[int, int]) -> None:
    given, wanted = rates
    heard = modules.run(f"""import('/resample.js').then(({{ Resampler }}) => {{
        const resampler = new Resampler({given}, {wanted});
        const out = [];
        for (let start = 0; start < 8000; start += 137) {{
          const tone = (_, i) => Math.sin(2 * Math.PI * 1000 * (start + i) / {given});
          out.push(...resampler.push(Float32Array.from({{ length: 137 }}, tone)));
        }}
        return out;
    }})""")
    tone = np.sin(2 * np.pi * 1000 * np.arange(len(heard)) / wanted)
    assert len(heard) >= 7900 * wanted / given
    assert np.abs(np.array(heard) - tone)[200:].max() < 2e-3


def test_the_page_reads_and_writes_the_messages_of_the_protocol(modules: Tab) -> None:
    texts = [from_hex(example["hex"]).hex() for example in EXAMPLES]
    again = modules.run(f"""import('/msgpack.js').then(({{ pack, unpack }}) => {json.dumps(texts)}
        .map((text) => Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16)))
        .map((bytes) => [...pack(unpack(bytes.buffer))]))""")
    for text, bytes_ in zip(texts, again, strict=True):
        assert msgpack.unpackb(bytes(bytes_)) == msgpack.unpackb(bytes.fromhex(text))


def test_the_page_packs_and_unpacks_codes_as_the_vectors_do(modules: Tab) -> None:
    codes = [v for v in VECTORS if v["message"]["type"] == "codes"]
    vectors = [v for v in codes if not NEVER_ASKED_FOR & {*v["message"]}]
    assert [v["side"] for v in vectors] == 2 * ["client"] + 3 * ["server"]
    for vector in vectors:
        message = vector["message"]
        data = bytes.fromhex(message["data"])
        found = modules.run(READ_VECTOR % (json.dumps(vector), len(data) * 8 // 10 // message["n"]))
        if vector["side"] == "client":
            assert bytes(found).hex() == vector["hex"]
        else:
            assert found["seq"] == message["seq"]
            assert bitstream.pack(np.array(found["frames"]).T) == data


def test_a_voice_of_ones_own_is_recorded_told_apart_and_kept(
    recorder: Tab, live: Codec, voices: Path
) -> None:
    status = "document.getElementById('own-status').textContent"
    recorder.until("document.getElementById('record').textContent === 'Record'")
    told = recorder.run(status)
    assert "is ready" in told, told
    assert "s of speech" in told and "A good recording" in told
    first = "document.querySelector('#voices input:checked + label').textContent"
    assert recorder.run(first).startswith("My voice")
    heard = recorder.run("""import('/voices.js').then(async ({ ownVoices, tryVoice }) => {
        const [{ data, identity, name }] = ownVoices();
        return [[...data], identity, name];
    })""")
    voice = np.frombuffer(bytes(heard[0]), "<f4")
    assert heard[1:] == [str(live.identity), "My voice"] and voice.shape == (256,)

    for name, answer in (
        ("hazel", "The server has a voice of this name already: choose another name."),
        ("Jo\u0308rg B", "The server keeps it as J\u00f6rg-B."),
    ):
        told = recorder.run(status)
        recorder.run(f"document.getElementById('own-name').value = '{name}'")
        recorder.click("keep")
        recorder.until(f"{status} !== {told!r}")
        assert recorder.run(status) == answer
    np.testing.assert_array_equal(read_profile(voices / "J\u00f6rg-B.voice"), voice)
    assert "J\u00f6rg-B" in recorder.run("document.getElementById('voices').textContent")
    recorder.run("document.querySelector('#voices li button').click()")
    recorder.until("document.querySelector('#voices li button').textContent === 'Stop'")
    recorder.run("location.reload()")
    recorder.until(f"{first.replace('.textContent', '?.textContent')}?.startsWith('My voice')")
