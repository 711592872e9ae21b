"""Compiled MUSIC and plain numpy equal the slow reference in double precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hil.core import compiled
from hil.core.errors import ShapeError
from hil.core.geometry import uca, ula
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder, assign_errors_deg, find_doas
from hil.dsp.doa_cells import Cells
from hil.dsp.response import ArrayResponse, array_response
from tests.physics.doa_reference import (
    FC_HZ,
    WAVELENGTH_M,
    random_response,
    random_snapshots,
    reference_peaks,
)

BOUND_DEG = 2e-5
LINE, CIRCLE = ula(8, 0.5 * WAVELENGTH_M), uca(8, 0.6 * WAVELENGTH_M)


@pytest.fixture(scope="module")
def kernel() -> Any:
    """The kernels of this machine, from the user's cache or compiled now."""
    assert compiled.prepare(wait=True), compiled.why_not()
    return compiled.kernel("doa")


@pytest.fixture(params=["compiled", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kernel: Any) -> Iterator[str]:
    """Both ways, whether the kernels are loaded or not."""
    monkeypatch.setattr(compiled, "_kernels", {"doa": kernel} if request.param == "compiled" else {})
    return request.param


def compare(seed: int, most: int = 16) -> None:
    """Random array, sources, noise and grid of one seed; every third at 60 dB."""
    rng = np.random.default_rng(seed)
    response, m = random_response(rng, most)
    k = int(rng.integers(1, m))
    snr_db = rng.uniform(0.0, 60.0) if seed % 3 else 60.0
    low, high = response.limits_deg
    # The coarser grid still separates what is a fifth of a beam apart.
    step = min(0.5, 0.1 * (response.beamwidth_deg or 30.0))
    grid = response.grid_deg() if seed % 2 else np.linspace(low, high, round((high - low) / step) + 1)
    x = random_snapshots(rng, response, k, snr_db, int(rng.choice([m + 2, 64, 300, 1000])))
    r = sample_covariance(x)
    exact = sample_covariance(x.astype(np.complex128))
    assert np.abs(r - exact).max() < 1e-6 * np.abs(exact).max()
    np.testing.assert_array_equal(r, r.conj().T)
    expected, depth, _ = reference_peaks(response, grid, r, k)
    found = DoaFinder(response, None, grid).find(r, k)
    assert len(found) == min(k, len(expected)), f"seed {seed}: {m} elements, {k} sources, {snr_db:.0f} dB"
    errors = assign_errors_deg(found, expected[:k])
    assert np.max(np.abs(errors), initial=0.0) < BOUND_DEG, (seed, found, expected, depth)
    one_by_one = np.abs(found - expected[:k]) % 360.0
    apart = np.diff(depth[: len(found)], prepend=-1.0, append=1.0) > 1e-12
    told = apart[1:] & apart[:-1]  # depths nearer each other than rounding come in any order
    assert np.all(one_by_one[told] < BOUND_DEG)


@pytest.mark.parametrize("seed", range(40))
def test_random_array_equals_the_reference(seed: int, way: str) -> None:
    compare(seed)


@pytest.mark.parametrize("seed", range(100, 108))
def test_large_array_equals_the_reference(seed: int, way: str) -> None:
    compare(seed, 64)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 4000, 250))
def test_many_random_arrays_equal_the_reference(first: int, way: str) -> None:
    for seed in range(first, first + 250):
        compare(seed)


@pytest.mark.parametrize("doas", [(12.3456,), (-20.3, 31.7), (-60.0, -20.25, 5.0, 33.3)], ids=len)
@pytest.mark.parametrize("geometry", [LINE, CIRCLE], ids=["line", "circle"])
def test_noise_free_sources_are_exact(geometry, doas: tuple[float, ...], way: str) -> None:
    response = array_response(geometry, FC_HZ)
    a = response.steering(np.array(doas))
    for noise in (0.0, 1e-9, 1.0):
        found = DoaFinder(response).find(a @ a.conj().T + noise * np.eye(8), len(doas))
        np.testing.assert_allclose(np.sort(found), np.sort(doas), atol=BOUND_DEG)


def test_unequal_sources_of_60_db_are_exact(way: str) -> None:
    a = array_response(LINE, FC_HZ).steering(np.array([-20.3, 31.7]))
    r = (a * np.array([1e6, 1.0])) @ a.conj().T + 1e-3 * np.eye(8)
    np.testing.assert_allclose(np.sort(find_doas(r, LINE, FC_HZ, 2)), (-20.3, 31.7), atol=BOUND_DEG)


def test_needles_are_ranked_by_their_depth_between_grid_points(way: str) -> None:
    """A needle half a step beside the grid is shallower there than a dip that happens to lie on it."""
    grid = np.arange(-60.0, 61.0, 4.0)

    def steering(angles_deg: np.ndarray) -> np.ndarray:
        # D = sin^2 of the bend: 0 at -21.9 (between grid points), 0.01 at 20 (on one).
        needle, dip = 4.0 * np.deg2rad(angles_deg + 21.9), 0.1**2 + (4.0 * np.deg2rad(angles_deg - 20.0)) ** 2
        bend = needle * np.sqrt(dip / (needle**2 + dip))
        return np.stack((np.cos(bend), np.sin(bend))).astype(np.complex128)

    source = np.diag([1.0, 1e-6]).astype(np.complex128)
    response = ArrayResponse(steering, (-90.0, 90.0), None)
    for refine in (True, False):
        finder = DoaFinder(response, None, grid, refine=refine)
        d = 1 / finder.spectrum(source)
        assert d[20] < d[9:11].min()  # what the grid alone would say
        (found,) = finder.find(source, 1)
        assert abs(found + 21.9) < (BOUND_DEG if refine else 2.2)


def test_peaks_on_the_grid_are_the_refined_ones_rounded(way: str) -> None:
    rng = np.random.default_rng(4)
    response = array_response(CIRCLE, FC_HZ)
    r = sample_covariance(random_snapshots(rng, response, 3, 60.0, 200))
    grid = np.arange(-180.0, 180.0, 0.5)
    fine = DoaFinder(response, None, grid).find(r, 3)
    coarse = DoaFinder(response, None, grid, refine=False).find(r, 3)
    np.testing.assert_array_equal(np.sort(coarse), np.sort(np.round(fine * 2) / 2))


def test_many_equal_one_by_one(way: str) -> None:
    rng = np.random.default_rng(5)
    response = array_response(LINE, FC_HZ)
    r = np.stack([sample_covariance(random_snapshots(rng, response, 2, 20.0, 64)) for _ in range(70)])
    finder = DoaFinder(response)
    for many, one in zip(finder.find_many(r, 2), r, strict=True):
        np.testing.assert_allclose(many, finder.find(one, 2), atol=BOUND_DEG)
    frozen = r[0].copy()
    frozen.flags.writeable = False
    for same in (frozen, np.asfortranarray(r[0]), r[:, ::1][0], r[0].tolist()):
        np.testing.assert_allclose(finder.find(same, 2), finder.find(r[0], 2), atol=1e-9)


def test_degenerate_covariances(way: str) -> None:
    finder = DoaFinder(LINE, FC_HZ)
    for zero in (np.zeros((8, 8), complex), np.eye(8, dtype=complex)):
        assert len(finder.find(zero, 2)) <= 2
    broken = np.eye(8, dtype=complex)
    broken[3, 2] = np.nan
    with contextlib.suppress(np.linalg.LinAlgError):
        assert not np.any(np.isnan(finder.find(broken, 2)))
    x = random_snapshots(np.random.default_rng(6), finder.response, 1, 60.0, 1)
    one = sample_covariance(x)  # rank 1
    assert len(finder.find(one, 1)) == 1
    assert len(finder.find(one, 3)) <= 3
    part = DoaFinder(LINE, FC_HZ, np.arange(20.0, 50.0))
    a = finder.response.steering(np.array([-20.0, 35.0]))
    found = part.find(a @ a.conj().T + 0.1 * np.eye(8), 2)
    assert abs(found[0] - 35.0) < BOUND_DEG
    for k in (0, 8):
        with pytest.raises(ShapeError):
            finder.find(one, k)
    with pytest.raises(ShapeError):
        finder.find(one[:4, :4], 1)


def test_table_with_kinks_is_followed_by_the_array_itself(way: str) -> None:
    table = np.arange(-60.0, 61.0, 7.0)
    rng = np.random.default_rng(7)
    extra = np.exp(0.3j * rng.standard_normal((8, len(table))))
    ideal = array_response(LINE, FC_HZ)

    def steering(angles_deg: np.ndarray) -> np.ndarray:
        bent = np.stack([np.interp(angles_deg, table, e) for e in extra])
        return ideal.steering(angles_deg) * bent

    response = ArrayResponse(steering, (-60.0, 60.0), ideal.beamwidth_deg)
    finder = DoaFinder(response)
    for angle in (-11.1, 4.0, 24.03, 40.5):
        a = steering(np.array([angle]))
        r = a @ a.conj().T + 0.01 * np.eye(8)
        assert finder.find(r, 1) == pytest.approx([angle], abs=1e-4)


def test_cells_say_where_they_miss() -> None:
    ideal = array_response(LINE, FC_HZ)
    grid = np.arange(-90.0, 90.5, 0.5)
    cells = Cells(ideal.steering, grid, False)
    for i in (1, 100, 359):
        cells.add(i)
        assert cells.brackets[2, i] == pytest.approx(0.5)
    coarse = Cells(ideal.steering, np.arange(-90.0, 91.0, 30.0), False)
    assert np.all(coarse.brackets[2] < 0.0)
    silent = Cells(lambda deg: np.zeros((4, len(deg)), complex), grid, False)
    assert np.all(silent.brackets[2] < 0.0)


def test_subspace_is_certified_or_left_to_lapack(kernel: Any) -> None:
    """Whatever the kernel says it found holds the largest eigenvalues, also of indefinite and clustered matrices."""
    from hil.dsp.subspace_kernel import signal_subspace

    rng = np.random.default_rng(8)
    answered = 0
    for trial in range(150):
        m = int(rng.integers(2, 24))
        k = int(rng.integers(1, m))
        q = np.linalg.qr(rng.standard_normal((m, m)) + 1j * rng.standard_normal((m, m)))[0]
        values = np.sort(rng.choice([1.0, 10.0, 1e3, 1e6], m) * rng.random(m))
        if trial % 3 == 0:
            values[0] = -values[-1] * rng.random()
        r = (q * values) @ q.conj().T
        r = 0.5 * (r + r.conj().T)
        vr, vi = np.empty((k, m)), np.empty((k, m))
        if not signal_subspace(r, k, vr, vi):
            continue
        answered += 1
        v = (vr + 1j * vi).T
        np.testing.assert_allclose(v.conj().T @ v, np.eye(k), atol=1e-12)
        u = np.linalg.eigh(r)[1][:, m - k :]
        assert np.linalg.norm(v - u @ (u.conj().T @ v)) < 1e-8
    assert answered > 30


def test_covariances_of_odd_shapes(kernel: Any, way: str) -> None:
    rng = np.random.default_rng(9)
    for m, n in ((1, 1), (1, 70), (2, 63), (3, 64), (5, 65), (7, 4097), (33, 10_000)):
        x = (rng.standard_normal((m, n)) + 1j * rng.standard_normal((m, n))).astype(np.complex64)
        exact = x.astype(np.complex128) @ x.conj().T.astype(np.complex128) / n
        np.testing.assert_allclose(sample_covariance(x), exact, atol=1e-6)
        x.flags.writeable = False
        np.testing.assert_allclose(sample_covariance(x), exact, atol=1e-6)
        np.testing.assert_allclose(sample_covariance(np.asfortranarray(x)), exact, atol=1e-6)
    bad = np.ones((4, 100), np.complex64)
    bad[2, 50] = np.nan
    assert np.isnan(sample_covariance(bad)[2, 3])
    assert not np.isnan(sample_covariance(bad)[0, 1])


def test_a_process_that_prepared_nothing_stays_on_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_kernels", {})
    finder = DoaFinder(LINE, FC_HZ)
    finder.find(np.eye(8, dtype=complex) + 1.0, 1)
    assert finder._compiled is None
    counted = SimpleNamespace(calls=0)

    def kernels(name: str) -> None:
        counted.calls += 1

    monkeypatch.setattr(compiled, "kernel", kernels)
    finder.find(np.eye(8, dtype=complex) + 1.0, 1)
    assert counted.calls == 1  # asked again for every frame
