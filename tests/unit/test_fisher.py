"""Fisher information against hand-computed cases, finite differences and closed forms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calib.fisher.array import ArrayPoint, Unknowns
from calib.fisher.information import block_rows, information
from calib.fisher.looks import looks_at
from calib.identifiability import identify, identify_plan
from hil.core.errors import ConfigError, ShapeError
from hil.core.geometry import ArrayGeometry, ula
from hil.dsp.doa_accuracy import doa_crb_deg

FC_HZ = 2.45e9
WAVELENGTH_M = 299_792_458.0 / FC_HZ


def line_point(n: int, seed: int = 0, coupling: float = 0.0) -> ArrayPoint:
    """A line of half wavelengths with random gains, position errors and coupling."""
    rng = np.random.default_rng(seed)
    gain = (1 + 0.2 * rng.standard_normal(n)) * np.exp(2j * np.pi * rng.random(n))
    positions = np.zeros((n, 3))
    positions[:, 0] = (np.arange(n) - (n - 1) / 2) * 0.5 + 0.05 * rng.standard_normal(n) * (seed > 0)
    c = coupling * (rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))
    np.fill_diagonal(c, 1)
    return ArrayPoint(gain, positions, c)


def test_two_elements_one_source_by_hand() -> None:
    """R = p [[1, e^-jf], [e^jf, 1]] + I: nothing but f carries the angle, F_ff = 2 T p^2 / (1 + 2 p)."""
    power, t = 3.0, 50
    point = ArrayPoint(np.ones(2, complex), np.array([[-0.25, 0, 0], [0.25, 0, 0]]), np.eye(2, dtype=complex))
    looks = looks_at([[0.3]], kind="line", power=power, n_snapshots=t)
    found = information(point, Unknowns(), looks)
    # |rho|^2 = (p/(1+p))^2 and F_ff = 2 T rho^2 / (1 - rho^2); f = pi u
    by_hand = 2 * t * power**2 / (1 + 2 * power) * np.pi**2
    assert found.angle[0, 0, 0] == pytest.approx(by_hand, rel=1e-9)


def test_two_elements_known_angles_give_the_phase_by_hand() -> None:
    """One block at a known angle: the phase difference has variance (1 + 2 p)/(2 T p^2)."""
    power, t = 3.0, 50
    point = ArrayPoint(np.ones(2, complex), np.array([[-0.25, 0, 0], [0.25, 0, 0]]), np.eye(2, dtype=complex))
    looks = looks_at([[0.3]], kind="line", power=power, n_snapshots=t)
    looks = replace(looks, known_sigma_rad=np.zeros((1, 1, 1)))
    result = identify(point, Unknowns(True, None), looks)
    expected = np.rad2deg(np.sqrt((1 + 2 * power) / (2 * t * power**2)))
    np.testing.assert_allclose(result.sigma.phase_deg, [0.0, expected], rtol=1e-9)
    assert result.n_open == 0


def test_three_elements_gain_by_hand() -> None:
    """One strong source at a known angle, gains unknown: log-gain and phase errors are those of the phasors.

    With p -> infinity the snapshots give the steering vector up to a factor: the noise of an element's relative log-gain
    is s2/(2 T p) per real part; relative to the mean of three: (1 - 1/3) of it.
    """
    power, t = 1e6, 100
    point = ArrayPoint(np.ones(3, complex), np.zeros((3, 3)) + np.arange(3)[:, None] * [0.5, 0, 0], np.eye(3))
    looks = looks_at([[0.2]], kind="line", power=power, n_snapshots=t)
    looks = replace(looks, known_sigma_rad=np.zeros((1, 1, 1)))
    result = identify(point, Unknowns(True, None), looks)
    neper = np.sqrt((1 - 1 / 3) / (2 * t * power))
    np.testing.assert_allclose(result.sigma.gain_db, 20 / np.log(10) * neper, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("model", ["correlated", "uncorrelated"])
def test_the_information_is_that_of_finite_differences(k: int, model: str) -> None:
    """F from numerical derivatives of R and an explicit Schur complement."""
    n, t = 5, 64
    point = line_point(n, seed=3, coupling=0.05)
    unknowns = Unknowns(True, "x", "toeplitz:2")
    azimuth = np.array([[0.4, -0.2]])[:, :k]
    source = (
        np.array([[2.0, 0.4 + 0.3j], [0.4 - 0.3j, 1.0]])[:k, :k]
        if model == "correlated"
        else np.diag([2.0, 1.0][:k])
    )
    looks = replace(
        looks_at(azimuth, kind="line", n_snapshots=t),
        source_covariance=source[None].astype(complex), noise=np.array([0.7]),
    )  # fmt: skip

    def covariance(x: np.ndarray) -> np.ndarray:
        log_gain, phase, path = x[:n], x[n : 2 * n], x[2 * n : 3 * n]
        c = point.coupling.copy()
        for lag in (1, 2):
            value = x[3 * n + lag - 1] + 1j * x[3 * n + 2 + lag - 1]
            c = c + value * (np.eye(n, k=lag) + np.eye(n, k=-lag))
        rest = x[3 * n + 4 :]
        u, p = np.sin(azimuth[0]) + rest[:k], source.astype(complex)
        at = k
        for i in range(k):
            for j in range(i, k):
                if model == "uncorrelated" and i != j:
                    continue
                e = np.zeros((k, k), complex)
                e[i, j], e[j, i] = rest[at], rest[at]
                at += 1
                if i != j:
                    e[i, j] += 1j * rest[at]
                    e[j, i] -= 1j * rest[at]
                    at += 1
                p = p + e
        x_pos = point.positions[:, 0] + path / (2 * np.pi)
        a = np.diag(point.gain * np.exp(log_gain + 1j * phase)) @ c @ np.exp(2j * np.pi * np.outer(x_pos, u))
        return a @ p @ a.conj().T + (0.7 + rest[at]) * np.eye(n)

    size = 3 * n + 4 + k + (k * k if model == "correlated" else k) + 1
    inverse = np.linalg.inv(covariance(np.zeros(size)))
    step = 1e-6
    slopes = [
        inverse @ (covariance(step * e) - covariance(-step * e)) / (2 * step) for e in np.eye(size)
    ]  # fmt: skip
    f = t * np.array([[np.trace(a @ b).real for b in slopes] for a in slopes])
    m = 3 * n + 4
    by_hand = f[:m, :m] - f[:m, m:] @ np.linalg.solve(f[m:, m:], f[m:, :m])
    found = information(point, unknowns, looks, model).matrix  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-5 * np.abs(by_hand).max())


@pytest.mark.parametrize("k", [1, 2])
def test_doa_bound_of_a_known_array_is_the_closed_form(k: int) -> None:
    azimuth = np.deg2rad([[20.0, -13.0]])[:, :k]
    point = ArrayPoint(np.ones(8, complex), line_point(8).positions, np.eye(8, dtype=complex))
    looks = looks_at(azimuth, kind="line", power=10.0, n_snapshots=200)
    result = identify(point, Unknowns(), looks)
    expected = doa_crb_deg((point.positions * WAVELENGTH_M), FC_HZ, np.rad2deg(azimuth[0]), 10.0, 200)
    # the closed form knows that sources are uncorrelated only in its P, not in its unknowns: so does ours
    np.testing.assert_allclose(result.crb_known_deg[0, :, 0], expected, rtol=1e-5)


def test_doa_bound_of_a_uniform_line_by_hand() -> None:
    """K = 1, spacing d: var u = 6 (1 + 1/(N p)) / (T p (2 pi d)^2 N (N^2 - 1)) (Stoica and Nehorai 1989)."""
    n, p, t, d = 8, 4.0, 128, 0.5
    point = ArrayPoint(np.ones(n, complex), line_point(n).positions, np.eye(n, dtype=complex))
    angle = 0.6
    result = identify(point, Unknowns(), looks_at([[angle]], kind="line", power=p, n_snapshots=t))
    variance = 6 * (1 + 1 / (n * p)) / (t * p * (2 * np.pi * d) ** 2 * n * (n**2 - 1))
    assert result.crb_known_deg[0, 0, 0] == pytest.approx(
        np.rad2deg(np.sqrt(variance) / np.cos(angle)), rel=1e-9
    )


def test_blocks_add_up_and_thousands_are_quick() -> None:
    rng = np.random.default_rng(1)
    point = line_point(8, seed=1)
    azimuth = rng.uniform(-1, 1, (3000, 1))
    looks = looks_at(azimuth, kind="line")
    rows = block_rows(point, Unknowns(), looks_at(azimuth[:7], kind="line"))
    small = information(point, Unknowns(), looks_at(azimuth[:7], kind="line")).matrix
    np.testing.assert_allclose(
        np.einsum("bri,brj->ij", rows, rows), small, rtol=1e-8, atol=1e-6 * small.max()
    )
    assert information(point, Unknowns(), looks).cross.shape == (3000, 1, 24)


def test_prior_knowledge_of_an_angle_is_one_more_observation() -> None:
    point = line_point(8, seed=1)
    free = looks_at([[-0.5], [0.1], [0.6]], kind="line")
    loose = replace(free, known_sigma_rad=np.full((3, 1, 1), 1e6))
    tight = replace(free, known_sigma_rad=np.full((3, 1, 1), 1e-9))
    exact = replace(free, known_sigma_rad=np.zeros((3, 1, 1)))
    found = [information(point, Unknowns(), x).matrix for x in (free, loose, tight, exact)]
    scale = found[0].max()
    np.testing.assert_allclose(found[0], found[1], atol=1e-6 * scale)
    np.testing.assert_allclose(found[2], found[3], atol=1e-6 * scale)
    assert np.linalg.eigvalsh(found[3] - found[0])[0] > -1e-8 * scale


def test_next_angle_is_where_nothing_was_seen() -> None:
    result = identify_plan(ula(8, WAVELENGTH_M / 2), FC_HZ, list(range(-60, 1, 2)), blocks_per_angle=20)
    assert result.next_angle_deg == pytest.approx(60.0)
    assert result.next_angle.bits > 2 * result.next_angle.worst_bits
    # the increase of the log determinant, computed in the open: prior + seen + one block
    point, unknowns = ArrayPoint(np.ones(8, complex), line_point(8).positions, np.eye(8)), Unknowns()
    seen = information(
        point, unknowns, looks_at(np.deg2rad(np.arange(-60, 1, 2))[:, None], kind="line", n_snapshots=5120)
    )
    block = information(point, unknowns, looks_at([[np.deg2rad(60)]], kind="line", n_snapshots=5120)).matrix
    prior = np.diag(np.repeat([1 / 0.3**2, 3 / np.pi**2, 1 / (0.2 * np.pi) ** 2], 8))
    gain = np.linalg.slogdet(seen.matrix + prior + block)[1] - np.linalg.slogdet(seen.matrix + prior)[1]
    assert result.next_angle.bits == pytest.approx(gain / 2 / np.log(2), rel=1e-3)


def test_wrong_use_is_named() -> None:
    with pytest.raises(ConfigError, match="toeplitz"):
        Unknowns(coupling="banded")
    with pytest.raises(ConfigError, match="nothing"):
        Unknowns(gain=False, positions=None)
    with pytest.raises(ConfigError, match="positions"):
        Unknowns(positions="y")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="cannot be told apart"):
        looks_at([[0.1]], [[0.1]], kind="line")
    with pytest.raises(ShapeError, match="3 sources"):
        information(line_point(3), Unknowns(), looks_at([[0.1, 0.2, 0.3]], kind="line"))
    with pytest.raises(ConfigError, match="between -90 and 90"):
        identify_plan(ArrayGeometry(line_point(4).positions), FC_HZ, [100.0])
