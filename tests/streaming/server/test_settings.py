from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from streaming.server.settings import TOKEN_VARIABLE, ServerSettings, add_arguments, from_arguments


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
        ("--max-sessions 0", "of 1 or more"),
        ("--backlog 0", "above 0 s"),
        ("--drain -1", "of 0 (s )?or more"),
        ("--max-message 10", "1024"),
        ("--host 0.0.0.0", "--token-file"),
        ("--host studio.lan", "--open"),
        ("--token-tries 0", "of 1 or more"),
        ("--token-wait -1", "of 0 (s )?or more"),
        ("--address-sessions -1", "of 0 (s )?or more"),
        ("--address-listeners -1", "of 0 (s )?or more"),
        ("--address-connections -1", "of 0 (s )?or more"),
        ("--token ключ", "expected a token"),
        ("--allow-origin null", "expected an origin"),
        ("--trusted-proxy nginx", "expected a trusted proxy"),
        ("--tls-key key.pem", "--tls-cert"),
    ],
)
def test_nonsense_is_refused(words: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(*words.split())


@pytest.mark.parametrize(
    "words", ["--host 0.0.0.0 --open", "--host :: --token a", "--host ::1", "--host localhost"]
)
def test_hosts_that_are_guarded_or_local(words: str) -> None:
    assert parse(*words.split()).host == words.split()[1]


def test_settings_do_not_load_torch() -> None:
    script = "import sys, streaming.server.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
