"""Exported graphs in ONNX Runtime: the same as PyTorch, however they are called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import facodec
from facodec.codec import Codec
from facodec.config import HOP, TIMBRE_DIM
from facodec.extras import MissingExtra
from facodec.identity import ModelIdentity
from facodec.model import CodecModel
from facodec.onnx import SIDECAR
from facodec.onnx.cache import _cache
from facodec.onnx.export import export, quantize
from facodec.onnx.fixed import REACH
from facodec.onnx.runtime import OnnxLive, OnnxNs3, load_exported
from facodec.published.model import Ns3Model
from facodec.states import stack_states, unstack_state
from facodec.training.metrics import log_mel_distance
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

pytest.importorskip("onnxruntime", reason="missing: the extra onnx")
pytest.importorskip("onnxscript", reason="missing: the extra onnx")

HOPS = 1_000
Pair = tuple[CodecModel, OnnxLive | OnnxNs3]
Audio = NDArray[np.float32]


@pytest.fixture(scope="session")
def ns3_graphs(small_ns3: Ns3Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(small_ns3, tmp_path_factory.mktemp("graphs") / "ns3").parent


@pytest.fixture(params=["live", "ns3"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """A model in PyTorch, and its graphs."""
    if request.param == "live":
        model = request.getfixturevalue("live").model
    else:
        model = request.getfixturevalue("small_ns3")
    return model, load_exported(request.getfixturevalue(f"{request.param}_graphs"))


@pytest.fixture
def speech(hello: Audio, reply: Audio) -> Tensor:
    """1,000 hops (1, N)."""
    return torch.from_numpy(np.concatenate((hello, reply))[: HOPS * HOP]).unsqueeze(0)


def signal_to_noise(reference: Tensor, other: Tensor) -> float:
    """dB."""
    noise = (reference - other).square().mean().clamp_min(1e-20)
    return float(10 * torch.log10(reference.square().mean() / noise))


def hop_by_hop(model: CodecModel, audio: Tensor, cuts: list[int]) -> tuple[Tensor, Tensor]:
    """Codes of a stream cut after these frames, and what another stream makes of them."""
    heard, spoken, timbre = model.encoder_state(), model.decoder_state(seed=3), timbre_of()
    codes, sound = [], []
    for chunk in audio.tensor_split([cut * HOP for cut in cuts], dim=1):
        found, heard = model.encoder_step(chunk, heard)
        heard_sound, spoken = model.decoder_step(found, timbre, spoken)
        codes.append(found)
        sound.append(heard_sound)
    codes.append(model.encoder_flush(heard))
    last, spoken = model.decoder_step(codes[-1], timbre, spoken)
    sound += [last, model.decoder_flush(timbre, spoken)]
    return torch.cat(codes, dim=2), torch.cat(sound, dim=1)


def timbre_of(batch: int = 1) -> Tensor:
    noise = torch.randn(batch, TIMBRE_DIM, generator=torch.Generator().manual_seed(1))
    return noise / TIMBRE_DIM**0.5


@torch.inference_mode()
def test_a_thousand_hops_are_those_of_pytorch(pair: Pair, speech: Tensor) -> None:
    model, graphs = pair
    codes, timbre = model.encode_with_timbre(speech)
    ours, our_timbre = graphs.encode_with_timbre(speech)
    assert_equal_codes(ours, model, speech)
    assert_equal_numbers(our_timbre, timbre)
    sound = model.decode(codes, timbre, seed=3)
    assert_equal_audio(graphs.decode(codes, timbre, seed=3), sound)


@torch.inference_mode()
@pytest.mark.parametrize(
    "cuts", [[*range(1, 60)], [0, 0, 1, 28, 30], []], ids=["hops", "uneven", "whole"]
)
@pytest.mark.parametrize("frames", [0, 1, 12, 60])
def test_any_chunks_give_what_pytorch_gives_offline(
    pair: Pair, speech: Tensor, cuts: list[int], frames: int
) -> None:
    model, graphs = pair
    audio = speech[:, 20_000 : 20_000 + frames * HOP]
    codes, sound = hop_by_hop(graphs, audio, cuts)
    assert codes.shape == (1, 6, frames)
    if frames:
        assert_equal_codes(codes, model, audio)
        assert_equal_audio(sound, model.decode(codes, timbre_of(), seed=3))


@torch.inference_mode()
def test_layers_left_out_contribute_nothing(pair: Pair) -> None:
    model, graphs = pair
    codes = torch.randint(0, 1024, (1, 6, 40), generator=torch.Generator().manual_seed(2))
    codes[:, 3:] = -1
    assert_equal_audio(graphs.decode(codes, timbre_of()), model.decode(codes, timbre_of()))


@torch.inference_mode()
def test_settled_streams_step_as_one_batch(pair: Pair, speech: Tensor) -> None:
    """Streams of different ages, each as if it were alone; kept states go on as they were."""
    _, graphs = pair
    settled = max(graphs.encoder.delay, graphs.decoder.delay) + REACH
    ages = (settled, settled + 15)
    heard = [graphs.encoder_step(speech[:, : a * HOP], graphs.encoder_state())[1] for a in ages]
    hop = torch.cat((speech[:, 30_000:30_200], speech[:, 40_000:40_200]))
    codes, after = graphs.encoder_step(hop, stack_states(heard))
    frames = codes.expand(2, 6, settled)
    timbre = timbre_of(2)
    both, spoken = graphs.decoder_step(frames, timbre, graphs.decoder_state(2, seed=3))
    sound, _ = graphs.decoder_step(codes, timbre, spoken)
    for row, own in enumerate(unstack_state(spoken)):
        one = slice(row, row + 1)
        own_codes, own_after = graphs.encoder_step(hop[one], heard[row])
        assert torch.equal(own_codes, codes[one])
        last, _ = graphs.decoder_step(codes[one], timbre[one], own)
        assert_equal_audio(last, sound[one])
        assert own_after.__class__ is after.__class__
    assert both.shape == (2, (settled - graphs.decoder.delay) * HOP)


@torch.inference_mode()
def test_the_running_timbre_is_that_of_pytorch(pair: Pair, speech: Tensor) -> None:
    model, graphs = pair
    theirs, ours = model.encoder_state(), graphs.encoder_state()
    for chunk in speech[:, : 400 * HOP].split(50 * HOP, dim=1):
        theirs, ours = model.encoder_step(chunk, theirs)[1], graphs.encoder_step(chunk, ours)[1]
        wanted, found = model.encoder_timbre(theirs), graphs.encoder_timbre(ours)
        assert (wanted is None) == (found is None)
        if wanted is not None and found is not None:
            assert_equal_numbers(found, wanted)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "changed", "ratio", "distance"),
    [("live", (0.05, 0.2, 0.6), 25.0, 0.02), ("ns3", (0.3, 0.5, 0.6), 20.0, 0.05)],
)
def test_int8_stays_within_its_distance(
    name: str,
    changed: tuple[float, ...],
    ratio: float,
    distance: float,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    speech: Tensor,
) -> None:
    """Share of codes changed (prosody, content, detail), SNR in dB and log-mels of the audio."""
    shutil.copytree(request.getfixturevalue(f"{name}_graphs"), tmp_path / "int8")
    exact = load_exported(tmp_path / "int8")
    quantize(tmp_path / "int8")
    rough = load_exported(tmp_path / "int8")
    assert rough.backend == "onnx int8"
    codes, timbre = exact.encode_with_timbre(speech)
    wrong = (rough.encode(speech) != codes).float().mean(dim=(0, 2))
    for found, allowed in zip(wrong.split((1, 2, 3)), changed, strict=True):
        assert float(found.max()) <= allowed
    sound, heard = exact.decode(codes, timbre), rough.decode(codes, timbre)
    assert signal_to_noise(sound, heard) >= ratio
    assert log_mel_distance(sound[0].numpy(), heard[0].numpy()) <= distance
    cuts = list(range(1, 100))
    part = speech[:, : 100 * HOP]
    streamed, audio = hop_by_hop(rough, part, cuts)
    assert torch.equal(streamed, rough.encode(part))
    assert torch.equal(audio, rough.decode(streamed, timbre_of(), seed=3))


def test_the_pulses_keep_their_phase(live: Codec, live_graphs: Path) -> None:
    """The phase after some minutes of one note is that of PyTorch, to a millionth of a cycle."""
    graphs, model = load_exported(live_graphs), live.model
    frames = 10_000
    codes = torch.tensor([100 * 8 + 6, 1, 2, 3, 4, 5]).view(1, 6, 1)
    with torch.inference_mode():
        state, ours = model.decoder_state(), graphs.decoder_state()
        for _ in range(frames // 1_000):
            _, state = model.decoder_step(codes.expand(1, 6, 1_000), timbre_of(), state)
            _, ours = graphs.decoder_step(codes.expand(1, 6, 1_000), timbre_of(), ours)
    phase = ours.tensors[graphs.decoder.index("synthesis.phase")]
    assert abs(float(phase - state.synthesis.phase)) < 1e-6


def test_the_sidecar_describes_the_graphs(live_graphs: Path) -> None:
    import onnxruntime

    told = json.loads((live_graphs / SIDECAR).read_text())
    assert told["latency"] == {"encoder": 200, "decoder": 200}
    for graph in told["graphs"].values():
        session = onnxruntime.InferenceSession(
            live_graphs / graph["file"], providers=["CPUExecutionProvider"]
        )
        inputs = {i.name: i.shape for i in session.get_inputs()}
        for prefix, tensors in (("", graph["inputs"]), ("state.", graph["states"])):
            for name, tensor in tensors.items():
                assert inputs.pop(prefix + name)[1:] == tensor["shape"]
        assert not inputs
        outputs = [*graph["outputs"], *(f"next.{name}" for name in graph["states"])]
        assert [o.name for o in session.get_outputs()] == outputs


def test_graphs_are_the_model_they_were_exported_from(
    live_graphs: Path, live: Codec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "graphs"
    shutil.copytree(live_graphs, copy)
    told = json.loads((copy / SIDECAR).read_text())
    assert told["identity"] == str(live.identity) == str(facodec.load(copy).identity)
    (copy / SIDECAR).write_text(json.dumps({k: v for k, v in told.items() if k != "identity"}))
    assert facodec.load(copy).identity == ModelIdentity("live")
    assert "do not say which weights" in caplog.text
    for wrong in ("ns3@0123456789ab", "live@0", 3):
        (copy / SIDECAR).write_text(json.dumps(told | {"identity": wrong}))
        with pytest.raises(ValueError, match=r"expected (a model like|graphs of model)"):
            facodec.load(copy)


def test_a_folder_of_graphs_loads_as_a_codec(live_graphs: Path, hello: Audio) -> None:
    codec = facodec.load(live_graphs)
    assert (codec.name, codec.model.backend) == ("live", "onnx")  # type: ignore[attr-defined]
    frames = codec.encode(hello[:8_000])
    stream = codec.encoder_stream()
    parts = [stream.push(hello[:3_333]), stream.push(hello[3_333:8_000]), stream.flush()]
    assert np.array_equal(np.concatenate(parts, axis=1), frames.codes)
    other = codec.converter_stream(frames.timbre)
    assert len(other.push(hello[:8_000])) + len(other.flush()) == 8_000


def test_what_cannot_be_done_is_said(live_graphs: Path, live: Codec, tmp_path: Path) -> None:
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: facodec.load(live_graphs, backend="int8"), "graphs run in ONNX Runtime alone"),
        (lambda: export(live.model, tmp_path, "int4"), "expected a precision of float32, int8"),  # type: ignore[arg-type]
        (lambda: export(live.model, tmp_path, hops=10**30), "1 to 80 hops a call"),  # type: ignore[arg-type]
        (lambda: load_exported(tmp_path), "cannot read an exported model"),
    ]
    for call, words in refused:
        with pytest.raises(ValueError, match=words):
            call()
    sidecar = json.loads((live_graphs / SIDECAR).read_text())
    (tmp_path / SIDECAR).write_text(json.dumps(sidecar | {"hops_per_call": 4}))
    with pytest.raises(ValueError, match=r"got .* for 4"):
        load_exported(tmp_path)


def test_graphs_are_kept_for_this_user_alone_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _cache() == tmp_path / "facodec" / "onnx"
    assert not caplog.records
    (tmp_path / "facodec" / "onnx").rmdir()
    (tmp_path / "facodec" / "onnx").symlink_to(tmp_path)
    assert _cache() not in (tmp_path, tmp_path / "facodec" / "onnx")
    assert "cannot be kept" in caplog.text and "is a link" in caplog.text


def test_without_the_packages_the_extra_is_named(
    live_graphs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"facodec-live\[onnx\]"):
        load_exported(live_graphs)


def test_what_is_no_speech_is_no_voice_of_graphs_either(
    live_graphs: Path, live: Codec, hello: Audio
) -> None:
    codec = facodec.load(live_graphs)
    with pytest.raises(ValueError, match=r"no speech found in 0\.5 s of audio"):
        codec.voice(np.zeros(8_000, np.float32))
    part = hello[:24_000]
    assert_equal_numbers(codec.voice(part), live.voice(part))


def test_a_damaged_description_is_a_sentence(live_graphs: Path, tmp_path: Path) -> None:
    for name in ("encoder.onnx", "decoder.onnx", "talker.onnx"):
        (tmp_path / name).symlink_to(live_graphs / name)
    whole = (live_graphs / SIDECAR).read_text()
    huge = json.loads(whole)
    name = next(iter(huge["graphs"]["encoder"]["states"]))
    huge["graphs"]["encoder"]["states"][name]["shape"] = [1_000_000_000]
    for text, words in (
        ("[]", "list"),
        (whole[:200], "is damaged"),
        (whole.replace('"graphs"', '"grafs"'), "there is no 'graphs'"),
        (whole.replace('"dtype": "float32"', '"dtype": "float33"'), "float33"),
        (json.dumps(huge), "states of at most"),
    ):
        (tmp_path / SIDECAR).write_text(text)
        with pytest.raises(ValueError, match=f"cannot read an exported model from .*({words})"):
            load_exported(tmp_path)
    (tmp_path / SIDECAR).write_text(whole)
    (tmp_path / "talker.onnx").unlink()
    (tmp_path / "talker.onnx").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"talker\.onnx is a device"):
        load_exported(tmp_path)


def test_a_graph_with_a_bit_that_changed_is_refused(live_graphs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "graphs"
    shutil.copytree(live_graphs, copy)
    data = bytearray((copy / "decoder.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "decoder.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=r"decoder\.onnx is damaged"):
        load_exported(copy)
    older = json.loads((copy / SIDECAR).read_text())
    for graph in older["graphs"].values():
        del graph["sha256"]
    (copy / SIDECAR).write_text(json.dumps(older))
    load_exported(copy)


def test_an_export_that_fails_leaves_the_older_graphs(
    live_graphs: Path, untrained: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "graphs"
    shutil.copytree(live_graphs, copy)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("facodec.onnx.export._write", full)
    with pytest.raises(OSError, match="No space"):
        export(untrained.model, copy)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {
        path.name: path.read_bytes() for path in live_graphs.iterdir()
    }
