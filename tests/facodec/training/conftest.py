"""A model and a coded corpus, which tests of several stages train with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import facodec
from facodec.codec import Codec
from facodec.training.coded import CodedCorpus, pack_coded


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The bundled model in PyTorch's operations."""
    return facodec.load("live", backend="float32")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory, hello: np.ndarray, reply: np.ndarray) -> Path:
    """An utterance of each of two speakers."""
    folder = tmp_path_factory.mktemp("speech")
    for speaker, audio in (("she", hello), ("he", reply)):
        (folder / speaker).mkdir()
        soundfile.write(folder / speaker / "a.flac", audio, 16_000)
    return folder


@pytest.fixture(scope="module")
def corpus(speech: Path, tmp_path_factory: pytest.TempPathFactory, codec: Codec) -> CodedCorpus:
    """Coded corpus of those utterances."""
    return pack_coded(speech, tmp_path_factory.mktemp("cache"), codec)
