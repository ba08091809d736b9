"""Transcripts are found, speech is aligned with them, and content is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from benchmarks.speech.words import speak
from facodec.training.corpus import pack
from facodec.training.phones import PHONES, UNKNOWN, align, find_transcripts
from facodec.training.reader import PhoneListener, PhoneReader

SENTENCE = "She put the letter on the kitchen table."


@pytest.fixture(scope="module")
def spoken(word_tools: None) -> np.ndarray:
    return speak(SENTENCE, "slt")


def integers(audio: np.ndarray) -> np.ndarray:
    return np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)


def test_transcripts_lie_beside_the_recordings_or_in_a_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "speech"
    (folder / "she").mkdir(parents=True)
    files = [folder / "she" / name for name in ("a.wav", "b.wav", "c.wav")]
    for path in files:
        path.touch()
    files[0].with_suffix(".txt").write_text("one two\n")
    assert find_transcripts(folder, files) == {files[0]: "one two\n"}
    (tmp_path / "manifest.tsv").write_text(
        'path\ttext\nspeech/she/a.wav\tno\nspeech/she/b.wav\tthree "four"\nspeech/she/c.wav\t\n'
    )
    assert find_transcripts(folder, files) == {files[0]: "one two\n", files[1]: 'three "four"'}


def test_phones_are_found_where_they_are_spoken(spoken: np.ndarray) -> None:
    phones = align(integers(spoken), SENTENCE)
    assert len(phones) == len(spoken) // 200 and (phones != UNKNOWN).mean() > 0.95
    names = [PHONES[p] for p in phones if p != UNKNOWN]
    order = [a for a, b in zip(names, ["", *names], strict=False) if a != b and a != "SIL"]
    assert order[:4] == ["SH", "IY", "P", "UH"] and order[-1] == "L"
    hiss = np.flatnonzero(phones == PHONES.index("SH"))
    power = [float(np.square(np.diff(part)).mean()) for part in np.split(spoken, len(phones))]
    assert np.mean([power[i] for i in hiss]) > np.median(power)


def test_what_cannot_be_aligned_is_unknown(spoken: np.ndarray) -> None:
    for text in ("xyzzy qwrtp", "", "...", "12 34"):
        assert set(align(integers(spoken), text)) == {UNKNOWN}, text


def test_packing_knows_the_phones_of_what_has_a_transcript(
    spoken: np.ndarray, hello: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "speech"
    folder.mkdir()
    soundfile.write(folder / "a.wav", spoken, 16_000)
    (folder / "a.txt").write_text(SENTENCE)
    soundfile.write(folder / "b.wav", hello, 16_000)
    corpus = pack(folder, tmp_path / "cache", workers=1)
    first, second = (
        corpus.phones[start : start + length]
        for start, length in zip(corpus.starts, corpus.lengths, strict=True)
    )
    assert (first != UNKNOWN).mean() > 0.95 and set(second) == {UNKNOWN}


@pytest.mark.parametrize(("kind", "dim"), [(lambda: PhoneReader(16), 16), (PhoneListener, 80)])
def test_a_reader_learns_what_is_known_and_nothing_from_the_unknown(
    kind: Callable[[], PhoneReader | PhoneListener], dim: int
) -> None:
    torch.manual_seed(0)
    reader, phone = kind(), torch.randint(0, 4, (2, 30))
    content = torch.randn(4, dim)[phone].requires_grad_()
    unknown = torch.full_like(phone, UNKNOWN)
    assert float(reader(content, unknown).detach()) == 0.0
    phone[1] = UNKNOWN
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = reader(content, phone)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert content.grad is not None and content.grad[1].abs().sum() == 0
