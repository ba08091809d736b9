"""The recipe learns, resumes exactly, and survives what users feed it."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
import torch

import facodec
from benchmarks.speech.clips import clips
from facodec.bundled.model import LiveModel
from facodec.codec import Codec
from facodec.reasons import FileError
from facodec.sound.writing import write_wav
from facodec.training.cli import add_arguments, run
from facodec.training.coded import pack_coded
from facodec.training.config import TrainConfig
from facodec.training.corpus import Corpus, find_files, listing_of, pack, read_each, read_speech
from facodec.training.enrolment import speaker_timbres
from facodec.training.loop import CHECKPOINT, HELD, Trainer, learning_rate, need_checkpoint
from facodec.training.perturb import perturb
from facodec.training.phones import MANIFEST, read_manifest
from facodec.training.report import averaged_model, read_log, write_page
from facodec.training.speakers import SpeakerAdversary, SpeakerJudge, VoiceCritic, frozen
from facodec.weights.timbres import voices_identity
from tests.conftest import ROOT
from tests.facodec.training.speech import two_speakers

TINY = TrainConfig(
    steps=24,
    batch=2,
    frames=24,
    reference_frames=24,
    unquantized=3,
    restart_every=4,
    warmup=2,
    convert=0.5,
    convert_from=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, hello: np.ndarray, reply: np.ndarray) -> Path:
    """Two speakers; one recording is at 24 kHz and in stereo, one is too short."""
    folder = tmp_path_factory.mktemp("speech")
    two_speakers(folder, hello, reply)
    soundfile.write(folder / "she" / "c.wav", np.stack((hello, hello), 1)[:48_000], 24_000)
    return folder


@pytest.fixture(scope="module")
def corpus(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return pack(folder, tmp_path_factory.mktemp("cache"), workers=1)


def test_packing(corpus: Corpus, folder: Path, tmp_path: Path) -> None:
    assert len(corpus.lengths) == 5 and set(corpus.speakers) == {0, 1}
    assert len(corpus.samples) == len(corpus.pitch) * 200 == corpus.lengths.sum() * 200
    assert 160 <= corpus.lengths[corpus.speakers == 1][2] <= 161  # 2 s at 24 kHz
    voiced = [
        np.median(p[p > 0])
        for s in (0, 1)
        for p in [corpus.pitch[corpus.starts[corpus.speakers == s][0] :][:100]]
    ]
    assert min(voiced) < 140 < max(voiced)
    with pytest.raises(ValueError, match="no speech below"):
        pack(tmp_path, tmp_path)


def test_the_loss_falls(corpus: Corpus, tmp_path: Path) -> None:
    trainer = Trainer(corpus, TINY, tmp_path)
    losses = [trainer.train_step()["mel"] for _ in range(TINY.steps)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4]), losses


def test_conversions_are_judged_once_they_begin(corpus: Corpus, tmp_path: Path) -> None:
    trainer = Trainer(corpus, TINY, tmp_path)
    judged = ("converted", "kept", "fooled", "critic")
    rows = [trainer.train_step() for _ in range(TINY.convert_from + 1)]
    assert all(row[name] == 0 for row in rows[:-1] for name in judged)
    assert all(rows[-1][name] != 0 for name in judged), rows[-1]


def test_conversions_are_listened_to(corpus: Corpus, tmp_path: Path) -> None:
    spoken = replace(corpus, phones=np.full_like(corpus.phones, 3))
    trainer = Trainer(spoken, replace(TINY, convert_from=0), tmp_path)
    objective, batch = trainer.objective, trainer.sampler.draw()
    losses = objective(batch, step=TINY.unquantized + 1)
    assert min(losses.numbers()[name] for name in ("understood", "listener")) > 0
    losses.understood.backward()
    head = trainer.model.head.weight.grad
    assert head is not None and float(head.abs().sum()) > 0  # the decoder hears of it,
    assert all(p.grad is None for p in objective.listener.parameters())  # the listener does not


def test_the_model_in_training_hears_no_offset_either(corpus: Corpus, tmp_path: Path) -> None:
    trainers = [Trainer(corpus, TINY, tmp_path / name) for name in ("plain", "moved")]
    batch = trainers[0].sampler.draw()
    moved = replace(batch, audio=batch.audio + 0.1, reference=batch.reference + 0.1)
    losses = []
    for trainer, drawn in zip(trainers, (batch, moved), strict=True):
        torch.manual_seed(0)
        losses.append(trainer.objective(drawn, step=0).numbers())
    plain, other = losses
    for name in ("mel", "pitch", "level", "commit"):
        assert other[name] == pytest.approx(plain[name], rel=0.01), name


def test_a_critic_learns_what_is_made_and_whose_voice_it_should_be() -> None:
    torch.manual_seed(0)
    critic = VoiceCritic()
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    voices = torch.nn.functional.normalize(torch.randn(2, 256), dim=1)
    kinds = torch.randn(2, 24, 80)  # what voice 0 and voice 1 sound like

    def scores(sounds: list[int], wanted: list[int]) -> torch.Tensor:
        return critic(kinds[sounds], voices[wanted]).mean(1)

    for _ in range(150):
        right, wrong = scores([0, 1], [0, 1]), scores([0, 1], [1, 0])
        loss = torch.relu(1 - right).mean() + torch.relu(1 + wrong).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert scores([0, 1], [0, 1]).min() > 0.5 and scores([0, 1], [1, 0]).max() < -0.5


def test_resuming_goes_on_as_if_never_stopped(corpus: Corpus, tmp_path: Path) -> None:
    straight = Trainer(corpus, TINY, tmp_path / "straight")
    wanted = [straight.train_step() for _ in range(8)]
    first = Trainer(corpus, TINY, tmp_path / "cut")
    for _ in range(5):
        first.train_step()
    first.save()
    second = Trainer(corpus, TINY, tmp_path / "cut")
    assert second.step == 5
    assert [second.train_step() for _ in range(3)] == wanted[5:]
    for name, value in straight.average.state_dict().items():
        assert torch.equal(second.average.state_dict()[name], value), name


def test_the_command_trains_exports_and_loads(
    folder: Path, tmp_path: Path, hello: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    common = ["--run", str(tmp_path / "run")]
    options = [
        "--steps",
        "4",
        "--batch",
        "2",
        "--frames",
        "24",
        "--reference-frames",
        "24",
        "--unquantized",
        "2",
    ]
    valid = ["--valid", str(folder / "he")]
    assert run(parser.parse_args([*common, "--data", str(folder), *options, *valid])) == 0
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1_000
    page = (tmp_path / "run" / "report.html").read_text()
    for name in re.findall(r'src="([^"]+)"', page):
        assert (tmp_path / "run" / name).stat().st_size > 1_000, name
    assert "0_other_voice.wav" in page and "log_mel" in page
    logged = read_log(tmp_path / "run" / "log.jsonl")
    assert logged[-1]["step"] == 4 and logged[-1]["valid_log_mel"] > 0
    assert run(parser.parse_args([*common, "--export", str(tmp_path / "out")])) == 0
    assert "step 4" in capsys.readouterr().out
    codec = facodec.load(tmp_path / "out")
    frames = codec.encode(hello[:8_000])
    assert np.isfinite(codec.decode(frames.codes, frames.timbre)).all()
    with pytest.raises(argparse.ArgumentError, match="nothing to do"):
        run(parser.parse_args(common))


def test_fine_tuning_goes_on_from_the_weights_it_is_given(
    folder: Path, tmp_path: Path, live: Codec
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    sizes = {"steps": 2, "batch": 2, "frames": 24, "reference-frames": 24, "learning-rate": 1e-6}
    options = [word for name, n in sizes.items() for word in (f"--{name}", str(n))]
    where = ["--run", str(tmp_path / "mine"), "--data", str(folder)]
    assert run(parser.parse_args([*where, "--init", "live", *options])) == 0
    tuned, _ = averaged_model(tmp_path / "mine" / "checkpoint.pt")
    assert isinstance(live.model, LiveModel)
    for name, value in live.model.named_parameters():
        torch.testing.assert_close(tuned.get_parameter(name), value, rtol=0, atol=1e-4)


def test_a_run_starts_from_another_with_all_that_helped_it(
    corpus: Corpus, folder: Path, tmp_path: Path
) -> None:
    first = Trainer(corpus, TINY, tmp_path / "first")
    first.train_step()
    first.save()
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    sizes = {"steps": 0, "batch": 2, "frames": 24, "reference-frames": 24}
    options = [word for name, n in sizes.items() for word in (f"--{name}", str(n))]
    where = ["--run", str(tmp_path / "next"), "--data", str(folder)]
    assert run(parser.parse_args([*where, "--init", str(tmp_path / "first"), *options])) == 0
    next_ = torch.load(tmp_path / "next" / "checkpoint.pt", weights_only=True)
    for name, value in first.objective.networks.state_dict().items():
        assert torch.equal(next_["networks"][name], value), name
    for name, value in first.average.state_dict().items():
        assert torch.equal(next_["model"][name], value), name


def test_helpers_for_other_speakers_are_left_out(corpus: Corpus, tmp_path: Path) -> None:
    few = SpeakerJudge(255, 1).state_dict()
    helpers = {f"judge.{name}": value for name, value in few.items()}
    trainer = Trainer(corpus, TINY, tmp_path, helpers=helpers)
    assert trainer.objective.judge.directions.shape[0] == 2


def test_settings_survive_their_file(tmp_path: Path) -> None:
    TINY.save(tmp_path / "c.json")
    assert TrainConfig.load(tmp_path / "c.json") == TINY
    (tmp_path / "c.json").write_text('{"stepz": 3}')
    with pytest.raises(ValueError, match="stepz"):
        TrainConfig.load(tmp_path / "c.json")


def test_the_learning_rate_rises_stays_and_falls() -> None:
    config = TrainConfig(steps=1000, warmup=100, decay=0.3, learning_rate=1.0)
    rates = [learning_rate(step, config) for step in (0, 99, 500, 699, 850, 999)]
    assert rates[0] == pytest.approx(0.01) and rates[1:4] == pytest.approx([1.0] * 3)
    assert 0.4 < rates[4] < 0.6 and rates[5] == pytest.approx(0.01, abs=1e-3)


def test_a_cut_log_still_plots(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1, "mel": 2.0}\n{"step": 2, "mel": 1.0}\n{"st')
    write_page(tmp_path)
    assert (tmp_path / "curves.png").stat().st_size > 1_000
    assert "step 2" in (tmp_path / "report.html").read_text()


def test_voices_are_made_with_the_weights_and_dropped_when_they_cannot_be(
    folder: Path, tmp_path: Path, live: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = ["--steps", "1", "--batch", "2", "--frames", "24", "--run", str(tmp_path / "run")]
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "voices.json").write_text('{"oak": {"about": "a man", "speaker": "he"}}')
    export = [*options, "--export", str(weights)]
    assert run(parser.parse_args([*export, "--data", str(folder)])) == 0
    made = facodec.load(weights).voices["oak"]
    he = np.concatenate([read_speech(path) for path in sorted((folder / "he").iterdir())])
    np.testing.assert_array_equal(made, facodec.load(weights).voice(he))
    first = facodec.load(weights).identity
    assert voices_identity(weights) == first
    further = [*options[2:], "--steps", "2", "--data", str(folder), "--export", str(weights)]
    assert run(parser.parse_args(further)) == 0
    assert facodec.load(weights).identity == voices_identity(weights) != first
    assert f"voices of {first}, which was there, are not for them" in capsys.readouterr().out
    assert run(parser.parse_args(export)) == 0
    assert facodec.load(weights).voices == {} and "left out" in capsys.readouterr().out
    (weights / "voices.json").write_text('{"oak": {"about": "nobody", "speaker": "it"}}')
    with pytest.raises(ValueError, match=r"'oak'.*it, expected that speaker"):
        run(parser.parse_args([*export, "--data", str(folder)]))


def test_perturbed_mels_are_of_another_voice_and_the_rest_stays() -> None:
    mels = torch.linspace(-4.0, 0.0, 80).repeat(8, 5, 1)
    random = torch.Generator().manual_seed(0)
    assert torch.equal(perturb(mels, 0.0, random), mels)
    changed = perturb(mels, 1.0, random)
    assert (changed - mels).abs().mean() > 0.05
    assert torch.equal(changed[:, 0], changed[:, 4])  # the same for all frames of a row


def test_the_adversary_pushes_content_away_from_what_it_learns() -> None:
    torch.manual_seed(0)
    adversary = SpeakerAdversary(16, 3)
    speaker, content = torch.tensor([0, 1, 2]), torch.randn(3, 5, 16)
    gradients = {}
    for reversal in (-1.0, 0.5):
        given = content.clone().requires_grad_()
        adversary(given, speaker, reversal).backward()
        assert given.grad is not None
        gradients[reversal] = given.grad
    torch.testing.assert_close(gradients[0.5], -0.5 * gradients[-1.0])


def test_a_judge_learns_and_a_frozen_one_does_not() -> None:
    torch.manual_seed(0)
    judge, speaker = SpeakerJudge(8, 4), torch.arange(4)
    voice = torch.randn(4, 8, requires_grad=True)
    with frozen(judge):
        judge(torch.nn.functional.normalize(voice, dim=-1), speaker).backward()
    assert voice.grad is not None and voice.grad.abs().sum() > 0
    assert judge.directions.grad is None and judge.directions.requires_grad
    optimizer = torch.optim.SGD([judge.directions], lr=0.1)
    losses = []
    for _ in range(20):
        loss = judge(torch.nn.functional.normalize(voice.detach(), dim=-1), speaker)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_a_damaged_file_is_left_out_by_name(
    hello: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech").mkdir()
    odd = os.fsdecode(b"odd\xff.wav")
    soundfile.write(tmp_path / "speech" / "good.wav", hello, 16_000)
    (tmp_path / "speech" / odd).write_bytes((tmp_path / "speech" / "good.wav").read_bytes())
    (tmp_path / "speech" / "bad.wav").write_text("no sound")
    packed = pack(tmp_path / "speech", tmp_path / "cache", workers=1)
    assert len(packed.lengths) == 2
    said = capfd.readouterr().err
    assert "left out: " in said and "bad.wav is no sound file" in said


def test_a_bad_checkpoint_is_a_sentence(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for bad in (b"", b"no checkpoint", b"PK"):
        path.write_bytes(bad)
        with pytest.raises(FileError, match=r"checkpoint\.pt"):
            Trainer(corpus, TINY, tmp_path)
        with pytest.raises(FileError, match=r"checkpoint\.pt"):
            averaged_model(path)
    for state in ([], {"step": 1}, {"step": 1, "model": {}, "average": {}}):
        torch.save(state, path)
        with pytest.raises(FileError, match=r"checkpoint\.pt(: expected| is not) a checkpoint"):
            Trainer(corpus, TINY, tmp_path)


def test_a_bad_checkpoint_is_told_before_speech_is_packed(folder: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    asked = parser.parse_args(["--data", str(folder), "--run", str(tmp_path / "run")])
    (tmp_path / "run").mkdir()
    need_checkpoint(tmp_path / "run", TrainConfig())
    of_another_size = dict.fromkeys(HELD) | {"sizes": {"bands": 64}, "model": {}}
    for state in ({"step": 1}, dict.fromkeys(HELD), of_another_size):
        torch.save(state, tmp_path / "run" / CHECKPOINT)
        with pytest.raises(FileError, match=r"checkpoint\.pt is not a checkpoint of such a run"):
            run(asked)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"PK")
    with pytest.raises(FileError, match=r"checkpoint\.pt: not a file of plain tensors"):
        run(asked)
    assert not (tmp_path / "cache").exists()
    (tmp_path / "run" / CHECKPOINT).unlink()
    (tmp_path / "cache").touch()
    with pytest.raises(FileError, match=r"cannot write into the folder .*cache: it is no folder"):
        run(argparse.Namespace(**vars(asked) | {"init": "none"}))


def test_too_little_speech_is_told_by_its_folder_and_leaves_nothing(
    live: Codec, hello: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    soundfile.write(tmp_path / "few" / "a.wav", hello[:1_600], 16_000)
    sentence = "few: expected a file of at least 0.5 s, got none .* of more than 0.1 s"
    with pytest.raises(ValueError, match=sentence):
        pack(tmp_path / "few", tmp_path / "runs" / "cache", workers=1)
    with pytest.raises(ValueError, match=sentence):
        pack_coded(tmp_path / "few", tmp_path / "runs" / "cache", live)
    with pytest.raises(ValueError, match=sentence):
        clips(tmp_path / "few")
    assert os.listdir(tmp_path) == ["few"]


@pytest.mark.parametrize(
    "text",
    [
        "[]", "{", '{"steps": "many"}', '{"batch": 1.5}', '{"no": 1}', '{"batch": 0}',
        '{"frames": 1000000000}', '{"learning_rate": Infinity}', '{"clip": NaN}', '{"convert": 2}',
        '{"unquantized": -2}', '{"steps": -1}',
    ],
)  # fmt: skip
def test_settings_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(FileError, match=r"config\.json"):
        TrainConfig.load(tmp_path / "config.json")


def test_weights_to_start_from_are_read_before_speech_is_packed(
    folder: Path, tmp_path: Path
) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    words = ["--data", str(folder), "--run", str(tmp_path / "run"), "--init", str(tmp_path)]
    with pytest.raises(FileError, match="no weights in"):
        run(parser.parse_args(words))
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_folders_that_must_not_be_read_are_left_out_by_name(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "a.wav").touch()
        (folder / "closed").mkdir(mode=0)
        os.seteuid(65534)
        try:
            assert find_files(folder) == [folder / "a.wav"]
        finally:
            os.seteuid(0)
    assert f"left out: {folder / 'closed'}: no permission" in capfd.readouterr().err


def test_a_distribution_is_made_of_grown_ups_with_enough_to_say(
    tmp_path: Path, live: Codec, hello: np.ndarray, reply: np.ndarray
) -> None:
    clips = {"ann": hello, "bob": reply, "child": hello, "short": hello[:16_000], "noise": None}
    for name, clip in clips.items():
        (tmp_path / name).mkdir()
        heard = np.zeros(100_000, np.float32) if clip is None else clip
        soundfile.write(tmp_path / name / "a.wav", heard, 16_000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifest.tsv").write_text("path\tspeaker\tage\nchild/a.wav\tchild\t9\n")
    timbres = speaker_timbres(live, tmp_path)
    assert len(timbres) == 2
    for timbre, clip in zip(timbres, (hello, reply), strict=True):
        assert float(timbre[:-1] @ live.voice(clip)[:-1]) > 0.999


def test_links_to_nothing_and_pipes_are_left_out_by_name(
    hello: np.ndarray, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "good.wav", hello, 16_000)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.wav")
    files = find_files(tmp_path)
    assert listing_of(tmp_path, files)[0] == "gone.wav 0"
    ((path, _),) = read_each(files)
    assert path.name == "good.wav"
    said = capfd.readouterr().err
    assert "left out: there is no file" in said and "pipe.wav is a pipe, not a file" in said


@pytest.mark.parametrize("table", [b"path\ttext\n\xff\t\xfe\n", b"path\ttext\n" + b"x" * 200_000])
def test_a_damaged_table_of_transcripts_is_named(table: bytes, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_bytes(table)
    with pytest.raises(FileError, match=r"manifest\.tsv is damaged"):
        read_manifest(tmp_path)


def test_a_table_that_is_none_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(FileError, match=r"manifest\.tsv is a folder, not a file"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).rmdir()
    (tmp_path / MANIFEST).symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match=r"there is no file .*manifest\.tsv"):
        read_manifest(tmp_path)


def test_a_clip_is_a_file_of_16_bits(hello: np.ndarray, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", hello)
    told = soundfile.info(tmp_path / "a.wav")
    assert (told.frames, told.samplerate, told.subtype) == (len(hello), 16_000, "PCM_16")
    np.testing.assert_allclose(read_speech(tmp_path / "a.wav"), hello[: told.frames // 200 * 200],
                               atol=2**-15)  # fmt: skip


def test_a_full_disk_is_a_sentence_for_arrays_clips_and_pictures(tmp_path: Path) -> None:
    """Under a limit on the size of files, which is the same."""
    program = (
        "import sys, resource\nfrom pathlib import Path\nimport numpy as np\n"
        "from facodec.files import FileError\nfrom facodec.sound.writing import write_wav\n"
        "from facodec.training.corpus import write_array\n"
        "from facodec.training.pictures import curves\n"
        "lines = [{'step': 1, 'loss': 1.0}, {'step': 2, 'loss': 0.5}]\n"
        "curves(lines, Path('c.png'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for write in (lambda: write_array(Path('a.npy'), np.zeros(9999)),\n"
        "              lambda: write_wav(Path('b.wav'), np.zeros(9999, 'f4')),\n"
        "              lambda: curves(lines, Path('c.png'))):\n"
        "    try: write()\n"
        "    except FileError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        f"cannot write {name}: the limit for the size of a file is reached (ulimit -f)"
        for name in ("a.npy", "b.wav", "c.png")
    ], done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]
    assert (tmp_path / "c.png").stat().st_size > 1000
