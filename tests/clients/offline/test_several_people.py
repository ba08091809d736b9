"""Recordings of several people are noticed, here and by a server; those of one are not."""

from __future__ import annotations

import numpy as np
import pytest

import facodec
from clients.audio.files import read_audio
from clients.offline.references import SEVERAL, several_people
from clients.offline.voicebook import BUNDLED
from facodec.bundled import several_talkers
from facodec.bundled.several_talkers import likeness_of_groups
from facodec.streams.batching import run_alone
from streaming.engine.pipeline import Enroll
from streaming.wire.media import Sound, Timbre
from tests.conftest import ROOT

ONE, OTHER = (read_audio(BUNDLED[name]) for name in ("slt", "rms"))
"""A woman's and a man's, made with Flite."""
BOTH = np.concatenate([ONE, OTHER])


def test_one_threshold_for_all() -> None:
    page = (ROOT / "clients" / "web" / "voices.js").read_text()
    assert f"const ALONE = {SEVERAL};" in page
    assert f"Below {SEVERAL} several people talk" in (ROOT / "docs" / "protocol.md").read_text()
    assert SEVERAL == several_talkers.SEVERAL


@pytest.mark.parametrize(("sound", "several"), [(ONE, False), (OTHER, False), (BOTH, True)])
def test_several_people_are_told_from_one(sound: np.ndarray, several: bool) -> None:
    remark = several_people(facodec.load().talkers_alike(np.tile(sound, 2)))
    assert (remark is not None) == several
    if remark is not None:
        assert "several people" in remark and "cut out one person's talk" in remark


def test_a_server_tells_it_of_what_it_enrols() -> None:
    stage = Enroll(facodec.load(), 60.0)
    stage.feed(Sound(BOTH))
    (voice,) = run_alone(stage.finish())
    assert isinstance(voice, Timbre) and voice.alike is not None and voice.alike < SEVERAL


def test_too_little_talk_parts_into_no_groups() -> None:
    assert likeness_of_groups(np.ones((1, 4), np.float32)) is None
    assert likeness_of_groups(np.full((3, 4), 0.5, np.float32)) is None
    assert several_people(None) is None
