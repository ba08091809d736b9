"""Numbers on the command line of a benchmark: what is none, or out of range, is told."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

import pytest

from benchmarks.kit.common import duration, seed_number, share, whole_number, whole_numbers


@pytest.mark.parametrize("kind", [duration, seed_number, share, whole_number, whole_numbers])
@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1", "1e30", "9" * 30, "9" * 5000])
def test_what_is_no_number(kind: Callable[[str], object], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"expected .*, got"):
        kind(text)


def test_what_is_a_number() -> None:
    assert (duration("0.5"), share("0"), seed_number("0")) == (0.5, 0.0, 0)
    assert whole_numbers("1,2,64") == [1, 2, 64]
