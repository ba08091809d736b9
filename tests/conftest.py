"""Fixtures that tests of all folders share: clips, and the codecs to try."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

import facodec
from benchmarks.peers.tools import Transmit, installed_peers
from benchmarks.speech.words import missing_tools
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from tests import exactness

# Steps are far too small to share between threads, which would only wait for each other.
torch.set_num_threads(int(os.environ.get("FACODEC_TEST_THREADS", "1")))

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data"
SPEECH = "FACODEC_SPEECH"
"""Environment variable: a folder of real speech with ``train`` and ``valid`` in it, not a part
of the repository; what needs it is skipped without it."""


def missing(what: str) -> NoReturn:
    """Skip for want of ``what``, or fail where everything is required (as in CI)."""
    if os.environ.get("FACODEC_TESTS_REQUIRE_ALL"):
        pytest.fail(f"required here, but missing: {what}")
    pytest.skip(f"missing: {what}")


@pytest.fixture(scope="session")
def hello() -> NDArray[np.float32]:
    """Synthetic speech, a woman's voice, 6.5 s at 16 kHz."""
    return soundfile.read(DATA / "hello.flac", dtype="float32")[0]


@pytest.fixture(scope="session")
def reply() -> NDArray[np.float32]:
    """Synthetic speech, a man's voice, 7.2 s at 16 kHz."""
    return soundfile.read(DATA / "reply.flac", dtype="float32")[0]


@pytest.fixture(scope="session")
def speech_folder() -> Path:
    """Real speech of speakers that the bundled model never heard."""
    named = os.environ.get(SPEECH)
    if not named:
        missing(f"a folder of real speech, named by {SPEECH}")
    folder = Path(named) / "valid"
    if not folder.is_dir():
        pytest.fail(f"expected a folder of speech at {folder}, which {SPEECH} names")
    return folder


@pytest.fixture(scope="session")
def bench_tools() -> None:
    """Tools that ``pip install facodec-live[bench]`` brings, parts of which need a compiler."""
    wanted = ("pesq", "pystoi", "speechmos", "matplotlib", "pocketsphinx", "resemblyzer")
    absent = [name for name in wanted if find_spec(name) is None]
    if absent:
        missing(f"{', '.join(absent)}: pip install 'facodec-live[bench]'")


@pytest.fixture(scope="session")
def word_tools() -> None:
    """A speech synthesiser and a recogniser."""
    lacking = missing_tools()
    if lacking:
        missing(lacking)


@pytest.fixture(scope="session")
def peers() -> dict[str, tuple[float, Transmit]]:
    """The other codecs that ``facodec bench quality --peers`` finds; at least one."""
    found = installed_peers()
    if not found:
        missing("opus-tools or codec2")
    return found


@pytest.fixture(scope="session")
def live() -> Codec:
    """The bundled codec."""
    return facodec.load("live")


@pytest.fixture(scope="session")
def live_graphs(live: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the bundled model's exported graphs, which take a third of a minute to make."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="missing: the extra onnx")
    from facodec.onnx.export import export

    assert isinstance(live.model, LiveModel)
    return export(live.model, tmp_path_factory.mktemp("graphs") / "live").parent


@pytest.fixture(scope="session")
def untrained() -> Codec:
    """The live model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Codec(LiveModel())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured on the way (``record_property("measured", sentence)``), and how
    near to the bounds of exactness they came."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {value}")
    if exactness.worst:
        shares = [f"{k} {share:.2g} ({t})" for k, (share, t) in sorted(exactness.worst.items())]
        terminalreporter.write_line(f"exactness, of the bound at most: {', '.join(shares)}")
