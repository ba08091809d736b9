"""A model and a coded corpus, which tests of several stages train with."""

from __future__ import annotations

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
def corpus(
    tmp_path_factory: pytest.TempPathFactory, codec: Codec, hello: np.ndarray, reply: np.ndarray
) -> CodedCorpus:
    """An utterance of each of two speakers, with its codes."""
    folder = tmp_path_factory.mktemp("speech")
    for speaker, audio in (("she", hello), ("he", reply)):
        (folder / speaker).mkdir()
        soundfile.write(folder / speaker / "a.flac", audio, 16_000)
    return pack_coded(folder, tmp_path_factory.mktemp("cache"), codec)
