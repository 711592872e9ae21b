"""The verdict without labels: what it must see through, and what it must not be put off by."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from calib.judge import count_distinct, resolved
from calib.observations import Subspaces, mdl_sources
from hil.reproduce.cold_start_arrays import Setting
from hil.reproduce.cold_start_rows import ESTIMATED, Row, word_of
from hil.reproduce.cold_start_run import run_arrays

TWO = Setting(k=2, blocks=400)


def answers(setting: Setting, seed: int, said: int | None = None, count: int = 1) -> dict:
    return run_arrays(**Row("test", "test", setting, said).arguments(), first_seed=seed, count=count)


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_broken_blocks_are_left_out_and_do_not_condemn_the_array(share: float) -> None:
    result = answers(Setting(bad=share), 600, count=2)
    assert all(result["converged"]), result["reason"]
    assert min(result["correlation"]) > 0.9999


def test_two_arrays_in_one_recording_are_refused_by_name() -> None:
    result = answers(replace(TWO, bad=0.4), 610)
    assert not result["converged"][0]
    assert word_of(result["reason"][0]) in (
        "blocks of another array",
        "nothing fits",
        "other number of sources",
    )


def test_sources_that_merge_do_not_look_like_a_wrong_array() -> None:
    result = answers(Setting(k=2, angles=6, cluster_deg=3.0), 304, count=2)
    assert all(w in ("", "few angles", "support against positions") for w in map(word_of, result["reason"]))
    for converged, correlation in zip(result["converged"], result["correlation"], strict=True):
        assert not converged or correlation > 0.999


def test_coupling_is_told_from_a_failed_search_and_costs_no_time() -> None:
    result = answers(replace(TWO, coupling_db=-20.0), 620, count=2)
    assert not any(result["converged"])
    assert set(map(word_of, result["reason"])) == {"near, but off"}
    assert max(result["attempts"]) < 12


def test_weak_coupling_stays_below_a_silent_failure() -> None:
    result = answers(replace(TWO, coupling_db=-40.0), 630, count=2)
    for converged, correlation in zip(result["converged"], result["correlation"], strict=True):
        assert not converged or correlation > 0.999


def test_a_hopeless_search_gives_up_in_time() -> None:
    begin = time.process_time()
    result = answers(Setting(k=2, rho=1.0, blocks=250), 640, said=ESTIMATED)
    assert not result["converged"][0]
    assert word_of(result["reason"][0]) == "nothing fits"
    assert time.process_time() - begin < 10  # of 20 s that the learner may take


@pytest.mark.parametrize("limits_deg", [(0.0, 60.0), (-80.0, 80.0)])
def test_other_supports(limits_deg: tuple[float, float]) -> None:
    result = answers(replace(TWO, limits_deg=limits_deg), 650)
    assert result["converged"][0], result["reason"]
    assert result["correlation"][0] > 0.9999


def test_every_reason_has_a_word() -> None:
    assert not word_of("")
    assert word_of("all blocks show the same 1 angle: one look determines no array") == "same angles"
    assert word_of("something new") == "other"


def test_distinct_angles_are_a_packing() -> None:
    assert count_distinct(np.array([0.0, 0.04, 0.08, 0.12, 1.0]), 0.1) == 3
    assert count_distinct(np.array([]), 0.1) == 0


def test_resolved_blocks() -> None:
    power = np.array([[1.0, 2.0], [1.0, 2.0], [1.1, 2.0], [0.1, 3.0]])
    sub = Subspaces(np.zeros((4, 3, 2), complex), np.ones((4, 2)), power, np.ones(4))
    assert resolved(sub).tolist() == [True, True, True, False]
    single = Subspaces(np.zeros((4, 3, 1), complex), np.ones((4, 1)), power[:, :1], np.ones(4))
    assert resolved(single).all()


def test_mdl_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(rng.gamma(20.0, size=(50, 6)), axis=1)
    values[:, -2:] *= np.array([3.0, 20.0])
    t, m = 128, 6
    expected = np.empty((50, m))
    for k in range(m):
        low = values[:, : m - k]
        log_ratio = np.log(np.prod(low, axis=1) ** (1 / (m - k)) / low.mean(axis=1))
        expected[:, k] = -(m - k) * t * log_ratio + 0.5 * k * (2 * m - k) * np.log(t)
    assert np.array_equal(mdl_sources(values, t), np.argmin(expected, axis=1))
