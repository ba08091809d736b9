"""The rules for words: a docstring's first sentence stands alone; an error that says what it got
says what was expected."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_architecture import modules, tree
from tests.test_mirror import python_files

NOT_ALONE = re.compile(
    r"\s*(?:What|The same|Of|Where|Who|Whom|Whose|Why|How|Which|When|That|Those|It|So|By|Like)\b"
)
"""Beginnings of sentences that say something only together with the code around them."""


def docstrings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of the docstrings in a file, those of attributes and constants among them."""
    for node in ast.walk(module):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            for before, one in zip([None, *body], body, strict=False):
                first = before is None and not isinstance(node, ast.If | ast.For | ast.While)
                if first or isinstance(before, ast.Assign | ast.AnnAssign):
                    yield from _text(one)


def _text(node: ast.AST) -> Iterator[tuple[int, str]]:
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.lineno, value.value


def errors(module: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, text) of what the ``raise`` statements of a file say, without values in it."""
    for node in ast.walk(module):
        if isinstance(node, ast.Raise) and node.exc is not None:
            parts = [part for part in ast.walk(node.exc) if isinstance(part, ast.Constant)]
            yield node.lineno, " ".join(str(part.value) for part in parts)


def is_half(text: str) -> bool:
    """Whether an error says what came and not what should have come."""
    return re.search(r"\bgot\b", text) is not None and "expected" not in text


def test_errors_say_what_was_expected() -> None:
    paths = modules().values()
    found = [(path, line, text) for path in paths for line, text in errors(tree(path))]
    assert len(found) > 400
    assert [(str(path), line) for path, line, text in found if is_half(text)] == []


@pytest.mark.parametrize(
    ("source", "half"),
    [
        ('raise ValueError(f"port must be in 0..65535, got {port}")', True),
        ('raise ValueError(f"expected a port in 0..65535, got {port}")', False),
        ('raise ValueError("the file is closed")', False),
    ],
)
def test_errors_that_do_not_are_found(source: str, half: bool) -> None:
    assert [is_half(text) for _, text in errors(ast.parse(source))] == [half]


def test_first_sentences_stand_alone() -> None:
    paths = [*modules().values(), *python_files()]
    found = [(path, line, text) for path in paths for line, text in docstrings(tree(path))]
    assert len(found) > 2_000
    assert [(str(path), line) for path, line, text in found if NOT_ALONE.match(text)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Of a file."""', 1),
        ('def f():\n    """What it gives."""', 1),
        ('X = 1\n"""The same."""', 1),
        ('def f():\n    """Returns what it is given."""', 0),
        ('class A:\n    x: int\n    """Where it is."""', 1),
        ('def f():\n    """How many there are."""', 1),
        ('def f():\n    """Whether there are some."""', 0),
    ],
)
def test_sentences_that_do_not_are_found(source: str, found: int) -> None:
    texts = [text for _, text in docstrings(ast.parse(source))]
    assert len([text for text in texts if NOT_ALONE.match(text)]) == found
