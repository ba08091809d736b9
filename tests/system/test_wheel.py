"""The wheel that ``make dist`` builds, in environments that hold it and what it asks for, no more.

What it asks for is linked from the environment of the tests, so that nothing is downloaded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.request import urlopen
from zipfile import ZipFile

import numpy as np
import pytest
from packaging.requirements import Requirement

import facodec
from clients.audio.files import read_audio
from clients.cli import PAGE
from tests.conftest import missing

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "tests" / "data" / "hello.flac"
PACKAGES = ("facodec", "streaming", "clients", "benchmarks")
NO_SOURCE = ("__pycache__", "*.py[co]", ".*", "runs", "build", "dist", "*.egg-info")
TIMEOUT = 120


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """A program without the variables that lead to the checkout or to an index of packages."""
    return subprocess.run(
        [str(word) for word in words],
        **{"capture_output": True, "text": True, "timeout": TIMEOUT, "env": clean(), **options},
    )  # type: ignore[call-overload,no-any-return]


def clean(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "FACODEC"))}
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **more}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, which is built from a copy of the checkout."""
    pytest.importorskip("build", reason="missing: the extra dist")
    source = tmp_path_factory.mktemp("source") / "facodec"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*NO_SOURCE))
    out = source.parent / "dist"
    done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (made,) = out.glob("*.whl")
    return made


@dataclass(frozen=True)
class Environment:
    """An environment with the wheel in it."""

    folder: Path

    def facodec(self, *words: object, **options: object) -> subprocess.CompletedProcess[str]:
        return run(self.folder / "bin" / "facodec", *words, cwd=self.folder, **options)


@pytest.fixture(scope="module")
def client(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return install(wheel, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs from the wheel with the extra ``server``."""
    environment = install(wheel, tmp_path_factory.mktemp("server"), "server")
    with subprocess.Popen(
        [environment.folder / "bin" / "facodec", "serve", "--port", "0", "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=environment.folder, env=clean(),
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        found = re.search(r"ws://\S+", process.stdout.readline())
        assert found is not None, process.stderr and process.stderr.read()
        page = process.stdout.readline().split()[2]
        assert page == found[0].replace("ws", "http", 1) + "/"
        for name in sorted(path.name for path in PAGE.iterdir() if path.name != "index.html"):
            with urlopen(page + name, timeout=TIMEOUT) as answer:
                assert answer.read() == (PAGE / name).read_bytes()
        yield found[0]
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


def install(wheel: Path, folder: Path, extra: str = "") -> Environment:
    """The wheel in an environment that holds the distributions it requires, and theirs."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python*/site-packages")
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = metadata.PathDistribution(_told(archive, name, folder))
    for distribution in required(told, extra):
        link(distribution, site)
    done = run(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet",
        "--no-index", "--no-compile", f"{wheel}[{extra}]" if extra else wheel,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Environment(folder)


def _told(archive: ZipFile, name: str, folder: Path) -> Path:
    archive.extract(name, folder / "metadata")
    return folder / "metadata" / Path(name).parent


def required(first: metadata.Distribution, extra: str) -> list[metadata.Distribution]:
    """The distributions that one requires with an extra, and those that they require."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(first, extra)]
    while waiting:
        distribution, wanted = waiting.pop()
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
                continue
            if requirement.name not in found:
                found[requirement.name] = _installed(requirement.name)
                waiting.append((found[requirement.name], ""))
    return list(found.values())


def _installed(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        missing(name)


def link(distribution: metadata.Distribution, site: Path) -> None:
    """Link what a distribution has installed into the packages of another environment."""
    for name in {Path(file).parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(str(distribution.locate_file(name))).resolve())


def test_all_that_belongs_to_the_packages_is_inside(wheel: Path) -> None:
    inside = {*ZipFile(wheel).namelist()}
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= inside
    assert any(name.endswith(".c") for name in expected)
    assert "facodec/weights/live/live.safetensors" in expected
    others = {name.partition("/")[0] for name in inside - expected}
    assert others == {f"facodec_live-{facodec.__version__}.dist-info"}


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        told = archive.read(name).decode()
    assert f"\nVersion: {facodec.__version__}\n" in told
    assert "\nLicense-Expression: Apache-2.0\n" in told and "\nLicense-File: LICENSE\n" in told
    assert "\nProject-URL: " in told
    for extra in ("server", "train", "bench", "onnx", "av", "denoise", "top", "all"):
        assert f"\nProvides-Extra: {extra}\n" in told


def test_a_client_without_torch(client: Environment, server: str) -> None:
    """A file goes through a server of another environment, and sound comes back."""
    python = client.folder / "bin" / "python"
    assert run(python, "-c", "import torch", cwd=client.folder).returncode == 1
    for words in (["--help"], ["talk", "--help"], ["devices", "--help"]):
        assert client.facodec(*words).returncode == 0
    assert client.facodec("--version").stdout == f"facodec-live {facodec.__version__}\n"
    there = {"env": clean(FACODEC_SERVER=server, XDG_CONFIG_HOME=str(client.folder))}
    words = ["--input", HELLO, "--output", "out.wav", "--fast"]
    for more in (["talk"], ["convert", "--voice", "rowan"], ["convert", "--voice", "rms"]):
        done = client.facodec(*more, *words, **there)
        assert done.returncode == 0, done.stderr
        sound = read_audio(client.folder / "out.wav")
        assert abs(len(sound) - len(read_audio(HELLO))) < 1600
        assert np.sqrt(np.mean(sound**2)) > 0.01
    added = client.facodec("voices", "add", "anna", HELLO, **there)
    assert added.returncode == 0, added.stderr
    listed = client.facodec("voices", **there)
    assert listed.returncode == 0 and "anna" in listed.stdout and "hazel" in listed.stdout


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("serve",), "server"),
        (("encode", HELLO, "a.fac"), "server"),
        (("talk", "--serve"), "server"),
        (("publish", "room", "--local"), "server"),
        (("bench", "step"), "server"),
        (("train", "--run", "run", "--data", "."), "train"),
        (("export", "--out", "graphs"), "onnx"),
    ],
)
def test_a_command_names_the_extra_it_lacks(
    client: Environment, words: tuple[object, ...], extra: str
) -> None:
    done = client.facodec(*words)
    assert done.returncode == 2
    assert f"pip install 'facodec-live[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_advice_needs_no_index_for_the_package_itself(client: Environment) -> None:
    """Without an index it is what the extra asks for that pip misses."""
    done = run(
        sys.executable, "-m", "pip", "--python", client.folder / "bin" / "python", "install",
        "--no-index", "facodec-live[server]",
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"No matching distribution found for (torch|safetensors|tqdm)", done.stderr)
