from __future__ import annotations

from streaming.server.liveness import Liveness


def test_who_answers_is_never_silent() -> None:
    liveness, asked = Liveness(every=5.0, now=0.0), []
    for now in range(0, 60):
        if liveness.look(float(now), answered=True, reading=True):
            asked.append(now)
        assert liveness.silent(float(now)) == 0.0
    assert asked == list(range(5, 60, 5))


def test_silence_counts_from_the_first_ping_without_an_answer() -> None:
    liveness = Liveness(every=5.0, now=0.0)
    for now in range(1, 31):
        liveness.look(float(now), answered=now < 8, reading=True)
    assert liveness.silent(30.0) == 20.0
    liveness.look(31.0, answered=True, reading=True)
    assert liveness.silent(31.0) == 0.0


def test_time_in_which_the_server_did_not_read_does_not_count() -> None:
    liveness, asked = Liveness(every=5.0, now=0.0), 0
    for now in range(1, 101):
        asked += liveness.look(float(now), answered=False, reading=False)
    assert liveness.silent(100.0) <= 1.0
    assert asked == 100
