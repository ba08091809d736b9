"""Training of what detail says: only that and the decoder change, with words or without."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from facodec.bundled import prosody
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import ABSENT, HOP, LiveConfig
from facodec.quantizer import SharedQuantizer
from facodec.training import fused
from facodec.training.coded import CodedCorpus
from facodec.training.config import TrainConfig
from facodec.training.detail import DETAIL, DetailObjective
from facodec.training.loop import Trainer
from facodec.training.quantize import quantize
from facodec.training.report import averaged_model
from facodec.training.spectra import frames, spectrum
from facodec.training.words import MovingWords, means
from tests.facodec.training.quieter import assert_it_gets_quieter

SMALL = TrainConfig(
    steps=12,
    stage="detail",
    batch=3,
    frames=60,
    warmup=1,
    learning_rate=1e-3,
    average=0.5,
    unquantized=3,
    placing=12,
    convert=0.4,
)


def trainer(corpus: CodedCorpus, codec: Codec, run: Path, config: TrainConfig = SMALL) -> Trainer:
    return Trainer(corpus, config, run, initial=codec.model.state_dict())  # type: ignore[attr-defined]


def chain_of(training: Trainer) -> SharedQuantizer:
    chain = training.model.detail_quantizer
    assert isinstance(chain, SharedQuantizer)
    return chain


def test_only_detail_and_the_decoder_change(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    training = trainer(corpus, codec, tmp_path)
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    for _ in range(5):
        training.train_step()
    for name, value in training.average.state_dict().items():
        changed = not torch.equal(value, before[name])
        assert changed == (name.split(".")[0] in LiveModel.decoding_parts + DETAIL), name


def test_silence_and_noise_get_quieter_here_too(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    training = trainer(corpus, codec, tmp_path, replace(SMALL, silence_weight=5.0))
    assert_it_gets_quieter(training, SMALL.steps)


def test_words_come_after_the_latents_themselves(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    training = trainer(corpus, codec, tmp_path)
    losses = [training.train_step() for _ in range(SMALL.steps)]
    assert [one["commit"] > 0 for one in losses] == [False] * 3 + [True] * 9
    assert losses[0]["kept"] < 0.05  # but for rounding to 16 bits, conversions begin as they were
    assert 0.0 < losses[-1]["words_used"] <= 1.0


def test_a_sentence_is_learned(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    config = replace(SMALL, unquantized=0, no_detail=0.0, truncate=0.0)
    training = trainer(corpus, codec, tmp_path, config)
    batch, mels = training.sampler.draw(), []
    for step in range(16):
        losses = training.objective(batch, step)
        training.optimizer.zero_grad()
        losses.total.backward()
        training.optimizer.step()
        mels.append(float(losses.mel.detach()))
    assert np.mean(mels[-4:]) < 0.95 * np.mean(mels[:4])


def test_noise_is_heard_and_judged_without(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    config = replace(SMALL, unquantized=0, pesq_weight=0.3, stoi_weight=3.0, periodicity_weight=1.0)
    training = trainer(corpus, codec, tmp_path, config)
    batch = training.sampler.draw()
    noise = 0.1 * torch.randn(batch.heard.shape, generator=torch.Generator().manual_seed(0))
    spoiled = replace(batch, heard=batch.heard + noise)
    assert not torch.equal(training.objective.latent(spoiled), training.objective.latent(batch))
    apart = training.objective(spoiled, 0)
    assert min(apart.numbers()[judge] for judge in ("pesq", "stoi", "periodicity")) > 0.0
    apart.total.backward()
    gradients = [p.grad for p in training.model.detail.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_the_average_of_a_run_hears_and_speaks(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path, hello: np.ndarray
) -> None:
    training = trainer(corpus, codec, tmp_path)
    for _ in range(5):
        training.train_step()
    training.save()
    model, step = averaged_model(tmp_path / "checkpoint.pt")
    assert step == 5 and model.config.detail_space == SMALL.detail_space
    found, before = Codec(model).encode(hello), codec.encode(hello)
    assert np.array_equal(found.codes[:3], before.codes[:3])
    assert not np.array_equal(found.codes[3:], before.codes[3:])


def test_resuming_goes_on_as_if_never_stopped(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    config = replace(SMALL, silence_weight=1.0)
    whole = trainer(corpus, codec, tmp_path / "whole", config)
    for step in range(6):
        if step in (2, 5):  # before there are words, and with them
            whole.save()
            shutil.copytree(tmp_path / "whole", tmp_path / f"cut{step}")
        expected = whole.train_step()
    for step in (2, 5):
        resumed = trainer(corpus, codec, tmp_path / f"cut{step}", config)
        for _ in range(step, 6):
            numbers = resumed.train_step()
        assert numbers == expected


def test_words_that_are_there_are_gone_on_with(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    first = trainer(corpus, codec, tmp_path / "first")
    for _ in range(4):
        first.train_step()
    again = Trainer(
        corpus, replace(SMALL, unquantized=-1), tmp_path / "again", initial=first.model.state_dict()
    )
    again.train_step()
    moved = chain_of(again).places[0]._codebook.weight - chain_of(first).places[0]._codebook.weight
    assert float(moved.norm()) < 0.1 * float(chain_of(first).places[0]._codebook.weight.norm())


def test_other_words_than_detail_s_must_fit(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    initial = {k: v for k, v in codec.model.state_dict().items() if k != "head.bias"}  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match=r"head\.bias"):
        Trainer(corpus, SMALL, tmp_path, initial=initial)


# ------------------------------------------------------------------ parts


def test_fused_networks_are_those_of_the_model(codec: Codec, corpus: CodedCorpus) -> None:
    model = codec.model
    assert isinstance(model, LiveModel)
    random = torch.Generator().manual_seed(1)
    codes = torch.from_numpy(corpus.codes[:120].astype(np.int64)).view(2, 60, 6)
    mels = torch.randn(2, 60, 80, generator=random) - 3.0
    timbre = torch.from_numpy(corpus.timbres)[:2].unsqueeze(1)
    with torch.no_grad():
        content = model.content_quantizer.decode(codes[..., 1:3])
        detail = model.detail_quantizer.decode(codes[..., 3:])
        past = model.detail.initial_state(2, timbre)
        wanted, _ = model.detail_latent(mels, content, past)
        torch.testing.assert_close(
            fused.detail_latent(model, mels, content), wanted, rtol=1e-4, atol=1e-4
        )
        past = model.decoder.initial_state(2, timbre)
        said = codes[..., 0], content, detail, timbre
        shapes, _ = model.envelopes(*said, past)
        for ours, theirs in zip(fused.envelopes(model, *said), shapes, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        synthesizer, first = model.synthesizer, 5
        pitch = prosody.pitch_hertz(prosody.split(codes[..., 0])[0]).float()
        sound, _ = synthesizer(pitch, *shapes, synthesizer.initial_state(2, 3))
        pulses, noise = fused.excitation(synthesizer, pitch, first, 3)
        late = [e[:, 2 * first :] for e in shapes]
        # The position in the noise is the seed's, wherever a crop begins: compared without it.
        silent = torch.full_like(shapes[1], -30.0)
        ours = fused.synthesize(
            synthesizer, late[0], silent[:, 2 * first :], late[2], pulses, noise
        )
        sound, _ = synthesizer(pitch, shapes[0], silent, shapes[2], synthesizer.initial_state(2, 3))
        settled = 3 * HOP
        torch.testing.assert_close(
            ours[:, settled:], sound[:, first * HOP + settled :], rtol=1e-3, atol=1e-5
        )


def test_a_spectrum_has_the_gradient_of_pytorch_s() -> None:
    random = torch.Generator().manual_seed(1)
    for given, size in ((64, 64), (40, 64)):
        x = torch.randn(3, given, dtype=torch.float64, generator=random, requires_grad=True)
        weight = torch.randn(3, size // 2 + 1, 2, dtype=torch.float64, generator=random)
        theirs = torch.view_as_real(torch.fft.rfft(x, size))
        ours = spectrum(x, size)
        assert torch.equal(ours, theirs)
        (wanted,) = torch.autograd.grad((theirs * weight).sum(), x)
        (found,) = torch.autograd.grad((ours * weight).sum(), x)
        torch.testing.assert_close(found, wanted)


def test_frames_are_those_of_a_short_time_transform() -> None:
    x, window = torch.randn(2, 5_000), torch.hann_window(256)
    wanted = torch.view_as_real(torch.stft(x, 256, 64, window=window, return_complex=True))
    found = spectrum(frames(x, 256) * window)
    torch.testing.assert_close(found, wanted.transpose(1, 2), rtol=1e-4, atol=1e-4)


def test_gelu_is_pytorch_s() -> None:
    x = torch.linspace(-8, 8, 1001)
    torch.testing.assert_close(fused.gelu(x), F.gelu(x, approximate="tanh"), atol=1e-6, rtol=1e-5)


def test_means_are_found_where_vectors_lie() -> None:
    random = torch.Generator().manual_seed(3)
    places = 10.0 * torch.randn(8, 4, generator=random)
    vectors = places.repeat(50, 1) + 0.1 * torch.randn(400, 4, generator=random)
    found = means(vectors, 32, random)
    assert float(torch.cdist(vectors, found).amin(1).mean()) < 0.3


def test_words_follow_and_dead_ones_are_put_elsewhere() -> None:
    torch.manual_seed(1)
    chain = SharedQuantizer(6, 2, 6, size=16)
    with torch.no_grad():
        chain.in_proj.weight.copy_(torch.eye(6))
        chain.in_proj.bias.zero_()
        chain.out_proj.weight.copy_(torch.eye(6))
        for layer in chain.places:
            layer.requires_grad_(False)
            layer._codebook.weight.copy_(100.0 + torch.randn(16, 6))  # far from what comes
    words, kept = MovingWords(chain), torch.tensor([2, 2])
    words.start(chain)
    latent = torch.randn(2, 40, 6)
    _, far = words.quantize(chain, latent, kept, restart=False)
    for step in range(400):
        _, near = words.quantize(chain, latent, kept, restart=step % 20 == 0)
    assert float(near.detach()) < 0.4 < float(far.detach())
    assert float(words.in_use()) > 0.8


def test_layers_left_out_are_not_heard() -> None:
    chain = SharedQuantizer(6, 3, 6, size=16)
    for layer in chain.places:
        layer.requires_grad_(False)
    words = MovingWords(chain)
    words.start(chain)
    latent = torch.randn(4, 10, 6, requires_grad=True)
    codes, _ = chain.encode(latent)
    before = deepcopy(chain)  # the words move
    said, _ = words.quantize(chain, latent, torch.tensor([0, 1, 2, 3]), restart=False)
    for row in range(4):
        absent = codes[row].masked_fill(torch.arange(3) >= row, -1)
        torch.testing.assert_close(said[row], before.decode(absent))
    (gradient,) = torch.autograd.grad(said.sum(), latent)
    assert not gradient[0].any() and gradient[3].any()


def test_words_are_of_one_space() -> None:
    with pytest.raises(ValueError, match="one space"):
        DetailObjective(LiveModel(LiveConfig(detail_space=0)), SMALL, None)  # type: ignore[arg-type]


def test_all_stages_code_with_words_of_one_space(codec: Codec) -> None:
    assert isinstance(codec.model, LiveModel)
    chain = codec.model.detail_quantizer
    latent = torch.randn(3, 5, codec.model.config.content_width, requires_grad=True)
    found, vectors = quantize(chain, latent, torch.tensor([3, 2, 0]), switched_on=True)
    codes, words = chain.encode(latent.detach())
    assert torch.equal(found.codes, codes) and [len(v) for v in vectors] == [15] * 3
    torch.testing.assert_close(found.words[0], words[0])
    fewer = codes[1].clone()
    fewer[..., 2] = ABSENT
    torch.testing.assert_close(found.words[1], chain.decode(fewer))
    torch.testing.assert_close(
        found.words[2], torch.zeros_like(words[2]) + chain.decode(torch.full_like(codes[2], ABSENT))
    )
    (slope,) = torch.autograd.grad(found.loss + found.words[0].sum(), latent)
    assert slope[0].abs().sum() > 0.0
