"""Grating lobes and blind sectors against what the textbook says."""

from __future__ import annotations

import numpy as np
import pytest

from calib.diagnose.lobes import lobe_map
from hil.cli.main import call
from hil.core.geometry import uca, ula
from hil.core.units import SPEED_OF_LIGHT_M_S

FC_HZ = 2.4e9
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / FC_HZ


@pytest.mark.parametrize(("n", "spacing"), [(4, 0.7), (8, 0.7), (8, 1.0), (16, 0.6)])
def test_grating_lobes_of_wide_lines_are_one_period_of_u_apart(n: int, spacing: float) -> None:
    found = lobe_map(ula(n, spacing * WAVELENGTH_M).positions_m, FC_HZ)
    assert found.pairs
    for first, second, level in found.pairs:
        apart = abs(np.sin(np.deg2rad(first)) - np.sin(np.deg2rad(second)))
        periods = max(round(apart * spacing), 1)
        assert apart == pytest.approx(periods / spacing, abs=0.15 / (n * spacing) + 0.02)
        assert level > 0.9
    if spacing == 1.0:
        assert found.ambiguous_deg == [(-90.0, 90.0)]
        return
    worst = np.rad2deg(np.arcsin(1 / spacing - 1))  # directions beyond this have a twin
    assert found.ambiguous_deg[0][0] == -90
    assert found.ambiguous_deg[0][1] < -worst + 12
    assert found.ambiguous_deg[-1][1] == 90


def test_a_narrow_line_has_none_and_half_wavelength_only_at_endfire() -> None:
    assert lobe_map(ula(8, 0.4 * WAVELENGTH_M).positions_m, FC_HZ).pairs == []
    half = lobe_map(ula(8, 0.5 * WAVELENGTH_M).positions_m, FC_HZ)
    assert half.pairs[0][:2] == (-90.0, 90.0)
    assert half.pairs[0][2] == pytest.approx(1.0)
    assert all(abs(a) > 60 for pair in half.pairs for a in pair[:2])


def test_position_errors_break_the_periodicity_in_20_random_arrays() -> None:
    rng = np.random.default_rng(1)
    perfect = lobe_map(ula(8, 0.8 * WAVELENGTH_M).positions_m, FC_HZ, threshold=0.5).pairs[0][2]
    for _ in range(20):
        positions = ula(8, 0.8 * WAVELENGTH_M).positions_m.copy()
        positions[:, 0] += 0.1 * WAVELENGTH_M * rng.standard_normal(8)
        assert lobe_map(positions, FC_HZ, threshold=0.5).pairs[0][2] < perfect


def test_the_bound_of_a_line_is_the_closed_form_and_endfire_is_blind() -> None:
    n, t, snr = 8, 256, 100.0
    found = lobe_map(ula(n, 0.5 * WAVELENGTH_M).positions_m, FC_HZ)
    at = np.abs(found.angles_deg) <= 80
    # Stoica and Nehorai 1989: var(omega) = 6 / (N^3 - N) / (T snr) (1 + 1/(N snr)), omega = pi sin(angle)
    sigma_omega = np.sqrt(6 / (n**3 - n) / (t * snr) * (1 + 1 / (n * snr)))
    expected = np.rad2deg(sigma_omega / (np.pi * np.cos(np.deg2rad(found.angles_deg[at]))))
    np.testing.assert_allclose(found.sigma_deg[at], expected, rtol=1e-6)
    edge = np.rad2deg(np.arccos(1 / 3))  # three times the best
    assert found.blind_deg == [(-90.0, -71.0), (71.0, 90.0)]
    assert 70.5 < edge < 71
    tight = lobe_map(ula(n, 0.5 * WAVELENGTH_M).positions_m, FC_HZ, limit_deg=float(expected.min()) / 2)
    assert tight.blind_deg == [(-90.0, 90.0)]


def test_a_circle_sees_all_round_and_a_wide_one_has_lobes() -> None:
    good = lobe_map(uca(8, 0.6 * WAVELENGTH_M).positions_m, FC_HZ)
    assert (good.pairs, good.blind_deg) == ([], [])
    sparse = lobe_map(uca(4, 1.0 * WAVELENGTH_M).positions_m, FC_HZ)
    for first, second, level in sparse.pairs:
        a, b = (np.exp(2j * np.pi * np.array([np.cos(p) * np.sin(t) + np.sin(p) * np.cos(t) for p in np.arange(4) * np.pi / 2])) for t in np.deg2rad([first, second]))  # fmt: skip
        assert abs(np.vdot(a, b)) / 4 == pytest.approx(level, abs=1e-6)
    assert sparse.pairs


@pytest.mark.parametrize(
    ("args", "where"),
    [
        (["ula:1:0.5", "--fc", "2.45G"], "ula:1:0.5"),
        (["ula:8:0.5", "--fc", "2.45G", "--sigma-limit", "inf"], "--sigma-limit"),
        (["ula:8:0.5", "--fc", "2.45G", "--anchor", "5"], "--anchor"),
        (["ula:8:0.5", "--fc", "2.45G", "--rotations", "table.csv"], "--rotations"),
        (["sim:scene.toml"], "sim:scene.toml"),
        (["missing.sigmf-meta", "--anchor", "5/10"], "--anchor"),
    ],
)
def test_what_does_not_apply_is_refused(capsys, args: list[str], where: str) -> None:
    assert call(["diagnose", *args]) == 2
    assert where in capsys.readouterr().err
