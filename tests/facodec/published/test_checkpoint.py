"""Reading and writing checkpoints of the published model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from facodec.config import Ns3Config
from facodec.published.checkpoint import (
    CheckpointError,
    fold_weight_norm,
    load_ns3,
    read_parameters,
    save_ns3,
)
from facodec.published.model import Ns3Model

SMALL = Ns3Config.small()
ENCODER, DECODER = "ns3_facodec_encoder", "ns3_facodec_decoder"


def official(model: Ns3Model) -> dict[str, dict[str, Tensor]]:
    """The files' contents as published: weight norm not folded, with what only training and the
    fixed filters need."""
    encoder = with_weight_norm(model.encoder.state_dict())
    encoder["block.1.block.0.block.0.upsample.filter"] = torch.zeros(1, 1, 12)
    decoder = with_weight_norm(model.decoder.state_dict())
    decoder["timbre_encoder.position_emb.pe"] = torch.zeros(5000, 1, 256)
    for head in ("f0_predictor.heads.0", "res_phone_predictor.1.heads.0", "x_timbre_predictor.1"):
        decoder[head + ".weight"] = torch.zeros(3, 3)
    return {ENCODER: encoder, DECODER: decoder}


def with_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published file norms all convolutions and the projections of the quantizers."""
    made = {}
    for name, tensor in state.items():
        normed = name.endswith("weight") and (tensor.ndim == 3 or "_proj" in name)
        if normed and "timbre" not in name:
            made[name + "_g"] = tensor.norm(dim=tuple(range(1, tensor.ndim)), keepdim=True)
            made[name + "_v"] = 3 * tensor
        else:
            made[name] = tensor
    return made


def write(directory: Path, files: dict[str, dict[str, Tensor]]) -> Path:
    for stem, tensors in files.items():
        torch.save(tensors, directory / f"{stem}.bin")
    return directory


def assert_same_parameters(ours: Ns3Model, wanted: Ns3Model) -> None:
    for (name, got), (_, want) in zip(
        ours.state_dict().items(), wanted.state_dict().items(), strict=True
    ):
        torch.testing.assert_close(got, want, msg=lambda text, name=name: f"{name}: {text}")


def test_official_files_are_read_and_folded(tmp_path: Path, small_ns3: Ns3Model) -> None:
    loaded = load_ns3(write(tmp_path, official(small_ns3)), SMALL)
    assert_same_parameters(loaded, small_ns3)
    assert not loaded.training


def test_a_saved_model_is_read_again_bit_for_bit(tmp_path: Path, small_ns3: Ns3Model) -> None:
    paths = save_ns3(small_ns3, tmp_path / "new")
    assert sorted(p.name for p in paths) == [f"{DECODER}.safetensors", f"{ENCODER}.safetensors"]
    loaded = load_ns3(tmp_path / "new", SMALL)
    for got, wanted in zip(loaded.parameters(), small_ns3.parameters(), strict=True):
        assert torch.equal(got, wanted)
        assert got.stride() == wanted.stride()


def test_official_safetensors_are_read_too(tmp_path: Path, small_ns3: Ns3Model) -> None:
    for stem, tensors in official(small_ns3).items():
        plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
        safetensors.torch.save_file(plain, tmp_path / f"{stem}.safetensors")
    assert_same_parameters(load_ns3(tmp_path, SMALL), small_ns3)


def test_half_precision_files_are_read_as_single(tmp_path: Path, small_ns3: Ns3Model) -> None:
    files = official(small_ns3)
    files[ENCODER] = {name: tensor.half() for name, tensor in files[ENCODER].items()}
    loaded = load_ns3(write(tmp_path, files), SMALL)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_every_problem_is_named(tmp_path: Path, small_ns3: Ns3Model) -> None:
    files = official(small_ns3)
    decoder = files[DECODER]
    del decoder["timbre_linear.bias"]
    del decoder["model.0.weight_g"]
    del decoder["model.0.bias"]
    decoder["melspec_linear.weight"] = torch.zeros(2, 2)
    decoder["timbre_linear.weight"] = torch.zeros(3, 4)
    decoder["model.1.block.1.weight_g"] = torch.ones(5, 1, 1)
    decoder["predictor.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as caught:
        load_ns3(write(tmp_path, files), SMALL)
    lines = {line.strip() for line in str(caught.value).splitlines()[1:]}
    shape = (5, 1, 1)
    assert lines == {
        "missing: timbre_linear.bias",
        "missing: model.0.bias",
        "missing: model.0.weight (only model.0.weight_v is there)",
        "unexpected: melspec_linear.weight",
        "unexpected: predictor.weight",
        "wrong shape: timbre_linear.weight: expected (512, 256), got (3, 4)",
        f"wrong shape: model.1.block.1.weight_g {shape}, model.1.block.1.weight_v (8, 4, 40) "
        "do not fit each other",
    }
    assert f"{DECODER}.bin" in str(caught.value)


def test_a_weight_twice_over_is_not_expected(tmp_path: Path, small_ns3: Ns3Model) -> None:
    files = official(small_ns3)
    files[ENCODER]["block.0.weight"] = torch.zeros(2, 1, 7)
    with pytest.raises(CheckpointError, match=r"unexpected: block\.0\.weight_[gv]"):
        load_ns3(write(tmp_path, files), SMALL)


def test_wrong_shape_of_a_normed_weight_is_named(tmp_path: Path, small_ns3: Ns3Model) -> None:
    files = official(small_ns3)
    files[ENCODER]["block.0.weight_v"] = torch.ones(2, 1, 5)
    with pytest.raises(
        CheckpointError, match=r"block\.0\.weight: expected \(2, 1, 7.*, got \(2, 1, 5"
    ):
        load_ns3(write(tmp_path, files), SMALL)


def test_missing_files_are_named(tmp_path: Path, small_ns3: Ns3Model) -> None:
    with pytest.raises(CheckpointError, match=r"no such directory.*ns3_facodec_encoder"):
        load_ns3(tmp_path / "nowhere", SMALL)
    torch.save(official(small_ns3)[ENCODER], tmp_path / f"{ENCODER}.bin")
    with pytest.raises(
        CheckpointError, match=r"expected .*decoder\.safetensors or .*decoder\.bin, got .*enc"
    ):
        load_ns3(tmp_path, SMALL)


class Attack:
    """Pickled, it makes a directory when it is unpickled without care."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    target = tmp_path / "attacked"
    torch.save({"block.0.bias": Attack(target)}, tmp_path / f"{ENCODER}.bin")
    with pytest.raises(CheckpointError, match="not a file of plain tensors"):
        read_parameters(tmp_path / f"{ENCODER}.bin")
    assert not target.exists()


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"no tensors here, only text"])
def test_other_files_are_refused(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"{ENCODER}.{ending}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a file of plain tensors"):
        read_parameters(path)


def test_something_else_than_tensors_by_name_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="expected tensors by name, got list"):
        read_parameters(tmp_path / "x.bin")


def test_folding_is_weight_norm() -> None:
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(3, 5, 7))
    length, direction = layer.parametrizations.weight.original0, 2 * layer.weight
    folded = fold_weight_norm({"a.weight_g": length, "a.weight_v": direction})
    torch.testing.assert_close(folded, {"a.weight": layer.weight})
