"""The seam between models and streams: what computes, and how, is asked of the model alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import facodec
from facodec.config import Ns3Config
from facodec.families import BACKENDS, FAMILIES
from facodec.native import compiled
from facodec.published.model import Ns3Model


def test_reading_a_backend_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = facodec.load("live")

    def refused(*_: object) -> None:
        raise AssertionError("compiles")

    with monkeypatch.context() as patch:
        patch.setattr(compiled, "library", refused)
        assert codec.backend == "auto"
    assert codec.steps.backend in ("native", "float32")
    assert codec.backend == codec.steps.backend


def test_the_steps_of_live_say_what_they_are_best_at() -> None:
    steps = facodec.load("live", backend="float32").steps
    assert (steps.hops, steps.exact_sizes) == ((8, 1), False)
    assert steps.in_place is not None and steps.in_place.fewest == 2


def test_no_decoder_is_stepped_in_place_before_its_first_frame() -> None:
    steps = facodec.load("live", backend="float32").steps
    codes, timbre = torch.zeros(2, 6, 1, dtype=torch.long), torch.zeros(2, 256)
    assert steps.in_place is not None
    states, rows = steps.decoder_state(3), torch.tensor([0, 2])
    assert steps.in_place.decoder_step_in_place(codes, timbre, states, rows) is None


def test_the_published_model_steps_itself() -> None:
    model = Ns3Model(Ns3Config.small())
    assert model.steps() is model and model.steps("float32").in_place is None
    with pytest.raises(ValueError, match="expected backend 'float32' of a loaded ns3, got 'int8'"):
        model.steps("int8")


PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_page_on_the_architecture_says_what_is_refused_as_the_table_does() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| backend | `live` | `ns3` |")[2]
    offered: dict[str, list[str]] = {"live": [], "ns3": []}
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for family, cell in zip(offered, cells, strict=True):
            offered[family] += re.findall(r"`(.+?)`", names) if cell != "refused" else []
    for family in FAMILIES:
        assert set(family.backends) == set(BACKENDS)
        assert sorted(family.offered) == sorted(offered.get(family.name, ["auto", "onnx"]))


def test_a_backend_that_a_family_has_not_is_refused_with_its_reason() -> None:
    with pytest.raises(ValueError, match=r"expected a backend of live .*got 'bf16': only products"):
        facodec.load("live", backend="bf16")
