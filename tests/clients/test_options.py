"""Tokens of clients: typed, of the environment, or of a file."""

from __future__ import annotations

import argparse
import os
import threading
from pathlib import Path

import pytest

from clients import options
from clients.errors import UsageError
from clients.options import TOKEN_VARIABLE


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_trust(parser)
    return parser.parse_args(words)


@pytest.fixture()
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    path = tmp_path / "tokens"
    path.write_text("# for guests\nguest-token subscribe\nowner-token\n")
    path.chmod(0o600)
    return str(path)


def test_a_file_goes_before_the_environment(tokens: str) -> None:
    assert options.token(asked()) == "of-the-environment"
    assert options.token(asked("--token", "typed")) == "typed"
    assert options.token(asked("--token-file", tokens)) == "guest-token"
    assert options.token(asked("--token-file", tokens), all_rights=True) == "owner-token"


def test_tokens_come_out_of_a_pipe_once(tmp_path: Path) -> None:
    pipe = tmp_path / "tokens"
    os.mkfifo(pipe)
    feeder = threading.Thread(target=lambda: pipe.write_text("owner-token\n"))
    feeder.start()
    given = asked("--token-file", str(pipe))
    assert [options.token(given) for _ in range(3)] == ["owner-token"] * 3
    feeder.join(20)


def test_a_file_without_such_a_token_is_told(tokens: str) -> None:
    Path(tokens).write_text("guest-token subscribe\n")
    with pytest.raises(UsageError, match=r"expected a token with all rights in .*, got none"):
        options.token(asked("--token-file", tokens), all_rights=True)
    with pytest.raises(UsageError, match="leave one of them out"):
        options.token(asked("--token-file", tokens, "--token", "typed"))
