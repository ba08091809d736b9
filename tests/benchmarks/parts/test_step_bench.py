"""Benchmarks time what streams compute, and the figures are put together rightly."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.kit import baseline
from benchmarks.kit.gpu_graph import FixedStep
from benchmarks.kit.machine import Calibration, describe, rates, summary
from benchmarks.kit.subjects import INPUTS, Subject, pure_steps, speech
from benchmarks.parts import step
from benchmarks.peers.streams import find_peers, naive
from benchmarks.registry import parse
from clients.cli import main
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import HOP, Ns3Config
from facodec.published.model import Ns3Model
from facodec.states import tensors_of
from tests.exactness import assert_equal_audio

SMALL = ("--batch", "1,2", "--hops", "1", "--seconds", "0.01", "--calls", "4")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small_ns3() -> Codec:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Codec(Ns3Model(Ns3Config.small()))


@pytest.fixture(params=["live", "ns3"])
def codec(request: pytest.FixtureRequest, untrained: Codec, small_ns3: Codec) -> Codec:
    return untrained if request.param == "live" else small_ns3


@pytest.mark.parametrize(("batch", "hops"), [(1, 1), (3, 1), (2, 4)])
def test_a_subject_computes_whole_hops_of_every_stream(codec: Codec, batch: int, hops: int) -> None:
    subject = Subject(codec.steps, batch, hops)
    for _ in range(2):
        assert subject.encode().shape == (batch, 6, hops)
        assert subject.decode().shape == (batch, hops * HOP)


def test_streams_of_a_subject_hear_different_speech(codec: Codec) -> None:
    subject = Subject(codec.steps, 2, 4)
    heard = torch.cat([subject.encode() for _ in range(INPUTS)], dim=2)
    assert not torch.equal(heard[0], heard[1])


def test_a_step_at_fixed_addresses_computes_the_same(codec: Codec) -> None:
    free, fixed = (Subject(codec.steps, 2, 1, captured=c) for c in (False, True))
    assert not fixed.captured  # nothing can be captured without CUDA
    for _ in range(INPUTS + 4):
        assert torch.equal(free.encode(), fixed.encode())
        assert_equal_audio(free.decode(), fixed.decode())


def test_a_fixed_step_leaves_the_state_it_was_given_alone(untrained: Codec) -> None:
    steps = untrained.steps
    with torch.inference_mode():
        state = steps.encoder_state(1)
        before = [tensor.clone() for tensor in tensors_of(state)]
        hop = torch.from_numpy(speech()[:HOP]).unsqueeze(0)
        expected, _ = steps.encoder_step(hop, state)
        fixed = FixedStep(steps.encoder_step, hop, state)
        assert torch.equal(fixed(hop), expected)  # warming up has not moved it
        for tensor, kept in zip(tensors_of(state), before, strict=True):
            assert torch.equal(tensor, kept)


def test_steps_for_graphs_never_look_at_values_on_the_host(codec: Codec) -> None:
    """On the meta device there are no values: a step that asks for one fails."""
    model = type(codec.model)(codec.model.config).to("meta")  # type: ignore[call-arg,attr-defined]
    encode, decode = pure_steps(model)
    with torch.inference_mode():
        encoding, decoding = model.encoder_state(2), model.decoder_state(2, 0)
        audio = torch.zeros(2, 4 * HOP, device="meta")
        codes = torch.zeros(2, 6, 4, dtype=torch.long, device="meta")
        encode(audio, encoding)
        decode(codes, torch.zeros(2, 256, device="meta"), decoding)


def test_the_fused_steps_of_streams_do_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> None:
        raise RuntimeError("recording compares its constants, which meta tensors cannot")

    monkeypatch.setattr(torch.jit, "trace", cannot)
    with torch.inference_mode():
        steps = Codec(LiveModel().to("meta")).steps
        audio = torch.zeros(2, HOP, device="meta")
        codes = torch.zeros(2, 6, 1, dtype=torch.long, device="meta")
        steps.encoder_step(audio, steps.encoder_state(2))
        steps.decoder_step(codes, torch.zeros(2, 256, device="meta"), steps.decoder_state(2, 0))


def test_every_case_is_measured_with_its_ratios() -> None:
    args = parse("step", [*SMALL, "--backend", "none-such"])
    with pytest.raises(ValueError, match="none-such left out"):
        step.measure(args, {})
    result: dict[str, Any] = {}
    step.measure(parse("step", SMALL), result)
    assert [(c["batch"], c["side"]) for c in result["cases"]] == [
        (1, "encode"), (1, "decode"), (2, "encode"), (2, "decode"),
    ]  # fmt: skip
    for case in result["cases"]:
        assert 0 < case["call_ms"]["p50"] <= case["call_ms"]["p95"] <= case["call_ms"]["p99"]
        assert case["call_ms"]["count"] >= 4 and case["to_calibration"] > 0
    (table,) = step.tables(result)
    assert len(table.rows) == 2
    (chart,) = step.charts(result)
    ((xs, ys),) = chart.lines.values()
    assert list(xs) == [1.0, 2.0]
    first, second = result["cases"][2:]
    assert ys[1] == pytest.approx((first["call_ms"]["p50"] + second["call_ms"]["p50"]) / 2)


def test_peers_take_their_own_pieces_and_are_compared_per_second(untrained: Codec) -> None:
    peers, left_out = find_peers(speech())
    assert len(peers) + len(left_out) == 3
    for peer in [*peers, naive(untrained, speech())]:
        assert peer.piece > 0
        peer.encode()
        peer.decode()
    for sentence in left_out:
        assert "left out: " in sentence


def test_the_naive_way_costs_a_whole_window(untrained: Codec) -> None:
    peer = naive(untrained, speech())
    assert peer.piece == HOP / 16_000
    decoded = peer.decode()
    assert isinstance(decoded, np.ndarray) and len(decoded) == 16_000


def test_the_calibration_is_always_the_same_work() -> None:
    assert torch.equal(Calibration()(), Calibration()())


def test_the_machine_says_what_it_is() -> None:
    facts = describe(threads=1, seed=7)
    assert facts["seed"] == 7 and facts["torch_threads"] == 1 and facts["cores"] >= 1
    assert "torch" in facts["packages"]
    line = summary(facts)
    assert facts["python"] in line and "seed 7" in line
    measured = rates(0.01)
    assert all(rate > 0 for kind in ("read_gb_s", "gflop_s") for rate in measured[kind].values())


def test_what_got_slower_is_found(tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    baseline.save(kept, {"a": 1.0, "b": 2.0, "gone": 1.0})
    told = baseline.compare({"a": 1.2, "b": 3.0, "new": 9.0}, baseline.load(kept), 1.3)
    assert told["slower"] == ["b"] and list(told["cases"]) == ["a", "b"]
    assert baseline.table(told).rows[0][0] == "b"
    with pytest.raises(ValueError, match="none of the cases"):
        baseline.compare({"c": 1.0}, baseline.load(kept), 1.3)
    with pytest.raises(ValueError, match="more than 1, got 1"):
        baseline.compare({"a": 1.0}, baseline.load(kept), 1.0)
    kept.write_text('{"format": 9}')
    with pytest.raises(ValueError, match="is no baseline"):
        baseline.load(kept)


def test_a_slower_step_is_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "step", *SMALL]
    kept = tmp_path / "kept.json"
    assert main([*words, "--save-baseline", str(kept)]) == 0
    impossible = {name: ratio / 1000 for name, ratio in baseline.load(kept).items()}
    baseline.save(kept, impossible)
    assert main([*words, "--baseline", str(kept)]) == 1
    assert "Slower by more than 1.5 times" in capsys.readouterr().out
    easy = {name: ratio * 1e6 for name, ratio in impossible.items()}
    baseline.save(kept, easy)
    assert main([*words, "--baseline", str(kept)]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(["--batch", "0"], "got 0"), (["--hops", "1,x"], "got x"), (["--seconds", "-1"], "got -1")],
)
def test_wrong_numbers_are_refused(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("step", words)
    assert sentence in capsys.readouterr().err


def test_ctrl_c_prints_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.kit.common import run_part
    from clients.ending import INTERRUPTED

    def measure(args: argparse.Namespace, result: dict[str, Any]) -> None:
        step.measure(args, result)
        raise KeyboardInterrupt

    assert run_part(parse("step", [*SMALL, "--json"]), measure, step.tables) == INTERRUPTED
    assert '"complete": false' in capsys.readouterr().out
