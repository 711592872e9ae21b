"""Gauge-aligned errors: zero for what nobody can know, exact for what can be known."""

from __future__ import annotations

import numpy as np
import pytest

from calib.metrics import doa_rmspe_deg, manifold_error, steering_of
from hil.core.gauge import affine_line, rotate_planar

FC = 2.45e9
WAVELENGTH = 299_792_458.0 / FC


def test_ramp_and_scale_of_a_line_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    x = (np.arange(8) - 3.5) * 0.5 + 0.1 * rng.standard_normal(8)
    g = np.exp(2j * np.pi * rng.random(8))
    g2, x2 = affine_line(g, x, 1.03, 0.05)

    def at(gain, line):
        return steering_of(gain, np.column_stack((line, np.zeros((8, 2)))) * WAVELENGTH, FC)

    found = manifold_error(at(g, x), at(g2, x2), is_line=True)
    assert found.error < 1e-9
    # the true u in terms of the learned: u = (u' - be) / al
    assert found.al == pytest.approx(1 / 1.03, rel=1e-6)
    assert found.be == pytest.approx(-0.05 / 1.03, abs=1e-6)
    assert found.gauge_error_deg > 2


def test_rotation_of_a_plane_costs_nothing_and_a_wrong_phase_does() -> None:
    rng = np.random.default_rng(1)
    p = np.column_stack((rng.standard_normal((7, 2)) * 0.5, np.zeros(7))) * WAVELENGTH
    g = np.exp(2j * np.pi * rng.random(7))
    turned = manifold_error(
        steering_of(g, p, FC), steering_of(g, rotate_planar(p, np.deg2rad(20)), FC), is_line=False
    )
    assert turned.error < 1e-9
    assert turned.gauge_error_deg == pytest.approx(20, abs=1e-4)
    g2 = g * np.exp(1j * np.array([0.3, 0, 0, 0, 0, 0, 0]))
    expected = 1 - abs(6 + np.exp(0.3j)) / 7
    wrong = manifold_error(steering_of(g, p, FC), steering_of(g2, p, FC), is_line=False)
    assert wrong.error == pytest.approx(expected, rel=0.5)


def test_rmspe_assigns_and_skips_unknown_blocks() -> None:
    true = np.array([[10.0, -20.0], [0.0, 5.0], [1.0, 2.0]])
    estimate = np.array([[-19.0, 10.0], [5.0, 0.0], [np.nan, 2.0]])
    assert doa_rmspe_deg(estimate, true) == pytest.approx(np.sqrt(0.5) / 2)
