"""Exported graphs are compared with the model they came from."""

from __future__ import annotations

import json

import pytest

from benchmarks.parts import graphs
from clients.cli import main

pytest.importorskip("onnxruntime", reason="missing: the extra onnx")
pytest.importorskip("onnxscript", reason="missing: the extra onnx")


def test_graphs_of_the_bundled_model_in_both_precisions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["bench", "graphs", "--model", "live", "--hops", "60", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    exact, rounded = told["graphs"]
    assert (exact["precision"], rounded["precision"]) == ("float32", "int8")
    assert all(share <= 1 / 60 for share in exact["changed"].values())
    assert exact["snr_db"] > 90 and 20 < rounded["snr_db"] < 60
    assert rounded["bytes"] < 0.7 * exact["bytes"]
    assert exact["encode_s"] > 0 and rounded["decode_s"] > 0
    (table,) = graphs.tables(told)
    assert [row[:2] for row in table.rows] == [["live", "float32"], ["live", "int8"]]
