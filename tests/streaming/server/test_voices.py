from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facodec.codec import Codec
from facodec.identity import ModelIdentity, belonging
from facodec.profiles import profile_bytes
from streaming.server.known_voices import Voices
from streaming.server.runtime import Runtime
from streaming.server.settings import ServerSettings
from streaming.wire.protocol import ProtocolError, Voice

LIVE = ModelIdentity("live", "0123456789ab")
ANNA = np.linspace(-1.0, 1.0, 256).astype(np.float32)


def test_a_voice_by_name_by_value_and_none(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    (tmp_path / "notes.txt").write_text("not a voice")
    voices = Voices(str(tmp_path))
    assert "anna" in voices.names and "notes" not in voices.names
    for wanted in ("anna", Voice.exact(ANNA).data):
        found = voices.find(wanted, {}, LIVE)
        assert found is not None and np.array_equal(found, ANNA)
    assert voices.find(None, {}, LIVE) is None


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    with pytest.raises(ProtocolError, match=r"unknown-voice.*'bob'.*anna"):
        Voices(str(tmp_path)).find("bob", {}, LIVE)


@pytest.mark.parametrize("data", [b"short", Voice.estimate(ANNA).data, b"\xff" * 1024])
def test_damaged_profiles_are_named_at_start(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "anna.voice").write_bytes(data)
    with pytest.raises(ValueError, match=r"anna\.voice is not a voice"):
        Voices(str(tmp_path))


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, fault in (
        (str(tmp_path / "loop"), "loop cannot be read: its links lead in a circle"),
        ("n" * 300, "n cannot be read: its name is too long"),
        (__file__, r"\.py is no folder"),
    ):
        with pytest.raises(ValueError, match=fault):
            Voices(name)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Voices(str(tmp_path / "nowhere"))


def test_a_models_own_voices_are_known_too_and_the_directory_comes_first(tmp_path: Path) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    voices, bundled = Voices(str(tmp_path)), {"anna": 2 * ANNA, "hazel": 3 * ANNA}
    assert np.array_equal(voices.find("anna", bundled, LIVE), ANNA)
    assert np.array_equal(voices.find("hazel", bundled, LIVE), 3 * ANNA)
    with pytest.raises(ProtocolError, match=r"known: anna, hazel"):
        voices.find("bob", bundled, LIVE)


@pytest.mark.parametrize("other", [ModelIdentity("ns3", "0" * 12), ModelIdentity("live", "0" * 12)])
def test_a_voice_of_another_model_is_refused_naming_both(
    other: ModelIdentity, tmp_path: Path
) -> None:
    (tmp_path / "anna.voice").write_bytes(profile_bytes(belonging(ANNA, other)))
    with pytest.raises(ProtocolError) as caught:
        Voices(str(tmp_path)).find("anna", {}, LIVE)
    assert caught.value.code == "model-mismatch"
    for part in ("'anna'", str(other), str(LIVE), "enrol the voice again"):
        assert part in caught.value.sentence


def test_an_older_profile_is_refused_where_its_notes_tell_another_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "anna.voice").write_bytes(Voice.exact(ANNA).data)
    (tmp_path / "anna.json").write_text('{"model": "ns3", "source": "a.wav"}')
    with pytest.raises(ProtocolError, match="made with model ns3, but live@0123456789ab"):
        Voices(str(tmp_path)).find("anna", {}, LIVE)
    assert "anna.voice does not say its model's weights" in caplog.text


def test_names_are_found_in_either_spelling_and_never_twice(tmp_path: Path) -> None:
    (tmp_path / "jo\u0308rg.voice").write_bytes(Voice.exact(ANNA).data)
    assert Voices(str(tmp_path)).find("j\u00f6rg", {}, LIVE) is not None
    (tmp_path / "j\u00f6rg.voice").write_bytes(Voice.exact(ANNA).data)
    with pytest.raises(ValueError, match="two voices"):
        Voices(str(tmp_path))


def test_a_profile_that_hides_a_models_own_voice_is_told(
    tmp_path: Path, live: Codec, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hazel.voice").write_bytes(profile_bytes(live.voices["rowan"]))
    Runtime(ServerSettings(voices=str(tmp_path)), {"live": live}, lambda: 0.0)
    assert "voice 'hazel' of" in caplog.text and "hides that of live" in caplog.text


def refusal(voices: Voices, name: str) -> str:
    with pytest.raises(ProtocolError) as caught:
        voices.keep(name, ["hazel"], belonging(ANNA, LIVE))
    return caught.value.code


def test_voices_are_kept_under_new_names_up_to_a_number(tmp_path: Path) -> None:
    assert refusal(Voices(None), "bob") == refusal(Voices(str(tmp_path)), "bob") == "forbidden"
    voices = Voices(str(tmp_path), 3)
    voices.keep("j\u00f6rg", ["hazel"], belonging(ANNA, LIVE))
    again = Voices(str(tmp_path), 3)
    for known in (voices, again):
        assert known.names == ["j\u00f6rg"]
        found = known.find("j\u00f6rg", {}, LIVE)
        assert found is not None and np.array_equal(found, ANNA)
        assert known.profile("j\u00f6rg", {}, LIVE) == profile_bytes(belonging(ANNA, LIVE))
    for name in ("j\u00f6rg", "J\u00d6RG", "hazel", "Hazel"):
        assert refusal(voices, name) == "voice-taken", name
    for name in ("bob.voice", "a.b", "anonymous", "anonymous.7"):
        assert refusal(voices, name) == "bad-field", name
    (tmp_path / "later.voice").write_bytes(profile_bytes(ANNA))  # by another program
    assert refusal(voices, "later") == "voice-taken"
    voices.keep("bob", [], ANNA)
    voices.keep("eve", [], ANNA)
    assert refusal(voices, "dan") == "overloaded"
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["bob", "eve", "j\u00f6rg", "later"]


def test_a_voice_that_cannot_be_written_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    voices = Voices(str(tmp_path / "folder"), 3)
    (tmp_path / "folder").rmdir()
    assert refusal(voices, "bob") == "internal" and voices.names == []


def test_keeping_voices_wants_a_folder() -> None:
    with pytest.raises(ValueError, match="give --voices DIR"):
        ServerSettings(keep_voices=3)
    with pytest.raises(ValueError, match="keep_voices of 1 to 1000000000, got 0"):
        ServerSettings(keep_voices=0)
