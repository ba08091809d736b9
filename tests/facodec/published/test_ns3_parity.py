"""The published model against the golden vectors of its reference implementation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facodec.config import ABSENT
from facodec.published.model import Ns3Model
from tests.exactness import assert_equal_audio, assert_equal_codes, assert_equal_numbers

Golden = dict[str, Tensor]


@pytest.mark.law
@pytest.mark.parametrize("voice", ["a", "b"])
def test_encoder_and_quantizers(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    audio = golden[f"wav_{voice}"].unsqueeze(0)
    assert_equal_numbers(ns3.latent(audio)[0].T, golden[f"v1_{voice}_latent"])
    assert ns3.encode(audio).dtype == torch.int64
    assert_equal_codes(golden[f"v1_{voice}_codes"].long(), ns3, audio[0])


@pytest.mark.parametrize("voice", ["a", "b"])
def test_embedding(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    codes = golden[f"v1_{voice}_codes"].long().unsqueeze(0)
    embedding = ns3.decoder.embed(codes)[0].T
    assert_equal_numbers(embedding, golden[f"v1_{voice}_embedding"])


@pytest.mark.parametrize("voice", ["a", "b"])
def test_timbre(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    timbre = ns3.voice(golden[f"wav_{voice}"].unsqueeze(0))
    assert_equal_numbers(timbre, golden[f"v1_{voice}_timbre"])


@pytest.mark.law
@pytest.mark.parametrize("voice", ["a", "b"])
def test_decoder(ns3: Ns3Model, golden: Golden, voice: str) -> None:
    codes = golden[f"v1_{voice}_codes"].long().unsqueeze(0)
    timbre = golden[f"v1_{voice}_timbre"].unsqueeze(0)
    audio = ns3.decode(codes, timbre)[0]
    assert_equal_audio(audio, golden[f"v1_{voice}_audio"])


@pytest.mark.law
def test_conversion_leaves_out_detail(ns3: Ns3Model, golden: Golden) -> None:
    target = golden["v1_b_timbre"].unsqueeze(0)
    source = golden["v1_a_codes"].long().unsqueeze(0)
    codes = ns3.convert_codes(source, None, target)
    assert torch.equal(codes[:, :3], source[:, :3])
    assert (codes[:, 3:] == ABSENT).all()
    audio = ns3.decode(codes, target)[0]
    assert_equal_audio(audio, golden["v1_a_to_b_noresidual_audio"])


def test_a_timbre_is_the_same_in_every_slot_of_a_batch(ns3: Ns3Model, golden: Golden) -> None:
    latents = [golden["v1_a_latent"][:, start : start + 30].T for start in (0, 30, 60)]
    batch = ns3.decoder.timbre_encoder(torch.stack(latents))
    for row, latent in zip(batch, latents, strict=True):
        alone = ns3.decoder.timbre_encoder(latent.unsqueeze(0))[0]
        assert_equal_numbers(row, alone)


@pytest.mark.law
def test_a_batch_gives_what_each_alone_gives(ns3: Ns3Model, golden: Golden) -> None:
    audio = golden["wav_a"][:12_000].view(3, 4_000)
    timbre = torch.stack((golden["v1_a_timbre"], golden["v1_b_timbre"], golden["v1_a_timbre"]))
    codes = ns3.encode(audio)
    decoded = ns3.decode(codes, timbre)
    for row in range(3):
        one = slice(row, row + 1)
        assert_equal_codes(codes[one], ns3, audio[one])
        alone = ns3.decode(codes[one], timbre[one])
        assert_equal_audio(decoded[one], alone)
