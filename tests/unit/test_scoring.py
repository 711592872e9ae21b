"""Scores mean what the contract defines, checked against arrays whose truth is set by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.errors import ConfigError
from hil.core.geometry import uca, ula
from hil.core.steering import steering_vectors
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.evaluation.scoring import held_out, score_directions, single_direction_blocks
from hil.learning.observe import CovarianceBatch

FC = 2.45e9
LAMBDA = SPEED_OF_LIGHT_M_S / FC


def _batch(geometry, angles_deg: np.ndarray) -> CovarianceBatch:
    covariance = []
    for row in np.atleast_2d(angles_deg):
        a = steering_vectors(geometry.positions_m, FC, np.deg2rad(row))
        covariance.append(a @ a.conj().T + 1e-6 * np.eye(geometry.n_elements))
    return CovarianceBatch(np.array(covariance), np.arange(len(covariance)) * 1000, 256, 1e6)


@pytest.mark.parametrize("geometry", [ula(8, LAMBDA / 2), uca(8, 0.6 * LAMBDA)])
def test_the_right_array_scores_zero(geometry) -> None:
    true = np.array([[-40.0, 10.0], [3.0, 55.0]])
    assert score_directions(_batch(geometry, true), true, geometry, FC).doa_rmspe_deg < 1e-3


def test_error_is_rms_over_sources_and_mean_over_blocks() -> None:
    geometry = ula(8, LAMBDA / 2)
    seen = np.array([[-40.0, 10.0], [-40.0, 10.0]])
    claimed = seen + np.array([[3.0, 0.0], [0.0, 0.0]])
    score = score_directions(_batch(geometry, seen), claimed, geometry, FC)
    assert score.doa_rmspe_deg == pytest.approx((3 / np.sqrt(2) + 0) / 2, abs=1e-3)
    assert score.block_errors_deg[0] == pytest.approx(3 / np.sqrt(2), abs=1e-3)


def test_azimuth_errors_wrap() -> None:
    geometry = uca(8, 0.6 * LAMBDA)
    score = score_directions(_batch(geometry, np.array([[179.5]])), np.array([[-179.5]]), geometry, FC)
    assert score.doa_rmspe_deg == pytest.approx(1.0, abs=1e-2)


def test_blocks_across_a_hop_are_left_out() -> None:
    batch = _batch(ula(4, LAMBDA / 2), np.zeros((5, 1)))

    def angles_at(samples: np.ndarray) -> np.ndarray:
        return np.where(samples < 2_100, 10.0, 20.0)[:, None]

    steady, true = single_direction_blocks(batch, angles_at, 0)
    assert list(steady.first_sample) == [0, 1000, 3000, 4000]
    assert list(true[:, 0]) == [10, 10, 20, 20]
    with pytest.raises(ConfigError, match="single true direction"):
        single_direction_blocks(batch, lambda s: s[:, None].astype(float), 0)


def test_last_fifth() -> None:
    assert held_out(1000) == 800
    assert held_out(1000, 50) == 850
