from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streaming.protocol import ProtocolError, Voice
from streaming.voices import Voices

ANNA = np.linspace(-1.0, 1.0, 256).astype(np.float32)


def test_a_voice_by_name_by_value_and_none(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    (tmp_path / "notes.txt").write_text("not a voice")
    voices = Voices(str(tmp_path))
    assert "anna" in voices.names and "notes" not in voices.names
    for wanted in ("anna", Voice.exact(ANNA).data):
        found = voices.find(wanted, {})
        assert found is not None and np.array_equal(found, ANNA)
    assert voices.find(None, {}) is None


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    with pytest.raises(ProtocolError, match=r"unknown-voice.*'bob'.*anna"):
        Voices(str(tmp_path)).find("bob", {})


@pytest.mark.parametrize("data", [b"short", Voice.estimate(ANNA).data, b"\xff" * 1024])
def test_damaged_profiles_are_named_at_start(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "anna.voice").write_bytes(data)
    with pytest.raises(ValueError, match=r"anna\.voice is not a voice"):
        Voices(str(tmp_path))


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Voices(str(tmp_path / "nowhere"))


def test_a_models_own_voices_are_known_too_and_the_directory_comes_first(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    voices, bundled = Voices(str(tmp_path)), {"anna": 2 * ANNA, "hazel": 3 * ANNA}
    assert np.array_equal(voices.find("anna", bundled), ANNA)
    assert np.array_equal(voices.find("hazel", bundled), 3 * ANNA)
    with pytest.raises(ProtocolError, match=r"known: anna, hazel"):
        voices.find("bob", bundled)
