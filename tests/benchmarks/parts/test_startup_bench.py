"""Costs of starting are told of real processes; limits count what the network really reads."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kit import processes
from benchmarks.kit.statistics import most_streams
from benchmarks.kit.subjects import plain_model
from benchmarks.parts import gpu, limits, startup
from benchmarks.registry import parse
from clients.cli import main

WHERE_TOLD = Path("/proc/self/stat").exists()


def test_usage_of_a_process() -> None:
    if not WHERE_TOLD:
        pytest.skip("this system does not tell")
    used = processes.usage(os.getpid())
    assert used is not None and used.cpu > 0 and used.memory > 10 and used.threads >= 1
    assert processes.usage(2**22 + 1) is None


def test_a_server_of_ones_own_ends_with_its_block() -> None:
    with processes.running_server() as server:
        assert server.health()["status"] == "ok" and "facodec_sessions" in server.get("/metrics")
        assert server.ready is not None and server.ready > 0
        pid = server.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_fails_is_no_time() -> None:
    with pytest.raises(Exception, match="returned non-zero exit status 3"):
        startup.time_program(("-c", "raise SystemExit(3)"))


def test_the_whole_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(startup, "TALK_SECONDS", 0.5)
    words = ["bench", "startup", "--runs", "1", "--sessions", "2", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["starts_s"]) == {*startup.STARTS, "server ready"}
    assert set(told["state_bytes"]) == {"encoder", "decoder"}
    if WHERE_TOLD:
        assert told["memory_mib"]["2 active sessions"] > 10
        assert told["threads"]["server's threads in all"] >= 2
    assert startup.tables(told)[0].name == "starts"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_help_of_the_benchmark_is_light() -> None:
    import subprocess

    program = (
        "import sys, clients.cli\n"
        "try: clients.cli.main(['bench', '--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'sounddevice', 'soundfile'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
    assert "facodec bench --quick" in done.stdout


def test_work_of_a_hop_is_at_most_the_whole_network() -> None:
    network = plain_model("live")
    whole = sum(p.numel() * p.element_size() for p in network.parameters()) / 1e6
    work = limits.work("live")
    for side in work.values():
        assert 0 < side["weights_mb"] < whole
        # Each weight of a product is used in at least one product and one sum.
        assert side["mflop"] > 0
    assert work["encode"]["weights_mb"] + work["decode"]["weights_mb"] < 1.2 * whole


def test_limits_are_what_takes_longer() -> None:
    rates: dict[str, Any] = {
        "threads": 1,
        "read_gb_s": {"1 MB": 100.0, "16 MB": 50.0, "128 MB": 10.0},
        "gflop_s": {"float32": 100.0, "bfloat16": 400.0},
    }
    assert [limits.read_rate(size, rates) for size in (0.5, 20.0, 80.0)] == [100.0, 50.0, 10.0]
    case = {"model": "live", "side": "encode", "batch": 1, "hops": 1, "backend": "onnx"}
    result = limits.limits(
        ["live"], rates, [{**case, "call_ms": {"p50": 3.0}}, {**case, "call_ms": {"p50": 2.0}}]
    )
    for row in result["rows"]:
        assert row["limit_ms"] == max(row["read_ms"], row["compute_ms"]) > 0
    assert [(row["side"], row["precision"], row["measured_ms"]) for row in result["rows"]] == [
        ("encode", "float32", 2.0), ("encode", "8 bits", None),
        ("decode", "float32", None), ("decode", "8 bits", None),
    ]  # fmt: skip
    (table,) = limits.tables(result)
    assert len(table.rows) == 4


def test_the_gpu_part_runs_without_one() -> None:
    words = ["--device", "cpu", "--batch", "1,2", "--seconds", "0.01", "--calls", "4", "--model"]
    result: dict[str, Any] = {}
    gpu.measure(parse("gpu", [*words, "live"]), result)
    assert [(t["precision"], t["streams"]) for t in result["ticks"]] == [
        ("float32", 1), ("float32", 2), ("tf32", 1), ("tf32", 2),
    ]  # fmt: skip
    assert not any(tick["captured"] for tick in result["ticks"])
    exact = result["precision"][0]
    assert exact["codes_changed"] == 0 and exact["snr_db"] is None
    assert "no CUDA here" in result["notes"][0]
    assert [table.name for table in gpu.tables(result)] == ["gpu", "precision"]
    assert set(most_streams(result["ticks"])) == {"live float32", "live tf32"}


def test_no_cuda_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "--device", "cuda:77"]) == 1
    assert "device 'cuda:77' cannot be used here" in capsys.readouterr().err
