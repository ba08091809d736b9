"""Paths: what they delay, drop and throttle, with a clock of the test's own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.link.conditions import FAR, Path, Stage, Way, cell_edge, only, paths, with_outages


def arrivals(way: Way, count: int, every: float, size: int, since: float = 0.0) -> list[float]:
    """Delays of packets sent at a pace, nan for those that are lost."""
    times = since + np.arange(count) * every
    found = [way.arrival(now, size) for now in times.tolist()]
    return [np.nan if at is None else at - now for at, now in zip(found, times, strict=True)]


def test_a_clean_path_only_delays() -> None:
    assert arrivals(Way(Path("p", ""), 0), 50, 0.01, 1000) == pytest.approx([0.02] * 50)


def test_as_many_are_lost_as_asked_for() -> None:
    way = Way(Path("p", "", (Stage(loss=0.1),)), 3)
    lost = np.isnan(arrivals(way, 20_000, 0.01, 100))
    assert abs(lost.mean() - 0.1) < 0.01


def test_jitter_keeps_the_order() -> None:
    way = Way(Path("p", "", (Stage(delay=0.05, jitter=0.02),)), 3)
    delays = np.array(arrivals(way, 5000, 0.001, 100))
    assert (np.diff(delays + np.arange(5000) * 0.001) >= -1e-12).all()
    sparse = np.array(arrivals(way, 1000, 0.1, 100, since=10.0))
    assert 0.03 <= sparse.min() < 0.033 and 0.067 < sparse.max() <= 0.07


def test_a_narrow_path_serves_one_after_the_other_and_drops_what_would_wait_too_long() -> None:
    way = Way(Path("p", "", (Stage(rate=8000.0, delay=0.0),), queue=0.4), 0)
    delays = arrivals(way, 100, 0.05, 100)  # 16 kbit/s into 8
    assert delays[:3] == pytest.approx([0.1, 0.15, 0.2])
    assert np.nanmax(delays) <= 0.5 + 1e-9
    assert 0.4 < np.isnan(delays).mean() < 0.5


def test_what_changes_while_a_packet_is_sent_counts() -> None:
    way = Way(Path("p", "", (Stage(rate=8000.0), Stage(1.0, rate=16000.0))), 0, began=10.0)
    # Half of the 2000 bits before the change, half after it.
    assert way.arrival(10.875, 250) == pytest.approx(10.875 + 0.125 + 0.0625 + 0.02)


def test_before_the_talk_begins_its_beginning_holds() -> None:
    way = Way(with_outages(1.0, 60.0), 0)
    assert way.began == FAR
    assert way.arrival(1e6, 100) == pytest.approx(1e6 + 0.02)


def test_nothing_comes_in_outages_and_all_does_after_them() -> None:
    path = with_outages(1.0, 60.0)
    assert len(path.outages) == 4
    delays = np.array(arrivals(Way(path, 0, began=0.0), 600, 0.1, 100))
    times = np.arange(600) * 0.1
    out = np.zeros(600, bool)
    for begin, end in path.outages:
        out |= (times >= begin) & (times < end)
    np.testing.assert_array_equal(np.isnan(delays), out)


def test_the_edge_of_a_cell_is_the_same_each_time() -> None:
    path = cell_edge(60.0)
    assert path == cell_edge(60.0)
    assert path.stages[:50] == cell_edge(120.0).stages[:50]
    rates = [stage.rate for stage in path.stages]
    assert min(rates) == 2e3 and 12e3 <= sorted(rates)[len(rates) // 2] <= 256e3


def test_paths_are_found_by_name() -> None:
    assert [name for name, _ in only(["edge", "clean"], 30.0)] == ["clean", "edge"]
    assert len(only(None, 30.0)) == len(paths(30.0))
    with pytest.raises(ValueError, match=r"expected paths of clean.*got dirty"):
        only(["dirty"], 30.0)
