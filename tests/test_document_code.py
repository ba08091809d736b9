"""Every Python block of the README and the documents runs, on a minute of speech."""

from __future__ import annotations

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import facodec
from facodec.codec import Codec
from facodec.published.checkpoint import save_ns3
from facodec.published.model import Ns3Model
from streaming.server.listening import Server
from streaming.server.settings import ServerSettings

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(code, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
]
SECONDS = 60
NS3_SECONDS = 30
"""The published model is far slower than the bundled one: a minute takes half a minute on a core
of its own, and a test is to take less than 20 s."""
AFTERWARDS = {
    "def push(hop)": """
hops = audio[: len(audio) // 200 * 200].reshape(-1, 1, 200)
codes = np.concatenate([push(hop)[0] for hop in hops], axis=1)
assert (codes != codec.encode(audio).codes[:, : codes.shape[1]]).mean() < 1e-3  # near ties
"""
}
"""Uses of the functions that a block only defines."""


@pytest.fixture(scope="module")
def minute(hello: np.ndarray) -> np.ndarray:
    return np.tile(hello, 10)[: SECONDS * 16000]


@pytest.mark.parametrize("code", BLOCKS)
def test_the_block_runs(
    code: str,
    minute: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", minute, 16000)
    codec = facodec.load("live")
    if "my-ns3" in code:
        save_ns3(Ns3Model(), "my-ns3")
        minute = minute[: NS3_SECONDS * 16000]
    if '"graphs/' in code:
        Path("graphs").symlink_to(request.getfixturevalue("live_graphs"))
    other = codec.voice(minute)
    known = {"audio": minute, "samples": minute, "reference": minute[:80_000], "other": other}
    asyncio.run(_run(code, known, codec))


async def _run(code: str, known: dict[str, Any], codec: Codec) -> None:
    """A server is there at the address that the document names."""
    async with Server(ServerSettings(port=0, max_sessions=8), {codec.name: codec}) as server:
        here = re.sub(r"ws://(localhost|127\.0\.0\.1):8765", server.url, code)
        await asyncio.to_thread(_execute, here, {**known, "codec": codec})


def _execute(code: str, known: dict[str, Any]) -> None:
    if "async with" in code and "async def" not in code:  # a part of a coroutine
        imports, _, body = code.partition("async with")
        wrapped = textwrap.indent(f"async with{body}\nreturn audio", "    ")
        code = f"{imports}\nasync def main(audio):\n{wrapped}\nimport asyncio\n"
        code += "out = asyncio.run(main(audio))\nassert len(out) == len(audio)\n"
    for part, more in AFTERWARDS.items():
        code += more if part in code else ""
    exec(compile(code, "document", "exec"), known)
