"""Training of the decoder alone leaves the codes as they were, and conversions."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import facodec
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.config import ABSENT
from facodec.reasons import FileError
from facodec.sound.writing import write_wav
from facodec.training.cli import add_arguments, run
from facodec.training.coded import CodedCorpus, pack_coded
from facodec.training.config import TrainConfig
from facodec.training.decoding import CodedSampler, DecoderObjective
from facodec.training.loop import LOG, Trainer
from facodec.training.report import read_log
from tests.facodec.training.quieter import assert_it_gets_quieter
from tests.facodec.training.speech import two_speakers

SMALL = TrainConfig(
    steps=12, stage="decoder", batch=2, frames=60, warmup=1, learning_rate=1e-3, average=0.5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hello: np.ndarray, reply: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    two_speakers(folder, hello, reply)
    return folder


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> CodedCorpus:
    return pack_coded(folder, tmp_path_factory.mktemp("cache"), codec)


def trainer(corpus: CodedCorpus, codec: Codec, run: Path, config: TrainConfig = SMALL) -> Trainer:
    return Trainer(corpus, config, run, initial=codec.model.state_dict())


def test_packed_codes_are_those_of_the_codec(corpus: CodedCorpus, codec: Codec) -> None:
    assert len(corpus.lengths) == 4 and corpus.names == ("he", "she")
    i = 2
    start, length = int(corpus.starts[i]), int(corpus.lengths[i])
    audio = corpus.samples[start * 200 : (start + length) * 200] / np.float32(32767)
    frames = codec.encode(audio)
    # Packed audio is rounded to 16 bits: a codeword in a hundred may be another.
    assert (frames.codes == corpus.codes[start : start + length].T).mean() > 0.97
    assert np.dot(corpus.timbres[i][:-1], frames.timbre[:-1]) > 0.999


def test_the_cache_is_of_one_model(folder: Path, tmp_path: Path, codec: Codec) -> None:
    pack_coded(folder, tmp_path, codec)
    (first,) = tmp_path.iterdir()
    stamp = (first / "codes.npy").stat().st_mtime_ns
    pack_coded(folder, tmp_path, codec)
    assert list(tmp_path.iterdir()) == [first]
    assert (first / "codes.npy").stat().st_mtime_ns == stamp
    other = facodec.load("live", backend="float32")
    with torch.no_grad():
        other.model.pitch_head.bias.add_(1.0)
    pack_coded(folder, tmp_path, other)
    assert len(list(tmp_path.iterdir())) == 2


def test_only_the_decoder_changes(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in codec.model.state_dict().items()}
    training = trainer(corpus, codec, tmp_path)
    for _ in range(3):
        training.train_step()
    for name, value in training.average.state_dict().items():
        same = torch.equal(value, before[name])
        assert same != (name.split(".")[0] in LiveModel.decoding_parts), name


def test_a_sentence_is_learned(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    training = trainer(corpus, codec, tmp_path)
    losses = [training.train_step() for _ in range(SMALL.steps)]
    first, last = (np.mean([one["mel"] for one in part]) for part in (losses[:4], losses[-4:]))
    assert last < first
    assert losses[0]["kept"] < 1e-3  # nothing has changed yet
    assert 0.0 < losses[-1]["kept"] < 0.5


def test_every_loss_is_logged(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    trainer(corpus, codec, tmp_path, replace(SMALL, steps=2)).train(log_every=1)
    lines = read_log(tmp_path / LOG)
    assert [line["step"] for line in lines] == [1, 2]
    assert {"total", "mel", "level", "kept"} <= set(lines[0])


def test_resuming_goes_on_as_if_never_stopped(
    corpus: CodedCorpus, codec: Codec, tmp_path: Path
) -> None:
    whole = trainer(corpus, codec, tmp_path / "whole")
    for _ in range(4):
        expected = whole.train_step()
    cut = trainer(corpus, codec, tmp_path / "cut")
    cut.train_step(), cut.train_step()
    cut.save()
    resumed = trainer(corpus, codec, tmp_path / "cut")
    resumed.train_step()
    assert resumed.train_step() == expected


def test_speakers_are_drawn_by_their_weights(corpus: CodedCorpus) -> None:
    alone = CodedSampler(corpus, replace(SMALL, batch=16, speaker_weights={"h*": 0.0, "*": 2.0}))
    she = [corpus.timbres[i] for i in np.flatnonzero(corpus.speakers == 1)]
    for row in alone.draw().timbre.numpy():
        assert any(np.array_equal(row, one) for one in she)
    with pytest.raises(ValueError, match="weight above 0"):
        CodedSampler(corpus, replace(SMALL, speaker_weights={"*": 0.0}))


def test_at_other_speeds_speakers_are_others(
    folder: Path, tmp_path: Path, codec: Codec, corpus: CodedCorpus
) -> None:
    more = pack_coded(folder, tmp_path, codec, noisy=True, speeds=[0.8, 1.25])
    assert more.names == tuple(f"{n}{at}" for at in ("", "@0.8", "@1.25") for n in corpus.names)
    count = len(corpus.lengths)
    assert more.speakers[:count].tolist() == corpus.speakers.tolist()
    assert more.noisy.tolist() == [False] * 3 * count + [True]
    for at, speed in ((count, 0.8), (2 * count, 1.25)):
        lengths = more.lengths[at : at + count] * speed
        assert np.abs(lengths - corpus.lengths).max() < 2
        moved = more.timbres[at : at + count, -1] - corpus.timbres[:, -1]  # of pitch, in octaves
        np.testing.assert_allclose(moved, np.log2(speed), atol=0.06)
    weights = {"h*@0.8": 0.5, "h*": 0.0, "*@*": 3.0}
    chances = CodedSampler(more, replace(SMALL, speaker_weights=weights))._chances / more.lengths
    of = {name: chances[more.speakers == i].max() for i, name in enumerate(more.names)}
    assert [round(v / max(of.values()), 3) for v in of.values()] == [0, 0.333, 0.167, 1, 0, 1]


def test_detail_is_left_out_from_the_end(corpus: CodedCorpus, codec: Codec) -> None:
    model = facodec.load("live", backend="float32").model
    config = replace(SMALL, batch=64, no_detail=0.3, truncate=0.4)
    batch = CodedSampler(corpus, config).draw()
    heard = DecoderObjective(model, config)._with_less_detail(batch.codes)
    absent = (heard == ABSENT).all(dim=2)
    counts = absent.sum(1)
    assert not absent[:, :3].any() and set(counts.tolist()) == {0, 1, 2, 3}
    for row, count in zip(absent, counts, strict=True):
        assert row[6 - count :].all()
    present = ~absent.unsqueeze(2).expand_as(heard)
    assert torch.equal(heard[present], batch.codes[present])


def test_noise_is_heard_and_not_said(
    folder: Path, tmp_path: Path, codec: Codec, corpus: CodedCorpus
) -> None:
    both = pack_coded(folder, tmp_path, codec, noisy=True)
    assert both.noisy.tolist() == [False] * 4 + [True]
    size = len(corpus.samples)
    noisy, clean = both.codes[size // 200 :], both.codes[: int(both.lengths[4])]
    assert both.names[both.speakers[4]] == both.names[both.speakers[0]]
    assert np.array_equal(both.samples[size:], both.samples[: int(both.lengths[4]) * 200])
    assert 0.02 < (noisy != clean).mean() < 1.0
    again = pack_coded(folder, tmp_path, codec, noisy=True)
    assert np.array_equal(again.codes, both.codes)
    chances = CodedSampler(both, replace(SMALL, noisy=0.3))._chances
    assert chances[both.noisy].sum() == pytest.approx(0.3)
    first, count = int(both.starts[4]), int(both.lengths[4])
    assert np.array_equal(both.heard(0, count), both.said(0, count))
    said, heard = both.said(first, count) / 32767.0, both.heard(first, count) / 32767.0
    assert len(heard) == len(said) == 200 * count
    assert 1e-4 < np.mean((heard - said) ** 2) / np.mean(said**2) < 4.0
    same = noisy == codec.encode(heard.astype(np.float32)).codes.T
    assert same.mean() > 0.95  # but for rounding to 16 bits


def test_judges_are_learned_from(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    config = replace(SMALL, pesq_weight=0.3, stoi_weight=3.0, periodicity_weight=1.0)
    weights = codec.model.state_dict()
    worse = weights["head.bias"] + torch.randn(len(weights["head.bias"])).sign()
    training = Trainer(corpus, config, tmp_path, initial={**weights, "head.bias": worse})
    losses = [training.train_step() for _ in range(SMALL.steps)]
    for judge in ("pesq", "stoi", "periodicity"):
        assert np.mean([one[judge] for one in losses[-4:]]) < losses[0][judge]


def test_the_command_trains_a_decoder(
    folder: Path, tmp_path: Path, codec: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = f"--run {tmp_path / 'run'} --data {folder} --stage decoder --steps 2 --batch 2"
    with pytest.raises(ValueError, match="give --init"):
        run(parser.parse_args(options.split()))
    target = tmp_path / "weights"
    everything = f"{options} --frames 60 --init live --export {target}".split()
    assert run(parser.parse_args(everything)) == 0
    made = facodec.load(target, backend="float32")
    assert made.identity == codec.identity
    assert f"written to {target}: {codec.identity}" in capsys.readouterr().out
    audio = soundfile.read(folder / "he" / "a.flac", dtype="float32")[0]
    assert np.array_equal(made.encode(audio).codes, codec.encode(audio).codes)


def test_settings_survive_their_file(tmp_path: Path) -> None:
    config = replace(SMALL, speaker_weights={"she": 0.0, "*": 2})
    config.save(tmp_path / "config.json")
    assert TrainConfig.load(tmp_path / "config.json") == config


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": "encoder"},
        {"speaker_weights": {"a": -1}},
        {"speaker_weights": {"a": "x"}},
        {"noisy": 0.2},
        {"stage": "detail", "speeds": [0.9, 1.0]},
        {"stage": "detail", "speeds": [0.9, 0.9]},
        {"stage": "detail", "speeds": [3]},
        {"stage": "detail", "speeds": ["fast"]},
        {"speeds": [0.9]},
        {"stage": "decoder", "noisy": 1.0},
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(wrong))
    with pytest.raises(FileError, match=r"config\.json: expected (a|noisy|speeds)"):
        TrainConfig.load(path)


def test_a_damaged_file_and_an_odd_name_stop_nothing(
    hello: np.ndarray, reply: np.ndarray, codec: Codec, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "speech"
    for name, audio in ((os.fsdecode(b"odd\xff.wav"), hello), ("she.wav", reply)):
        folder.mkdir(exist_ok=True)
        write_wav(folder / name, audio[:16_000])
    (folder / "z.wav").write_text("no sound")
    packed = pack_coded(folder, tmp_path / "cache", codec, noisy=True)
    assert packed.names == (os.fsdecode(b"odd\xff"), "she")
    assert "left out: " in (said := capfd.readouterr().err) and "z.wav is no sound" in said
    assert "encoding" not in said  # no bar goes into a pipe


def test_other_speech_that_cannot_be_read_is_told_before_the_work(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "valid").mkdir()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--data", folder, "--run", tmp_path / "run", "--valid", tmp_path / "valid"]
    options = parser.parse_args([str(word) for word in words])
    with pytest.raises(ValueError, match="no speech below"):
        run(options)
    (tmp_path / "valid" / "bad.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"no file below .*valid can be read"):
        run(options)
    assert [path.name for path in tmp_path.iterdir()] == ["valid"]


def test_silence_and_noise_get_quieter(corpus: CodedCorpus, codec: Codec, tmp_path: Path) -> None:
    config = replace(SMALL, silence_weight=5.0)
    training = trainer(corpus, codec, tmp_path, config)
    assert_it_gets_quieter(training, SMALL.steps)
