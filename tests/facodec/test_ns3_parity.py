"""The published model against the golden vectors of its reference implementation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facodec.config import ABSENT
from facodec.ns3 import Ns3Model

Golden = dict[str, Tensor]


def relative_error(ours: Tensor, wanted: Tensor) -> float:
    assert ours.shape == wanted.shape
    return float((ours - wanted).norm() / wanted.norm())


def nearest_gap(model: Ns3Model, codes: Tensor, wanted: Tensor, latent: Tensor) -> float:
    """By how much our words are farther from the latent than the wanted ones, at most."""
    first = [quantizer.layers[0] for quantizer in model.decoder.quantizer[:2]]
    gaps = []
    for row, layer in enumerate(first):
        direction = F.normalize(layer.in_proj(latent), dim=-1)
        words = F.normalize(layer._codebook.weight, dim=-1)
        distance = [(direction - words[index[row]]).norm(dim=-1) for index in (codes, wanted)]
        gaps.append((distance[0] - distance[1]).abs().max())
    return float(max(gaps))


@pytest.mark.parametrize("voice", ["a", "b"])
def test_encoder_and_quantizers(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    audio = golden[f"wav_{voice}"].unsqueeze(0)
    latent, codes = ns3.latent(audio), ns3.encode(audio)
    wanted = golden[f"v1_{voice}_codes"].long()
    assert relative_error(latent[0].T, golden[f"v1_{voice}_latent"]) < 1e-4
    assert codes.dtype == torch.int64
    assert torch.equal(codes[0], wanted) or nearest_gap(ns3, codes[0], wanted, latent[0]) < 1e-5


@pytest.mark.parametrize("voice", ["a", "b"])
def test_embedding(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    codes = golden[f"v1_{voice}_codes"].long().unsqueeze(0)
    embedding = ns3.decoder.embed(codes)[0].T
    assert relative_error(embedding, golden[f"v1_{voice}_embedding"]) < 1e-4


@pytest.mark.parametrize("voice", ["a", "b"])
def test_timbre(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    timbre = ns3.voice(golden[f"wav_{voice}"].unsqueeze(0))
    assert relative_error(timbre, golden[f"v1_{voice}_timbre"]) < 1e-4


@pytest.mark.parametrize("voice", ["a", "b"])
def test_decoder(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    codes = golden[f"v1_{voice}_codes"].long().unsqueeze(0)
    timbre = golden[f"v1_{voice}_timbre"].unsqueeze(0)
    audio = ns3.decode(codes, timbre)[0]
    assert relative_error(audio, golden[f"v1_{voice}_audio"]) < 1e-4


def test_conversion_leaves_out_detail(ns3: Ns3Model, golden: Golden) -> None:
    target = golden["v1_b_timbre"].unsqueeze(0)
    source = golden["v1_a_codes"].long().unsqueeze(0)
    codes = ns3.convert_codes(source, None, target)
    assert torch.equal(codes[:, :3], source[:, :3])
    assert (codes[:, 3:] == ABSENT).all()
    audio = ns3.decode(codes, target)[0]
    assert relative_error(audio, golden["v1_a_to_b_noresidual_audio"]) < 1e-4


def test_a_timbre_is_the_same_in_every_slot_of_a_batch(ns3: Ns3Model, golden: Golden) -> None:
    latents = [golden["v1_a_latent"][:, start : start + 30].T for start in (0, 30, 60)]
    batch = ns3.decoder.timbre_encoder(torch.stack(latents))
    for row, latent in zip(batch, latents, strict=True):
        alone = ns3.decoder.timbre_encoder(latent.unsqueeze(0))[0]
        assert relative_error(row, alone) < 1e-5


def test_a_batch_gives_what_each_alone_gives(ns3: Ns3Model, golden: Golden) -> None:
    audio = golden["wav_a"][:12_000].view(3, 4_000)
    timbre = torch.stack((golden["v1_a_timbre"], golden["v1_b_timbre"], golden["v1_a_timbre"]))
    codes = ns3.encode(audio)
    decoded = ns3.decode(codes, timbre)
    for row in range(3):
        one = slice(row, row + 1)
        assert torch.equal(codes[one], ns3.encode(audio[one]))
        alone = ns3.decode(codes[one], timbre[one])
        torch.testing.assert_close(decoded[one], alone, rtol=0, atol=1e-5)
