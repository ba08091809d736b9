"""Golden vectors of the published model, and checkpoints made by the rule they were made with."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from facodec.config import Ns3Config
from facodec.published.checkpoint import load_ns3
from facodec.published.model import Ns3Model

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def golden_parameter(seed: int, name: str, shape: list[int]) -> torch.Tensor:
    """The value of one parameter by the golden rule; the first case that fits holds."""
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    noise = generator.standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last == "weight_g":
        value = (0.1 if name == "model.6.weight_g" else 0.7) * (1 + 0.1 * noise)
    elif last in ("alpha", "beta"):
        value = 0.3 * noise
    elif last in ("bias", "in_proj_bias"):
        value = 0.01 * noise
    elif "_codebook" in name or "_embs" in name:
        value = noise
    elif len(shape) == 1:
        value = 1 + 0.1 * noise
    else:
        value = noise / math.sqrt(math.prod(shape[1:]))
    return torch.from_numpy(value.astype(np.float32))


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the published reference implementation."""
    with np.load(GOLDEN / "reference.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="session")
def ns3_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of official files at full size, as a user would have it."""
    directory = tmp_path_factory.mktemp("ns3")
    recipe = json.loads((GOLDEN / "parameters.json").read_text())
    for file, entries in recipe["parameters"].items():
        state = {name: golden_parameter(recipe["seed"], name, shape) for name, shape in entries}
        torch.save(state, directory / f"{file}.bin")
    return directory


@pytest.fixture(scope="session")
def ns3(ns3_directory: Path) -> Ns3Model:
    """The published model at full size with golden parameters."""
    return load_ns3(ns3_directory)


@pytest.fixture(scope="session")
def small_ns3() -> Ns3Model:
    """A small model of the published structure; every parameter random, so that nothing (a bias
    of zero, say) hides a mistake at an edge."""
    model = Ns3Model(Ns3Config.small())
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith(("alpha", "beta", "bias")):
                parameter.copy_(0.3 * noise)
            elif parameter.ndim == 1:
                parameter.copy_(1 + 0.1 * noise)
            elif "_codebook" in name:
                parameter.copy_(noise)
            else:
                parameter.copy_(noise / math.sqrt(math.prod(parameter.shape[1:])))
    return model
