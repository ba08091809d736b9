from __future__ import annotations

from pathlib import Path

import pytest

from streaming.server.settings import ServerSettings
from streaming.wire.protocol import Hello
from streaming.wire.tokens import EVERYTHING, Grant, Tokens, check_token, read_token_file

SECRET = "hush-hush"


def write(folder: Path, text: str) -> str:
    path = folder / "tokens"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_of_tokens_with_rights_rooms_and_names(tmp_path: Path) -> None:
    text = """\
    # who may do what

    everything
    speaker publish,subscribe rooms=kitchen-*,hall
    listener subscribe rooms=hall name=anna
    converter convert
    cook publish rooms=ku\u0308che-*
    """
    assert read_token_file(write(tmp_path, text)) == [
        ("everything", Grant("line 3")),
        ("speaker", Grant("line 4", frozenset({"publish", "subscribe"}), ("kitchen-*", "hall"))),
        ("listener", Grant("anna", frozenset({"subscribe"}), ("hall",))),
        ("converter", Grant("line 6", frozenset({"convert"}))),
        ("cook", Grant("line 7", frozenset({"publish"}), ("k\u00fcche-*",))),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no token"),
        ("# nothing\n", "holds no token"),
        (f"{SECRET} listen\n", "line 1: word 2: expected rights"),
        (f"good\n{SECRET} {SECRET}\n", "line 2"),
        (f"{SECRET}\n{SECRET}\n", "twice"),
        (f"{SECRET}é\n", "line 1: expected a token of ASCII"),
        (f"{SECRET * 40}\n", "1 to 256"),
        (f"{SECRET} rooms=\n", "word 2"),
    ],
)
def test_what_is_wrong_is_said_without_a_token(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        read_token_file(write(tmp_path, text))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="no UTF-8"):
        read_token_file(str(tmp_path / "tokens"))


@pytest.mark.parametrize("token", ["ключ", "a b", "", "x" * 257, "a\n", "\ud800"])
def test_tokens_that_could_not_travel_are_refused(token: str) -> None:
    with pytest.raises(ValueError, match="expected a token") as caught:
        check_token(token)
    assert not token or token not in str(caught.value)
    with pytest.raises(ValueError, match="expected a token"):
        ServerSettings(tokens=(token,))


def test_only_known_tokens_are_found() -> None:
    tokens = Tokens([("one", EVERYTHING), ("two", Grant("second"))])
    assert tokens.find("two") == Grant("second") and tokens.find("one") is EVERYTHING
    for wrong in ("", "on", "ones", "ONE", "ключ", "\ud800"):
        assert tokens.find(wrong) is None
    assert tokens and not Tokens()


@pytest.mark.parametrize(
    ("role", "room", "lacks"),
    [
        ("publish", "kitchen-1", None),
        ("publish", "hall", "the right to publish in room 'hall'"),
        ("subscribe", "kitchen-1", "the right to subscribe"),
        ("encode", None, "the right to convert"),
        ("loopback", None, "the right to convert"),
        ("enroll", None, "the right to convert"),
    ],
)
def test_rights(role: str, room: str | None, lacks: str | None) -> None:
    grant = Grant("one", frozenset({"publish"}), ("kitchen-*",))
    assert grant.lacks(role, room) == lacks
    assert EVERYTHING.lacks(role, room) is None


def test_only_all_rights_in_all_rooms_are_everything() -> None:
    assert EVERYTHING.is_everything and Grant("one", rooms=("hall", "*")).is_everything
    assert not Grant("two", rooms=("h*",)).is_everything
    assert not Grant("three", frozenset({"publish", "subscribe"})).is_everything


def test_no_repr_shows_a_token() -> None:
    settings = ServerSettings(tokens=(SECRET,))
    shown = f"{settings!r} {settings} {Tokens([(SECRET, EVERYTHING)])!r} {vars(Tokens())}"
    shown += repr(Hello("encode", token=SECRET))
    assert SECRET not in shown
