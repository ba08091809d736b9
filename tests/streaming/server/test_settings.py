from __future__ import annotations

import argparse
import math
import subprocess
import sys
from dataclasses import fields

import pytest

from streaming.server.settings import (
    BOUNDS,
    TOKEN_VARIABLE,
    ServerSettings,
    add_arguments,
    from_arguments,
)

NUMBERS = ("int", "float", "int | None")


def parse(*words: str) -> ServerSettings:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_arguments(parser.parse_args(words))


@pytest.fixture(autouse=True)
def no_token_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


def test_no_options_are_the_defaults() -> None:
    assert parse() == ServerSettings()


def test_options_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "from-environment")
    words = "--port 0 --model live --model ./ns3 --token a --drain 0 --backlog 0.5"
    settings = parse(*words.split())
    assert settings.models == ("live", "./ns3")
    assert settings.tokens == ("a", "from-environment")
    assert (settings.port, settings.drain, settings.backlog) == (0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--port 70000", r"0\.\.65535"),
        ("--max-sessions 0", "of 1 to"),
        ("--backlog 0", r"of 0\.001 to"),
        ("--drain -1", "of 0 to"),
        ("--max-message 10", "1024"),
        ("--host 0.0.0.0", "--token-file"),
        ("--host studio.lan", "--open"),
        ("--token-tries 0", "of 1 to"),
        ("--token-wait -1", "of 0 to"),
        ("--address-sessions -1", "of 0 to"),
        ("--address-listeners -1", "of 0 to"),
        ("--address-connections -1", "of 0 to"),
        ("--park inf", "of 0 to 1000000000 s, got inf"),
        ("--drain 1e300", "of 0 to 1000000000 s"),
        ("--ping-interval nan", r"of 0\.001 to 1000000000 s, got nan"),
        ("--message-rate inf", "of 1 to 1000000000, got inf"),
        ("--threads 99999999", "threads of 1 to 1024"),
        ("--max-rooms 99999999999", "of 1 to 1000000000"),
        ("--token ключ", "expected a token"),
        ("--allow-origin null", "expected an origin"),
        ("--trusted-proxy nginx", "expected a trusted proxy"),
        ("--tls-key key.pem", "--tls-cert"),
    ],
)
def test_nonsense_is_refused(words: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(*words.split())


def test_every_number_has_bounds() -> None:
    """Infinite ones, and those that are no number, are refused wherever one can be given."""
    ports = {"port", "quic_port"}
    names = {f.name for f in fields(ServerSettings) if f.type in NUMBERS} - ports
    assert names == {name for *_, bounded in BOUNDS for name in bounded.split()}
    for name in names:
        for value in (math.inf, math.nan):
            with pytest.raises(ValueError, match=rf"expected {name} of .* got {value}"):
                ServerSettings(**{name: value})


@pytest.mark.parametrize(
    "words", ["--host 0.0.0.0 --open", "--host :: --token a", "--host ::1", "--host localhost"]
)
def test_hosts_that_are_guarded_or_local(words: str) -> None:
    assert parse(*words.split()).host == words.split()[1]


def test_settings_do_not_load_torch() -> None:
    script = "import sys, streaming.server.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
