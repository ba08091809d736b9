"""Words of a command line that are misspelt are told with what may have been meant."""

from __future__ import annotations

import pytest

from clients.parsing import Parser


def parser() -> Parser:
    made = Parser(prog="made")
    made.add_argument("--backend", choices=["auto", "native", "float32"])
    actions = made.add_subparsers(dest="action")
    play = actions.add_parser("play")
    play.add_argument("name")
    play.add_argument("--output")
    actions.add_parser("remove")
    return made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bakend=auto"], "unrecognized arguments: --bakend=auto; did you mean '--backend'?"),
        (["--bakend", "auto"], "(choose from 'play', 'remove'); did you mean '--backend'?"),
        (
            ["--backend", "natve"],
            "(choose from 'auto', 'native', 'float32'); did you mean 'native'?",
        ),
        (["plya", "a"], "did you mean 'play'?"),
        (
            ["play", "a", "--ouput", "b"],
            "unrecognized arguments: --ouput b; did you mean '--output'?",
        ),
        (["play", "--ouput=b"], "required: name; did you mean '--output'?"),
        (["play", "a", "--out", "b"], "unrecognized arguments: --out b; did you mean '--output'?"),
        (["--backend="], "argument --backend: expected a value, got ''"),
        (["play", ""], "argument name: expected a value, got ''"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--backend", "cuda"], "'float32')"),
    ],
)
def test_misspelt_words_are_told_with_what_is_like_them(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        parser().parse_args(words)
    told = capsys.readouterr().err.rstrip()
    assert left.value.code == 2 and told.endswith(message), told


def test_the_usage_is_that_of_the_part_with_the_misspelt_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["play", "a", "--ouput", "b"])
    assert capsys.readouterr().err.startswith("usage: made play ")


def test_a_long_usage_does_not_hide_the_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    made = Parser(prog="made")
    for number in range(40):
        made.add_argument(f"--option-{number}", type=int)
    with pytest.raises(SystemExit):
        made.parse_args(["--option-3", "many"])
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "usage: made ...; made --help shows all of it",
        "made: error: argument --option-3: invalid int value: 'many'",
    ]


def test_right_words_are_taken() -> None:
    taken = parser().parse_args(["--backend", "native", "play", "anna", "--output", "-"])
    assert (taken.backend, taken.action, taken.name, taken.output) == (
        "native",
        "play",
        "anna",
        "-",
    )
