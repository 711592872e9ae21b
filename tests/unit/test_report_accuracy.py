"""Statistics of direction errors, and numbers on paper, against direct calculations."""

from __future__ import annotations

import numpy as np
import pytest

from hil.reporting.accuracy import Accuracy, rms
from hil.reporting.numbers import degrees, rounded, with_sigma


def accuracy(seed: int = 0, p: int = 30, blocks: int = 8, k: int = 2) -> Accuracy:
    rng = np.random.default_rng(seed)
    true = np.sort(rng.uniform(-70, 65, (p, k)), axis=0)
    bias = rng.normal(0, 0.3, (p, k))
    point = np.repeat(np.arange(p), blocks)
    learned = bias[point] + rng.normal(0, 0.1, (p * blocks, k))
    learned[5] = np.nan
    return Accuracy(
        true,
        np.full(p, 0.02),
        np.full((p, k), 0.1),
        point,
        {"nominal": 20 * learned, "learned": learned},
        256,
    )


def test_bias_and_scatter_are_those_of_each_point() -> None:
    found = accuracy()
    error = found.error_deg["learned"]
    for i in range(len(found.true_deg)):
        mine = error[found.point == i]
        assert np.allclose(found.bias_deg("learned")[i], np.nanmean(mine, axis=0))
        assert np.allclose(found.scatter_deg("learned")[i], np.nanstd(mine, axis=0, ddof=1))


def test_a_block_without_a_peak_counts_as_90_degrees() -> None:
    found = accuracy()
    filled = np.where(np.isnan(found.error_deg["learned"]), 90.0, found.error_deg["learned"])
    assert found.rmspe_deg("learned") == pytest.approx(np.mean(np.sqrt(np.mean(filled**2, axis=1))))
    assert found.percentile_deg("learned", 95) == pytest.approx(np.percentile(np.abs(filled), 95))


def test_points_with_one_block_have_no_scatter_and_no_warning() -> None:
    found = accuracy(blocks=1)
    assert np.isnan(found.scatter_deg("learned")).all()
    assert 0 <= found.covered("learned", 0.3) <= 1


def test_coverage_of_two_sigma_is_that_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(1)
    p, blocks, sigma = 4000, 4, 0.2
    point = np.repeat(np.arange(p), blocks)
    error = rng.normal(0, sigma, (p, 1))[point] + rng.normal(0, 1e-3, (p * blocks, 1))
    found = Accuracy(
        np.linspace(-50, 50, p)[:, None],
        np.zeros(p),
        np.full((p, 1), 0.1),
        point,
        {"nominal": error, "a": error},
        256,
    )
    assert found.covered("a", sigma) == pytest.approx(0.9545, abs=0.012)
    assert found.covered("a", sigma / 10) < 0.25


@pytest.mark.parametrize(
    ("low", "high"), [(-60, 60), (-180, 180), (-3, 4), (10, 10), (-89.9, 12), (0, 120.5)]
)
def test_sectors_take_every_direction_once_and_are_few(low: float, high: float) -> None:
    true = np.linspace(low, high, 77)[:, None]
    zeros = np.zeros((77, 1))
    found = Accuracy(true, np.zeros(77), zeros, np.arange(77), {"nominal": zeros}, 256).sectors()
    assert np.all(sum(inside.astype(int) for _, inside in found) == 1)
    assert 1 <= len(found) <= 7


def test_rms_of_what_is_known() -> None:
    assert rms(np.array([3.0, np.nan, 4.0])) == pytest.approx(np.sqrt(12.5))
    assert np.isnan(rms(np.array([np.nan])))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.027868, "0.0279"), (62.863, "62.9"), (1234.5, "1230"), (-1.5, "\u22121.50"), (float("nan"), "-"),
     (None, "-"), (99.97, "100.0"), (1e-9, "1.00e-09"), (9.999e-3, "0.01000")],
)  # fmt: skip
def test_three_digits(value: float | None, text: str) -> None:
    assert rounded(value) == text


@pytest.mark.parametrize(
    ("value", "sigma", "text"),
    [(-98.2581, 0.029, "\u221298.258 \u00b1 0.029"), (12.3456, 1.24, "12.3 \u00b1 1.2"), (3.30509, 0.00047, "3.305 \u00b1 0.001"),
     (6.9e-15, 0.0, "0 (fixed)"), (1.5, float("nan"), "1.50"), (-0.0001, 0.1, "0.00 \u00b1 0.10"), (250.0, 120.0, "250 \u00b1 120")],
)  # fmt: skip
def test_value_and_sigma_end_at_the_same_place(value: float, sigma: float, text: str) -> None:
    assert with_sigma(value, sigma) == text


def test_a_direction_is_never_minus_zero() -> None:
    assert degrees(-0.001) == "0"
    assert degrees(-12.346) == "\u221212.35"


def test_what_lies_just_outside_of_an_edge_is_no_sector_of_its_own() -> None:
    true = np.linspace(-60.03, 60.02, 121)[:, None]
    zeros = np.zeros((121, 1))
    found = Accuracy(true, np.zeros(121), zeros, np.arange(121), {"nominal": zeros}, 256).sectors()
    assert [name.replace("\u2212", "-") for name, _ in found] == [
        "-60 to -40", "-40 to -20", "-20 to 0", "0 to 20", "20 to 40", "40 to 60",
    ]  # fmt: skip
    assert sum(int(inside.sum()) for _, inside in found) == 121
