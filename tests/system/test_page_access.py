"""The page for everybody: small screens, keyboards and screen readers, and what browsers refuse,
take away or do in a way of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.kit.browser import Browser, Tab
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from tests.system.test_page import (
    WITHOUT_VECTORS,
    Running,
    best_likeness,
    opened,
    said_and_sent,
    talk,
    wait_for_sound,
)

NARROW = 360
STATUS = "document.getElementById('status').textContent"
NAMED_ROLES = {
    "button", "checkbox", "combobox", "meter", "progressbar", "radio", "radiogroup", "slider",
    "textbox",
}  # fmt: skip
WATCHED = """
    globalThis.naming = (one) =>
      one.name === 'voice' ? 'voice' : one.id || one.ariaLabel || one.textContent;
    globalThis.contexts = [];
    globalThis.streams = [];
    globalThis.asked = 0;
    globalThis.live = () =>
      streams.filter((one) => one.getTracks()[0].readyState === 'live').length;
    globalThis.AudioContext = class extends AudioContext {
      constructor(...words) { super(...words); contexts.push(this); }
    };
    const ask = MediaDevices.prototype.getUserMedia;
    MediaDevices.prototype.getUserMedia = async function (...words) {
      if (globalThis.refusal) throw new DOMException('', globalThis.refusal);
      asked++;
      await globalThis.asking;
      streams.push(await ask.apply(this, words));
      return (globalThis.stream = streams.at(-1));
    };
"""
"""Script by which a test gets hold of what the page opens, refuses the microphone, and names
elements."""
NO_RATES = """
    globalThis.AudioContext = class extends AudioContext {
      constructor(options) {
        if (options?.sampleRate) throw new DOMException('', 'NotSupportedError');
        super(options);
      }
    };
"""
CONTRASTS = """(() => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => numbers(colour).slice(0, 3).map((value) => value / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (one) => {
      for (; one; one = one.parentElement) {
        const colour = getComputedStyle(one).backgroundColor;
        if ((numbers(colour)[3] ?? 1) === 1) return colour;
      }
      return 'rgb(255, 255, 255)';
    };
    return [...document.querySelectorAll('body *')]
      .filter((one) => one.checkVisibility() && !one.disabled)
      .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
      .map((one) => {
        const [a, b] = [getComputedStyle(one).color, behind(one)].map(light);
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 80)];
      });
})()"""
"""Contrast of every text with what is behind it."""
FOCUSED = """(() => {
    const one = document.activeElement;
    if (one === document.body) return null;
    const { outlineStyle, outlineWidth } = getComputedStyle(one);
    return [naming(one), outlineStyle, outlineWidth];
})()"""


@pytest.fixture(scope="module")
def running(live: Codec) -> Iterator[Running]:
    with contextlib.closing(Running(live)) as server:
        yield server


@pytest.fixture(scope="module")
def tab(browser: Browser, running: Running) -> Iterator[Tab]:
    """A tab in which everything is shown."""
    with opened(browser, running.page, script=WITHOUT_VECTORS + WATCHED) as tab:
        tab.click("help")
        tab.run("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        yield tab


@pytest.fixture
def talker(tab: Tab) -> Iterator[Tab]:
    """The tab while it talks."""
    talk(tab, 0.1)
    yield tab
    tab.click("talk")
    tab.until("document.body.dataset.state === 'stopped'")


def resize(tab: Tab, width: int, height: int) -> None:
    tab.call(
        "Emulation.setDeviceMetricsOverride",
        width=width, height=height, deviceScaleFactor=1, mobile=False,
    )  # fmt: skip


def press(tab: Tab, key: str, code: int, text: str = "") -> None:
    """A key of the keyboard, by its name and its number."""
    told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
    tab.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
    tab.call("Input.dispatchKeyEvent", type="keyUp", **told)


@pytest.mark.parametrize("width", [NARROW, 1200])
def test_nothing_sticks_out(tab: Tab, width: int) -> None:
    resize(tab, width, 740)
    assert tab.run("document.documentElement.scrollWidth") <= width
    outside = tab.run(f"""[...document.querySelectorAll('body *')]
        .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width)
        .filter((one) => one.getBoundingClientRect().left < 0
          || one.getBoundingClientRect().right > {width})
        .map((one) => one.outerHTML.slice(0, 80))""")
    assert outside == []
    small = tab.run("""[...document.querySelectorAll('button, select, summary')]
        .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 24)
        .map((one) => one.outerHTML.slice(0, 80))""")
    assert small == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(tab: Tab, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    tab.call("Emulation.setEmulatedMedia", features=[feature])
    contrasts = tab.run(CONTRASTS)
    assert len(contrasts) > 40
    assert [each for each in contrasts if each[0] < 4.5] == []


def test_all_of_it_can_be_reached_and_used_by_keyboard(tab: Tab) -> None:
    wanted = tab.run("""[...document.querySelectorAll('button, input, select, summary')]
        .filter((one) => one.checkVisibility() && !one.disabled)
        .map(naming)""")
    tab.call("Page.bringToFront")
    tab.run("document.activeElement.blur()")
    reached = []
    for _ in range(len(wanted)):
        press(tab, "Tab", 9)
        focused = tab.run(FOCUSED)
        if focused is None:
            break
        name, style, size = focused
        assert style == "solid" and float(size.removesuffix("px")) >= 2, name
        reached.append(name)
    assert set(reached) == set(wanted)

    chosen = "document.querySelector('#voices input:checked').id"
    tab.run("document.querySelector('#voices input:checked').focus()")
    before = tab.run(chosen)
    press(tab, "ArrowDown", 40)
    assert tab.run(chosen) != before
    tab.run("document.getElementById('talk').focus()")
    press(tab, "Enter", 13, "\r")
    tab.until("document.body.dataset.state === 'talking'")
    press(tab, "Enter", 13, "\r")
    tab.until("document.body.dataset.state === 'stopped'")


def test_a_screen_reader_has_a_name_for_everything(tab: Tab) -> None:
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    told = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node["ignored"]
    ]
    named = [one for one in told if one[0] in NAMED_ROLES]
    assert {role for role, _ in named} == NAMED_ROLES
    assert [role for role, name in named if not name.strip()] == []
    buttons = [name for role, name in named if role == "button"]
    assert len(buttons) == len(set(buttons)), sorted(buttons)
    live = tab.run(
        "[...document.querySelectorAll('[role=status], [role=alert]')].map(({ id }) => id)"
    )
    assert {"alert", "status", "own-status", "room-status"} <= set(live)


def test_nothing_from_elsewhere_runs(tab: Tab) -> None:
    tab.run("""(() => {
        const script = document.createElement('script');
        script.textContent = 'globalThis.intruded = true';
        document.body.append(script);
        const image = new Image();
        document.body.append(image);
        return new Promise((resolve) => {
          image.onerror = resolve;
          image.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';
        });
    })()""")
    assert tab.run("globalThis.intruded === undefined")
    blocked = [each for each in tab.complaints if "Content Security Policy" in each]
    assert len(blocked) >= 2 and len(blocked) == len(tab.complaints)
    tab.complaints.clear()


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ("NotAllowedError", "The browser does not let this page use the microphone."),
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "The microphone is there but gives no sound"),
        ("SecurityError", "The browser's settings keep pages from using a microphone."),
        ("OverconstrainedError", "This microphone cannot be used"),
    ],
)
def test_each_failure_of_a_microphone_is_a_sentence(tab: Tab, refusal: str, sentence: str) -> None:
    alert = "document.getElementById('alert').textContent"
    tab.run(f"(globalThis.refusal = '{refusal}')")
    tab.click("talk")
    tab.until(f"{alert}.startsWith({sentence!r})")
    tab.until("document.getElementById('talk-word').textContent === 'Talk'")
    tab.run("(globalThis.refusal = null)")


def test_sound_that_the_browser_halts_goes_on_by_a_click(talker: Tab) -> None:
    talker.run("contexts.at(-1).suspend()")
    talker.until(f"{STATUS} === 'The browser has halted the sound.'")
    assert talker.run("document.getElementById('resume').checkVisibility()")
    talker.click("resume")
    talker.until("document.getElementById('resume').hidden")
    assert talker.run(STATUS) == "It works: say something."
    wait_for_sound(talker, 0.1)


def test_a_microphone_that_is_unplugged_gives_way_to_the_usual_one(talker: Tab) -> None:
    first = talker.run("stream.id")
    talker.run("stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    talker.until(f"stream.id !== {first!r}")
    assert talker.run(STATUS) == "The microphone went away: taking the usual one."
    wait_for_sound(talker, 0.1)


def test_a_microphone_that_the_browser_takes_away_is_told(talker: Tab) -> None:
    track = "stream.getAudioTracks()[0].dispatchEvent(new Event('%s'))"
    talker.run(track % "mute")
    assert talker.run(STATUS).startswith("The browser has taken the microphone away")
    talker.run(track % "unmute")
    assert talker.run(STATUS) == "It works: say something."


def test_another_microphone_can_be_chosen_while_talking(talker: Tab) -> None:
    talker.until("document.querySelectorAll('#device option').length > 2")
    wanted = talker.run("""(() => {
        const select = document.getElementById('device');
        select.value = select.options[2].value;
        select.dispatchEvent(new Event('change'));
        return select.value;
    })()""")
    talker.until(f"stream.getAudioTracks()[0].getSettings().deviceId === {wanted!r}")
    wait_for_sound(talker, 0.1)
    talker.run("navigator.mediaDevices.dispatchEvent(new Event('devicechange')) && null")
    assert talker.run("document.getElementById('device').value") == wanted


def test_sound_goes_on_while_the_tab_is_hidden(browser: Browser, talker: Tab) -> None:
    front = {"url": "about:blank", "browserContextId": talker.context, "newWindow": False}
    target = browser.call("Target.createTarget", front)["targetId"]
    talker.until("document.visibilityState === 'hidden'")
    wait_for_sound(talker, 0.5)
    browser.call("Target.closeTarget", {"targetId": target})


def test_a_browser_that_has_no_16_khz_is_resampled(
    browser: Browser, running: Running, hello: np.ndarray
) -> None:
    with opened(browser, running.page, script=NO_RATES) as tab:
        talk(tab, 2.0)
        said, sent = said_and_sent(tab)
        assert best_likeness(said[SAMPLE_RATE // 2 : 2 * SAMPLE_RATE], hello) > 0.9
        assert np.abs(sent).max() > 0.02
        tab.click("talk")


STATE = "document.body.dataset.state"
NO_STORAGE = """
    const refuse = { get() { throw new DOMException('', 'SecurityError'); } };
    for (const kind of ['localStorage', 'sessionStorage'])
      Object.defineProperty(globalThis, kind, refuse);
"""


def test_a_double_click_is_one_press(tab: Tab) -> None:
    tab.call("Page.bringToFront")
    tab.run("document.getElementById('talk').scrollIntoView()")
    box = tab.run("document.getElementById('talk').getBoundingClientRect().toJSON()")
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            tab.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=count, **at)
    tab.until(f"{STATE} === 'talking'")
    tab.click("talk")
    assert tab.run(STATE) == "stopped"


def test_hasty_hands_leave_one_talk_and_one_microphone(talker: Tab) -> None:
    opened = talker.run("streams.length")
    talker.run("[1, 2, 3].forEach(() => document.getElementById('noise').click())")
    talker.until(f"streams.length === {opened + 3}")
    assert talker.run("live()") == 1
    for _ in range(2):
        talker.click("talk")  # stopped, and on again
    talker.until(f"{STATE} === 'talking'")
    talker.until("live() === 1")


def test_stop_does_not_wait_for_who_is_asked_for_the_microphone(tab: Tab) -> None:
    tab.run("(globalThis.asking = new Promise((next) => (globalThis.answer = next))) && 0")
    opened, asked = tab.run("[streams.length, asked]")
    tab.click("talk")
    tab.until(f"asked > {asked}")
    tab.click("talk")
    assert tab.run(STATE) == "stopped"
    tab.run("answer() ?? (globalThis.asking = null)")
    tab.until(f"streams.length > {opened}")
    tab.until("live() === 0")


def test_a_microphone_that_is_plugged_in_again_is_taken(talker: Tab) -> None:
    talker.run("(globalThis.refusal = 'NotFoundError')")
    talker.run("stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    talker.until(f"{STATE} === 'microphone-lost'")
    assert "plug one in" in talker.run(STATUS)
    talker.run("globalThis.refusal = null")
    talker.run("navigator.mediaDevices.dispatchEvent(new Event('devicechange')) && 0")
    talker.until(f"{STATE} === 'talking'")
    assert talker.run("live()") == 1


def test_a_browser_that_keeps_nothing_talks_all_the_same(
    browser: Browser, running: Running
) -> None:
    with opened(browser, running.page, script=WITHOUT_VECTORS + NO_STORAGE) as tab:
        tab.click("voice-2")
        kept = "import('/page.js').then(({ kept }) => [kept.voice, kept.echo])"
        name = "document.querySelector('#voice-2 + label').textContent.split(' ')[0]"
        assert tab.run(kept) == [tab.run(name), False]
        script = (
            "import('/voices.js').then(({ keepVoices, ownVoices }) => [keepVoices([{ name: 'a',"
        )
        assert tab.run(f"{script} identity: 'b', data: [1] }}]), ownVoices()[0].name])") == [
            False,
            "a",
        ]
