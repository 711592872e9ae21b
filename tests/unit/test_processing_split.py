"""Splits of training sets: nothing leaks from one part into another, whatever is held out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.core.errors import ConfigError
from hil.processing.split import LEFT_OUT, SPLITS, SplitSettings, least_step_deg, places, split_points


@settings(max_examples=60, deadline=None)
@given(
    n_places=st.integers(8, 60), n_runs=st.integers(4, 8), by=st.sampled_from(SPLITS), seed=st.integers(0, 2**40),
    val=st.sampled_from([0.0, 0.1, 0.25]), test=st.sampled_from([0.1, 0.3]),
)  # fmt: skip
def test_no_angle_and_no_run_is_in_two_parts(
    n_places: int, n_runs: int, by: str, seed: int, val: float, test: float
) -> None:
    place = np.tile(np.arange(n_places), n_runs)
    run = np.repeat(np.arange(n_runs), n_places)
    part = split_points(place, run, SplitSettings(by, val, test, seed))  # pyright: ignore[reportArgumentType]
    train = part == 0
    for held in (1, 2):
        chosen = part == held
        assert chosen.any() == bool((val, test)[held - 1])
        if "angle" in by:
            assert not set(place[train]) & set(place[chosen])
        if "run" in by:
            assert not set(run[train]) & set(run[chosen])
    if "angle" in by:
        assert not set(place[part == 1]) & set(place[part == 2])
        assert {0, n_places - 1} & set(place[(part == 1) | (part == 2)]) == set()
        assert {0, n_places - 1} <= set(place[train])
    else:
        assert not set(run[part == 1]) & set(run[part == 2])
    assert (part == LEFT_OUT).any() == (by == "angle+run")
    again = split_points(place, run, SplitSettings(by, val, test, seed))  # pyright: ignore[reportArgumentType]
    assert np.array_equal(part, again)


def test_shares_are_what_was_asked_for_and_the_seed_changes_the_choice() -> None:
    place, run = np.arange(121), np.zeros(121, np.int64)
    parts = [split_points(place, run, SplitSettings(seed=s)) for s in range(3)]
    assert [np.bincount(p).tolist() for p in parts] == [[85, 12, 24]] * 3
    assert not np.array_equal(parts[0], parts[1])


def test_near_directions_are_one_place_also_across_the_wrap() -> None:
    directions = np.array([179.95, -10.0, 0.0, -179.9, -9.9, 0.3])
    assert places(directions, 0.25).tolist() == [0, 1, 2, 0, 1, 3]
    assert least_step_deg([(0.0, 5.0, 2.0), (7.0,)]) == 2.0


@pytest.mark.parametrize(
    ("n", "runs", "by"), [(3, 1, "angle"), (20, 2, "run"), (20, 1, "angle+run"), (1, 1, "angle")]
)
def test_too_few_to_split_is_said_in_one_line(n: int, runs: int, by: str) -> None:
    with pytest.raises(ConfigError, match="too few"):
        split_points(np.arange(n), np.arange(n) % runs, SplitSettings(by, 0.3, 0.3))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "bad", [{"by": "day"}, {"val": -0.1}, {"test": 1.0}, {"val": 0.5, "test": 0.5}, {"seed": -1}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SplitSettings(**bad)  # pyright: ignore[reportArgumentType]
