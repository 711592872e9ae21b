"""DoA estimators against the sign convention, the Cramer-Rao bound and each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.errors import CalibrationMismatch, ShapeError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry, uca, ula
from hil.core.impairments import Impairments, ideal
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.covariance import forward_backward, sample_covariance, spatial_smoothing
from hil.dsp.doa import DoaFinder, assign_errors_deg, find_doas, music_spectrum
from hil.dsp.doa_accuracy import doa_crb_deg, doa_sigma_deg
from hil.dsp.root_music import root_music

FC_HZ = 2.45e9
WAVELENGTH_M = SPEED_OF_LIGHT_M_S / FC_HZ
LINE = ula(8, 0.5 * WAVELENGTH_M)
CIRCLE = uca(8, 0.6 * WAVELENGTH_M)
SCATTERED = ArrayGeometry(
    WAVELENGTH_M * np.array([[0, 0, 0], [0.4, 0.1, 0], [0.1, 0.5, 0.1], [-0.3, 0.4, 0], [-0.5, -0.2, 0.2], [0.2, -0.6, 0]])
)  # fmt: skip


def response(geometry: ArrayGeometry, azimuth_deg: float) -> NDArray[np.complex128]:
    """By hand: a wave that reaches elements further along the direction to the source earlier."""
    azimuth = np.deg2rad(azimuth_deg)
    path = geometry.positions_m @ np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    return np.exp(2j * np.pi * path / WAVELENGTH_M)


def noise(rng: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def snapshots(
    rng: np.random.Generator, columns: NDArray[np.complex128], snr_db: float, n: int
) -> NDArray[np.complex128]:
    m, k = columns.shape
    return columns @ noise(rng, k, n) + 10 ** (-snr_db / 20) * noise(rng, m, n)


def random_calibration(rng: np.random.Generator, geometry: ArrayGeometry, coupling_db: float) -> Calibration:
    m = geometry.n_elements
    coupling = np.eye(m) + 10 ** (coupling_db / 20) * (noise(rng, m, m) * (1 - np.eye(m)))
    error = np.zeros((m, 3))
    error[:, 0] = 0.1 * WAVELENGTH_M * rng.standard_normal(m)
    if geometry.kind != "line":
        error[:, 1] = 0.1 * WAVELENGTH_M * rng.standard_normal(m)
    blank = ideal(m)
    impairments = Impairments(
        (1 + 0.2 * rng.standard_normal(m)) * np.exp(2j * np.pi * rng.random(m)),
        coupling, error - error.mean(axis=0), blank.delay_s, blank.iq_image, blank.dc_offset,
    )  # fmt: skip
    return Calibration(
        geometry, impairments, unknown_sigma(m), Gauge(), FC_HZ, Validity(FC_HZ, FC_HZ), "oracle"
    )


@pytest.mark.parametrize("geometry", [LINE, CIRCLE, SCATTERED], ids=["line", "circle", "scattered"])
@pytest.mark.parametrize("method", ["music", "capon", "bartlett"])
def test_a_source_at_plus_30_is_found_at_plus_30(geometry: ArrayGeometry, method) -> None:
    x = snapshots(np.random.default_rng(1), response(geometry, 30.0)[:, None], 30.0, 1000)
    found = find_doas(sample_covariance(x), geometry, FC_HZ, 1, method=method)
    assert found == pytest.approx([30.0], abs=0.2)
    angles = np.arange(-90.0, 90.5, 0.5)
    p = music_spectrum(x, geometry.positions_m, FC_HZ, angles, 1)
    assert p.dtype == np.float64
    assert p.shape == angles.shape
    assert angles[np.argmax(p)] == 30.0


@pytest.mark.parametrize(("doas", "geometry"), [
    ((12.3456,), LINE), ((-71.2, 5.017), LINE), ((-80.0, 0.0), LINE), ((101.23, -140.77, 3.3), CIRCLE),
])  # fmt: skip
def test_refined_peaks_are_exact_without_noise(doas: tuple[float, ...], geometry: ArrayGeometry) -> None:
    a = np.stack([response(geometry, d) for d in doas], axis=1)
    r = a @ a.conj().T + 1e-2 * np.eye(8)
    found = find_doas(r, geometry, FC_HZ, len(doas))
    np.testing.assert_allclose(np.sort(found), np.sort(doas), atol=1e-5)
    coarse = find_doas(r, geometry, FC_HZ, len(doas), np.arange(-179.0, 181.0, 2.0))
    np.testing.assert_allclose(np.sort(coarse), np.sort(doas), atol=1e-4)


@pytest.mark.parametrize("azimuth", [180.0, 179.97, -179.93])
@pytest.mark.parametrize(
    "grid", [np.arange(-180.0, 180.0, 0.5), np.linspace(-180, 180, 361), np.arange(0.0, 360.0)]
)
def test_planar_peak_at_the_wrap_is_found_once(azimuth: float, grid: NDArray[np.float64]) -> None:
    a = response(CIRCLE, azimuth)[:, None]
    (found,) = find_doas(a @ a.conj().T + 0.01 * np.eye(8), CIRCLE, FC_HZ, 2, grid)[:1]
    assert abs(assign_errors_deg([found], [azimuth])[0]) < 1e-4
    assert -180 < found <= 180


def test_a_line_is_searched_on_its_own_half_only() -> None:
    a = response(LINE, 40.0)[:, None]
    found = find_doas(a @ a.conj().T + 0.01 * np.eye(8), LINE, FC_HZ, 1, np.arange(-180.0, 180.0))
    assert found == pytest.approx([40.0], abs=1e-4)


def test_peaks_come_highest_first_and_none_is_made_up() -> None:
    strong, weak = response(LINE, -20.0), response(LINE, 35.0)
    r = 10 * np.outer(strong, strong.conj()) + 0.1 * np.outer(weak, weak.conj()) + 0.05 * np.eye(8)
    assert find_doas(r, LINE, FC_HZ, 2, method="capon") == pytest.approx([-20.0, 35.0], abs=0.3)
    one = find_doas(r, LINE, FC_HZ, 2, np.arange(20.0, 50.0), method="capon")
    assert one == pytest.approx([35.0], abs=0.3)


@pytest.mark.parametrize(
    ("geometry", "doas"), [(LINE, (-17.0, 25.0)), (CIRCLE, (100.0, -60.0))], ids=["line", "circle"]
)
@pytest.mark.parametrize("estimator", ["music", "root"])
def test_music_reaches_the_bound(geometry: ArrayGeometry, doas: tuple[float, float], estimator: str) -> None:
    if estimator == "root" and geometry is not LINE:
        return
    rng = np.random.default_rng(5)
    a = np.stack([response(geometry, d) for d in doas], axis=1)
    finder = DoaFinder(geometry, FC_HZ)
    r = np.stack([sample_covariance(snapshots(rng, a, 20.0, 256)) for _ in range(600)])
    if estimator == "music":
        found = finder.find_many(r, 2)
    else:
        found = [root_music(one, geometry, FC_HZ, 2) for one in r]
    errors = np.array([assign_errors_deg(f, doas) for f in found])
    rmse = np.sqrt(np.mean(errors**2, axis=0))
    bound = doa_crb_deg(geometry, FC_HZ, doas, 20.0, 256)
    assert np.all(np.abs(errors.mean(axis=0)) < 4 * bound / np.sqrt(600))
    assert np.all((rmse / bound > 0.9) & (rmse / bound < 1.3)), rmse / bound
    sigma = np.array([doa_sigma_deg(one, geometry, FC_HZ, doas, 256) for one in r[:100]])
    np.testing.assert_allclose(sigma.mean(axis=0), rmse, rtol=0.15)


def test_bound_of_one_source_is_the_textbook_formula() -> None:
    """var = 6 / (N snr (1 + ..)) : unconditional, one source on a line (Stoica, Nehorai 1990)."""
    snr, n, m = 100.0, 500, 8
    u = np.pi * np.cos(np.deg2rad(20.0))
    expected = np.sqrt(6 / (n * snr * m * (m**2 - 1)) * (1 + 1 / (m * snr))) / u
    assert doa_crb_deg(LINE, FC_HZ, 20.0, 20.0, n)[0] == pytest.approx(np.rad2deg(expected), rel=1e-6)


@pytest.mark.parametrize("geometry", [LINE, CIRCLE], ids=["line", "circle"])
def test_calibrated_array_finds_what_the_nominal_one_misses(geometry: ArrayGeometry) -> None:
    rng = np.random.default_rng(11)
    calibration = random_calibration(rng, geometry, -15.0)
    moved = ArrayGeometry(calibration.positions_m)
    imp = calibration.impairments
    doas = (-31.0, 24.0)
    a = np.stack([imp.gain * (imp.coupling @ response(moved, d)) for d in doas], axis=1)
    x = snapshots(rng, a, 25.0, 4000)
    r = sample_covariance(x)
    found = np.sort(find_doas(r, calibration, None, 2))
    np.testing.assert_allclose(found, doas, atol=0.1)
    nominal = find_doas(r, geometry, FC_HZ, 2)
    assert np.max(np.abs(assign_errors_deg(nominal, doas)), initial=0 if len(nominal) == 2 else 99) > 1.0
    angles = np.arange(-60.0, 60.25, 0.25)
    for positions in (geometry.positions_m, calibration.positions_m, geometry.positions_m + 1.0):
        p = music_spectrum(x, positions, FC_HZ, angles, 2, calibration)
        assert np.min(np.abs(angles[np.argmax(p)] - doas)) <= 0.25
    assert p.max() > 20 * music_spectrum(x, geometry.positions_m, FC_HZ, angles, 2).max()
    with pytest.raises(CalibrationMismatch):
        music_spectrum(x, 1.1 * geometry.positions_m, FC_HZ, angles, 2, calibration)


def test_learned_table_limits_the_search_and_is_not_extrapolated() -> None:
    m, table = 8, np.arange(-40.0, 41.0)
    rng = np.random.default_rng(2)
    extra = np.exp(1j * np.outer(rng.standard_normal(m), np.deg2rad(table)))
    blank = ideal(m)
    imp = Impairments(
        blank.gain,
        blank.coupling,
        blank.position_error_m,
        blank.delay_s,
        blank.iq_image,
        blank.dc_offset,
        table,
        extra,
    )
    cal = Calibration(LINE, imp, unknown_sigma(m), Gauge(), FC_HZ, Validity(FC_HZ, FC_HZ), "oracle")
    a = response(LINE, 20.0) * extra[:, 60]
    r = np.outer(a, a.conj()) + 0.01 * np.eye(m)
    assert find_doas(r, cal, None, 1) == pytest.approx([20.0], abs=0.01)
    assert np.abs(find_doas(r, LINE, FC_HZ, 1)[0] - 20.0) > 1.0
    with pytest.raises(CalibrationMismatch):
        music_spectrum(np.ones((m, 9), complex), LINE.positions_m, FC_HZ, [-60.0, 60.0], 1, cal)


@pytest.mark.parametrize("m", [4, 8, 16])
def test_root_music_equals_the_music_peak(m: int) -> None:
    rng = np.random.default_rng(m)
    line = ula(m, 0.5 * WAVELENGTH_M)
    a = np.stack([response(line, d) for d in (-25.0, 30.0)], axis=1)
    r = sample_covariance(snapshots(rng, a, 30.0, 2000))
    np.testing.assert_allclose(
        np.sort(root_music(r, line, FC_HZ, 2)), np.sort(find_doas(r, line, FC_HZ, 2)), atol=2e-3
    )


def test_root_music_uses_gains_and_coupling_and_refuses_a_bent_line() -> None:
    rng = np.random.default_rng(3)
    cal = random_calibration(rng, LINE, -15.0)
    imp = cal.impairments
    straight = Impairments(imp.gain, imp.coupling, np.zeros((8, 3)), imp.delay_s, imp.iq_image, imp.dc_offset)
    cal_straight = Calibration(LINE, straight, cal.sigma, cal.gauge, FC_HZ, cal.valid, "oracle")
    a = imp.gain * (imp.coupling @ response(LINE, -12.5))
    r = np.outer(a, a.conj()) + 0.01 * np.eye(8)
    assert root_music(r, cal_straight, None, 1) == pytest.approx([-12.5], abs=1e-6)
    for bent in (cal, CIRCLE, ArrayGeometry(-LINE.positions_m)):
        with pytest.raises(ShapeError):
            root_music(r, bent, FC_HZ, 1)


def test_coherent_sources_are_separated_by_averaging_only() -> None:
    a = np.stack([response(LINE, d) for d in (-20.0, 15.0)], axis=1) @ np.array([1.0, np.exp(0.7j)])
    r = np.outer(a, a.conj()) + 1e-3 * np.eye(8)
    np.testing.assert_allclose(np.sort(find_doas(forward_backward(r), LINE, FC_HZ, 2)), (-20, 15), atol=1e-3)
    smooth = spatial_smoothing(r, 6)
    np.testing.assert_allclose(
        np.sort(find_doas(smooth, LINE.positions_m[:6], FC_HZ, 2)), (-20, 15), atol=1e-3
    )
    plain = find_doas(r, LINE, FC_HZ, 2)
    assert len(plain) < 2 or np.abs(np.sort(plain) - (-20, 15)).max() > 0.5


def test_many_blocks_give_what_one_by_one_gives() -> None:
    rng = np.random.default_rng(8)
    for m in (8, 16):  # both ways of finding the subspace
        line = ula(m, 0.5 * WAVELENGTH_M)
        a = np.stack([response(line, d) for d in (-20.0, 15.0)], axis=1)
        r = np.stack([sample_covariance(snapshots(rng, a, 0.0, 32)) for _ in range(20)])
        finder = DoaFinder(line, FC_HZ)
        for many, one in zip(finder.find_many(r, 2), r, strict=True):
            np.testing.assert_allclose(many, finder.find(one, 2), atol=1e-9)
        np.testing.assert_allclose(finder.spectrum(r, 2)[3], finder.spectrum(r[3], 2))


@pytest.mark.parametrize("bad", [
    lambda r: find_doas(r, LINE, FC_HZ, 8), lambda r: find_doas(r, LINE, FC_HZ, 0),
    lambda r: find_doas(r[:4, :4], LINE, FC_HZ, 1), lambda r: find_doas(r, LINE, None, 1),
    lambda r: find_doas(r, LINE, FC_HZ, 1, [0.0, 1.0]), lambda r: find_doas(r, LINE, FC_HZ, 1, [3.0, 1.0, 2.0]),
    lambda r: find_doas(r, LINE, FC_HZ, 1, method="esprit"), lambda r: root_music(r, LINE, FC_HZ, 8),
    lambda r: music_spectrum(r.real, LINE.positions_m, FC_HZ, [0.0], 1),
    lambda r: doa_crb_deg(LINE, FC_HZ, np.arange(8.0), 0.0, 10), lambda r: doa_sigma_deg(r, LINE, FC_HZ, [0.0], 0),
])  # fmt: skip
def test_wrong_input_is_refused(bad) -> None:
    with pytest.raises(ShapeError):
        bad(np.eye(8, dtype=complex))
