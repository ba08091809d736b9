"""Training of what content says: what changes, and that conversions get nearer to what the teachers
of words and of voices want."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.extras import EXTRAS
from facodec.training.coded import CodedCorpus, pack_coded
from facodec.training.config import TrainConfig
from facodec.training.content import CONTENT, TIMBRE
from facodec.training.detail import DETAIL
from facodec.training.loop import Trainer
from facodec.training.reader import WordsReader
from tests.conftest import missing

SMALL = TrainConfig(
    steps=12,
    stage="content",
    batch=3,
    frames=140,
    warmup=1,
    learning_rate=1e-3,
    average=0.5,
    unquantized=-1,
    convert=0.7,
    words_weight=8.0,
    likeness_weight=3.0,
)


@pytest.fixture(scope="module", autouse=True)
def teachers() -> None:
    for module in EXTRAS["teachers"]:
        if find_spec(module) is None:
            missing("the extra 'teachers'")


def trainer(corpus: CodedCorpus, codec: Codec, run: Path, config: TrainConfig = SMALL) -> Trainer:
    return Trainer(corpus, config, run, initial=codec.model.state_dict())  # type: ignore[attr-defined]


def test_content_detail_and_the_decoder_change(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    training = trainer(corpus, codec, tmp_path)
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    for _ in range(3):
        training.train_step()
    parts = LiveModel.decoding_parts + DETAIL + CONTENT
    for name, value in training.average.state_dict().items():
        changed = not torch.equal(value, before[name])
        assert changed == (name.split(".")[0] in parts), name


def test_conversions_get_nearer_to_what_is_wanted(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    training = trainer(corpus, codec, tmp_path)
    losses = [training.train_step() for _ in range(SMALL.steps)]
    first, last = losses[:4], losses[-4:]
    wanted = [sum(8 * one["words"] + 3 * one["likeness"] for one in part) for part in (first, last)]
    assert wanted[1] < 0.95 * wanted[0]
    assert all(-1 <= one["to_source"] <= 1 and one["words_used"] > 0 for one in losses)


def test_teachers_and_changed_voices_reach_the_branch(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    silent = dict.fromkeys(("mel", "level", "decoder_kept", "commit", "agree"), 0.0)
    silent |= dict.fromkeys(("words", "likeness"), 0.0)
    for name in ("words", "reading", "likeness", "agree"):
        weights = {f"{key}_weight": value for key, value in {**silent, name: 1.0}.items()}
        alone = replace(SMALL, **weights)  # type: ignore[arg-type]
        training = trainer(corpus, codec, tmp_path / name, alone)
        training.train_step()
        gradient = training.model.content.enter.weight.grad
        assert gradient is not None and bool(gradient.abs().sum() > 0), name


VERIFIED = replace(SMALL, voiceprint_weight=4.0, told_weight=2.0, reference_frames=160)


@pytest.fixture(scope="module")
def verified(speech: Path, tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> CodedCorpus:
    """The corpus, and in it the voices that the verifier hears."""
    return pack_coded(speech, tmp_path_factory.mktemp("cache"), codec, voiceprints=True)


def test_voiceprints_are_written_once(
    speech: Path, tmp_path: Path, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pack_coded(speech, tmp_path, codec, noisy=True)
    assert len(plain.voiceprints) == 0
    first = pack_coded(speech, tmp_path, codec, noisy=True, voiceprints=True)
    assert len(first.voiceprints) == len(first.lengths) == 3
    assert abs(float(first.voiceprints[0] @ first.voiceprints[1])) < 0.5  # two speakers
    monkeypatch.setattr("facodec.training.coded.load_voiceprint", lambda: pytest.fail("anew"))
    again = pack_coded(speech, tmp_path, codec, noisy=True, voiceprints=True)
    assert (again.voiceprints == first.voiceprints).all()


def test_with_a_verifier_timbre_is_trained_too(
    verified: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    config = replace(VERIFIED, told_rows=VERIFIED.batch, colour_weight=10.0)
    training = trainer(verified, codec, tmp_path, config)
    before = {k: v.clone() for k, v in training.model.state_dict().items()}
    losses = [training.train_step() for _ in range(SMALL.steps)]
    changed = {
        name.split(".")[0]
        for name, value in training.average.state_dict().items()
        if not torch.equal(value, before[name])
    }
    averages = {"average_first", "average_second"}
    assert changed == {*LiveModel.decoding_parts, *DETAIL, *CONTENT, *TIMBRE, *averages}
    for name in ("voiceprint", "told", "colour"):
        first, last = (sum(one[name] for one in part) for part in (losses[:4], losses[-4:]))
        assert last < 0.97 * first, name


def test_its_timbre_is_the_running_estimate(
    verified: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    """Nearly that of the crop alone as a stream has it, which also has a short memory."""
    training = trainer(verified, codec, tmp_path, VERIFIED)
    batch = training.sampler.draw()
    found = training.objective._timbres(batch).detach()[:, :-1].numpy()
    for row, audio in enumerate(batch.reference.numpy()):
        assert float(found[row] @ codec.encode(audio).timbre[:-1]) > 0.9


def test_more_references_are_told_of_speakers_who_are_all_as_likely(
    verified: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    config = replace(VERIFIED, told_rows=60, speaker_weights={"h*": 1e-6})
    training = trainer(verified, codec, tmp_path, config)
    batch = training.sampler.draw()
    assert len(batch.reference) == len(batch.voiceprint) == config.batch + 60
    voices = [verified.voiceprints[verified.speakers == i] for i in range(2)]
    of_one = np.array([(row == voices[0]).all(1).any() for row in batch.voiceprint.numpy()])
    assert 15 < of_one[config.batch :].sum() < 45
    timbres = training.objective._timbres(batch).detach()
    assert timbres.shape == (config.batch + 60, 256)
    assert torch.equal(timbres[: config.batch, -1], batch.timbre[:, -1])
    assert np.isfinite(training.train_step()["total"])


def test_they_are_the_targets_of_conversions_then(
    verified: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    few, many = (replace(VERIFIED, told_rows=n) for n in (1, VERIFIED.batch))
    batch = trainer(verified, codec, tmp_path / "few", few).sampler.draw()
    assert torch.equal(batch.target, torch.arange(few.batch).roll(1))
    training = trainer(verified, codec, tmp_path / "many", many)
    batch = training.sampler.draw()
    assert torch.equal(batch.target, torch.arange(many.batch) + many.batch)
    voices, prints = training.objective._voices(batch, batch.audio)
    assert torch.equal(voices, batch.reference[many.batch :])
    assert torch.equal(prints[1], batch.voiceprint[many.batch :])
    whose = {tuple(row): tuple(timbre) for row, timbre in
             zip(verified.voiceprints, verified.timbres, strict=True)}  # fmt: skip
    told = [whose[tuple(row)] for row in batch.voiceprint[batch.target].numpy()]
    assert np.array_equal(batch.other.numpy(), np.array(told, np.float32))


def test_references_have_to_be_filled(verified: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    longer = replace(VERIFIED, told_rows=4, reference_frames=4096)
    with pytest.raises(ValueError, match="no utterance fills the 4096"):
        trainer(verified, codec, tmp_path, longer)


def test_it_goes_on_exactly(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    whole, part = (trainer(corpus, codec, tmp_path / name) for name in ("whole", "parts"))
    for _ in range(2):
        part.train_step()
    part.save()
    again = trainer(corpus, codec, tmp_path / "parts")
    for _ in range(2):
        again.train_step()
    for _ in range(4):
        whole.train_step()
    pairs = zip(whole.model.state_dict().values(), again.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_words_are_read_off_content() -> None:
    torch.manual_seed(0)
    heard = torch.randn(2, 40, 12)
    content = torch.nn.functional.interpolate(heard.transpose(1, 2), 64, mode="linear")
    given = content.transpose(1, 2).clone().requires_grad_()
    reader = WordsReader(12, 12)
    optimizer = torch.optim.Adam(reader.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = reader(given, heard)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.8 and losses[-1] < 0.3
    assert given.grad is not None and bool(given.grad.abs().sum() > 0)
