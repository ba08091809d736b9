from __future__ import annotations

from clients.library.silence import LONGEST_LOOK, Silence


def test_silence_adds_up_until_something_is_heard() -> None:
    silence = Silence(patience=3.0, now=0.0)
    assert not any(silence.is_too_long(now, heard=False) for now in (1.0, 2.0, 3.0))
    assert not silence.is_too_long(4.0, heard=True)
    assert [silence.is_too_long(now, heard=False) for now in (5.0, 6.0, 7.0, 7.5)] == [
        False, False, False, True,
    ]  # fmt: skip


def test_a_program_that_stood_still_listens_first() -> None:
    silence = Silence(patience=LONGEST_LOOK + 1.0, now=0.0)
    assert not silence.is_too_long(3600.0, heard=False)
    assert not silence.is_too_long(3600.5, heard=True)
