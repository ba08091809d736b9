"""Chromium without a window, driven over its DevTools protocol, with a file for a microphone."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from websockets.sync.client import ClientConnection, connect

from facodec.files import write_bytes

PATIENCE = 30.0
"""Seconds after which something that should have happened never will."""
LOOK_EVERY = 0.05
ELSEWHERE = "page.example"
"""A name of this machine by which a page over http is not trusted with a microphone."""
SWITCHES = (
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--remote-debugging-port=0",
)


class Tab:
    """One page. What it complains of in its console is kept in ``complaints``."""

    def __init__(self, browser: Browser, context: str, target: str, session: str) -> None:
        self.complaints: list[str] = []
        self.context = context
        self.requests: list[str] = []
        self._browser = browser
        self._target = target
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call of the DevTools protocol."""
        return self._browser.call(method, parameters, self._session)

    def open(self, url: str) -> None:
        """Opens a page and waits until it has loaded."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; its exceptions are AssertionErrors."""
        answer = self.call(
            "Runtime.evaluate",
            expression=f"(async () => ({script}))()",
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        problem = answer.get("exceptionDetails")
        assert problem is None, problem["exception"].get("description", problem)
        return answer["result"].get("value")

    def until(self, condition: str, patience: float = PATIENCE) -> Any:
        """Waits until an expression is true; returns its value."""
        deadline = time.monotonic() + patience
        while not (value := self.run(condition)):
            state = self.run("document.body?.innerText?.slice(0, 600)")
            assert time.monotonic() < deadline, f"never came true: {condition}\nthe page: {state}"
            time.sleep(LOOK_EVERY)
        return value

    def click(self, name: str) -> None:
        """Presses the element of that id as a user does."""
        self.run(f"document.getElementById({json.dumps(name)}).click()")

    def samples(self, expression: str) -> np.ndarray:
        """A Float32Array of the page as float32 (n,)."""
        script = (
            "import('/app.js').then(({ page, lastSeconds }) => { const array = "
            f"{expression}; let text = ''; const bytes = new Uint8Array(array.buffer, "
            "array.byteOffset, array.byteLength); for (const byte of bytes) "
            "text += String.fromCharCode(byte); return btoa(text); })"
        )
        return np.frombuffer(base64.b64decode(self.run(script)), "<f4")

    def picture(self, path: Path, width: int, height: int, scheme: str = "light") -> None:
        """Writes a screenshot as PNG; ``scheme``: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        data = self.call("Page.captureScreenshot", format="png")["data"]
        write_bytes(path, base64.b64decode(data))

    def close(self) -> None:
        """Closes it, and the window of its own that it is in."""
        self._browser.call("Target.disposeBrowserContext", {"browserContextId": self.context})

    def take(self, event: dict[str, Any]) -> None:
        """An event of this tab."""
        method, told = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.complaints.append(details.get("exception", details).get("description", "?"))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str([each.get("value") for each in told["args"]]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])


class Browser:
    """A running Chromium. Used from one thread."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._tabs: dict[str, Tab] = {}

    def tab(self, *, microphone: bool | None = None) -> Tab:
        """A new tab with storage of its own. ``microphone``: allowed, or refused; None asks."""
        context = self.call("Target.createBrowserContext", {})["browserContextId"]
        if microphone is not None:
            setting = {
                "permission": {"name": "microphone"},
                "setting": "granted" if microphone else "denied",
                "browserContextId": context,
            }
            self.call("Browser.setPermission", setting)
        wanted = {"url": "about:blank", "browserContextId": context}
        target = self.call("Target.createTarget", wanted)["targetId"]
        attached = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        session = attached["sessionId"]
        self._tabs[session] = Tab(self, context, target, session)
        return self._tabs[session]

    def call(
        self, method: str, parameters: dict[str, Any], session: str | None = None
    ) -> dict[str, Any]:
        """One call of the DevTools protocol; events that come meanwhile go to their tabs."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps({**message, "sessionId": session} if session else message))
        while True:
            answer = json.loads(self._socket.recv(timeout=PATIENCE))
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                found: dict[str, Any] = answer["result"]
                return found
            if tab := self._tabs.get(answer.get("sessionId", "")):
                tab.take(answer)


@contextlib.contextmanager
def chromium(folder: Path, microphone: Path | None = None) -> Iterator[Browser]:
    """A browser with its profile in ``folder`` that hears the wav file ``microphone``, again and
    again. Raises FileNotFoundError where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise FileNotFoundError("chromium")
    switches = [*SWITCHES, f"--user-data-dir={folder}"]
    if microphone is not None:
        switches.append(f"--use-file-for-fake-audio-capture={microphone}")
    process = subprocess.Popen(
        [program, *switches, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = _address(folder / "DevToolsActivePort")
        with connect(url, max_size=None, compression=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def _address(told: Path) -> str:
    """Address where the browser listens, which it writes to a file in its profile."""
    deadline = time.monotonic() + PATIENCE
    while not told.exists() or len(lines := told.read_text().split()) < 2:
        assert time.monotonic() < deadline, "chromium did not start"
        time.sleep(LOOK_EVERY)
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
