"""The header of the C library tells of everything that it exports, and of nothing else."""

from __future__ import annotations

import re

from facodec.bundled.steps.layouts import CONSTANTS, KINDS
from facodec.native.compiled import DEFINES, SOURCES

EXPORTED = re.compile(r"^(?!static|typedef|INLINE)[a-z][\w ]*?\**(\w+)\(", re.MULTILINE)
HEADER = (SOURCES / "facodec.h").read_text()


def test_what_is_exported_has_the_prefix_and_is_in_the_header() -> None:
    defined = {name for path in SOURCES.glob("*.c") for name in EXPORTED.findall(path.read_text())}
    assert defined == set(EXPORTED.findall(HEADER))
    assert all(name.startswith("facodec_") for name in defined) and len(defined) == 6


def test_all_structures_are_compared_and_all_sizes_of_the_format_are_given() -> None:
    assert set(KINDS) == set(re.findall(r"^} (\w+);", HEADER, re.MULTILINE))
    given = {flag.removeprefix("-DFACODEC_").partition("=")[0] for flag in DEFINES}
    assert given == set(re.findall(r"= FACODEC_(\w+),", HEADER)) and given < set(CONSTANTS)
