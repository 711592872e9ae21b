"""Parts of gain-phase learning against independent calculations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calib.gpi.delay import Reduced, delay_basis, reduce
from calib.gpi.detect import angle_delay_maps, angle_grid, decide, operating_points
from calib.gpi.fit import independent_share
from calib.gpi.losses import block_energy, loss_value
from calib.gpi.noise import fading, mean_signal_power, noise_levels, whitened
from calib.gpi.ramp import beam_cuts, edge_posterior, line_search, shifted
from calib.gpi.search import Peaks, PeakSearch
from calib.gpi.threshold import detection_threshold, empirical_threshold, false_alarm_rate
from hil.core.errors import NotIdentifiable
from tests.physics.gpi_scenes import SPACING_HZ, WINDOW_S, echoes


def _problem(seed: int = 1, **kwargs):
    e = echoes(seed, **kwargs)
    data, factor = whitened(reduce(e.csi))
    return e, data, factor, np.sin(np.deg2rad(np.asarray(e.csi.sector_deg)))


def test_delay_subspace_gives_the_same_map_as_all_subcarriers() -> None:
    e = echoes(0, blocks=5)
    data = reduce(e.csi, 1e-8)
    theta, delays = angle_grid(np.asarray(e.csi.sector_deg), 7), np.linspace(*WINDOW_S, 9)
    kappa = np.exp(1j * np.arange(8.0))
    got = angle_delay_maps(data, kappa[None], e.x, theta, delays)[0]
    csi = e.csi.csi
    want = np.empty_like(got)
    for b in range(5):
        for i, angle in enumerate(theta[b]):
            a = kappa * np.exp(2j * np.pi * e.x * np.sin(angle))
            for j, tau in enumerate(delays):
                filt = np.exp(-2j * np.pi * SPACING_HZ * np.arange(48) * tau)
                want[b, i, j] = abs(a.conj() @ csi[b] @ filt.conj()) ** 2
    np.testing.assert_allclose(got / got.max(), want / want.max(), atol=1e-5)
    assert theta[0, 0] == np.deg2rad(np.asarray(e.csi.sector_deg)[0, 0])
    assert theta[0, -1] == np.deg2rad(np.asarray(e.csi.sector_deg)[0, 1])


def test_subspace_and_rest_hold_all_energy() -> None:
    e = echoes(0, blocks=5)
    data = reduce(e.csi)
    assert data.rank < 16
    total = np.sum(np.abs(e.csi.csi) ** 2, axis=2)
    inside = np.sum(np.abs(data.taps) ** 2, axis=2)
    ratio = (inside + data.outside) / total
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    basis = delay_basis(48, SPACING_HZ, WINDOW_S)
    np.testing.assert_allclose(basis.conj().T @ basis, np.eye(basis.shape[1]), atol=1e-12)


def test_search_finds_the_maximum_of_a_dense_map() -> None:
    e, data, _, sector_u = _problem(blocks=60)
    kappa = e.gain / np.linalg.norm(e.gain) * np.sqrt(8)
    peaks = PeakSearch(data, e.x, sector_u)(kappa)
    answer = decide(data, kappa[None], e.x, np.asarray(e.csi.sector_deg), 200, 200)
    close = peaks.statistic / answer.statistic[0]
    # between grid points the search may be higher, in noise it may settle on another cell
    assert np.quantile(close, 0.1) > 0.97
    assert np.all(close < 1.1)
    strong = e.present & (peaks.statistic > 30)
    assert np.count_nonzero(strong) > 15
    assert np.median(np.abs(peaks.u - e.u)[strong]) < 0.01


def test_envelope_theorem_gradient_through_z_is_the_full_gradient() -> None:
    e, data, _, sector_u = _problem(blocks=12)
    search = PeakSearch(data, e.x, sector_u)
    kappa = np.exp(0.2j * np.arange(8))
    index = np.arange(12)
    energy = torch.from_numpy(block_energy(search, index))
    for loss in ("max-map", "reconstruction"):
        values = torch.tensor(np.stack((kappa.real, kappa.imag)), requires_grad=True)
        z = torch.from_numpy(search(kappa, index).z.astype(np.complex128))
        loss_value(loss, torch.complex(values[0], values[1]), z, 48, energy, 100.0).backward()
        assert values.grad is not None
        analytic = values.grad.numpy()[:, 3]
        numeric = []
        for step in (1e-3, 1e-3j):
            both = []
            for sign in (1, -1):
                moved = kappa.copy()
                moved[3] += sign * step
                # the arg max moves along: this is the whole function
                again = torch.from_numpy(search(moved, index).z.astype(np.complex128))
                both.append(float(loss_value(loss, torch.from_numpy(moved), again, 48, energy, 100.0)))
            numeric.append((both[0] - both[1]) / 2e-3)
        np.testing.assert_allclose(analytic, numeric, rtol=0.02, atol=2e-3 * np.abs(analytic).max())


def test_reconstruction_loss_is_the_norm_of_the_difference() -> None:
    e = echoes(4, blocks=3)
    data = reduce(e.csi, 1e-9)
    scale = float(np.abs(data.taps[0, 0, 0] / (e.csi.csi @ data.basis.conj())[0, 0, 0]))
    search = PeakSearch(data, e.x, np.sin(np.deg2rad(np.asarray(e.csi.sector_deg))))
    kappa = np.exp(0.1j * np.arange(8))
    peaks = search(kappa)
    snr = 50.0
    got = loss_value("reconstruction", torch.from_numpy(kappa), torch.from_numpy(peaks.z.astype(np.complex128)),
                     48, torch.from_numpy(block_energy(search, np.arange(3))), snr)  # fmt: skip
    norms = []
    for b in range(3):
        a = kappa * np.exp(2j * np.pi * e.x * peaks.u[b])
        filt = np.exp(-2j * np.pi * SPACING_HZ * np.arange(48) * peaks.delay_s[b])
        y = e.csi.csi[b] * scale
        ghat = (a.conj() @ y @ filt.conj()) / (8 * 48 * (1 + 1 / snr))
        norms.append(np.linalg.norm(y - ghat * np.outer(a, filt)))
    assert float(got) == pytest.approx(np.mean(norms) / np.sqrt(8 * 48), rel=1e-4)


@pytest.mark.parametrize("n", [8, 24])
def test_threshold_formula_agrees_with_simulated_noise(n: int) -> None:
    x = np.arange(n) / 2
    rng = np.random.default_rng(n)
    middle, span = rng.uniform(-50, 50, 6000), rng.uniform(12, 24, 6000)
    sector_u = np.sin(np.deg2rad(np.stack((middle - span / 2, middle + span / 2), axis=1)))
    basis = delay_basis(48, SPACING_HZ, WINDOW_S)
    taps = (rng.standard_normal((6000, n, basis.shape[1], 2)) @ [1, 1j]) * np.sqrt(0.5)
    data = Reduced(taps.astype(np.complex64), np.zeros((6000, n)), basis, SPACING_HZ, WINDOW_S)
    maxima = PeakSearch(data, x, sector_u)(np.ones(n, complex)).statistic
    for rate in (0.1, 0.01):
        eta = detection_threshold(rate, x, sector_u, 48, SPACING_HZ, WINDOW_S)
        assert false_alarm_rate(eta, x, sector_u, 48, SPACING_HZ, WINDOW_S) == pytest.approx(rate, rel=1e-6)
        # the grid between whose points angles are refined leaves some per cent of the field's maxima unseen
        assert np.mean(maxima > eta) == pytest.approx(rate, rel=0.12, abs=4 * np.sqrt(rate / 6000))
        assert empirical_threshold(maxima, rate) == pytest.approx(eta, abs=0.5)


def test_noise_and_fading_are_found_from_the_data() -> None:
    noise = np.array([1, 2, 1, 0.5, 1, 1, 3, 1.0])
    e = echoes(2, blocks=3000, noise=noise, snr_db=18, share=0.4)
    found = noise_levels(reduce(e.csi))
    np.testing.assert_allclose(found / found.mean(), noise / noise.mean(), rtol=0.03)
    e, data, _, sector_u = _problem(3, blocks=4000, snr_db=18, share=0.4)
    search = PeakSearch(data, e.x, sector_u)
    kappa = e.gain * np.sqrt(8) / np.linalg.norm(e.gain)
    eta = detection_threshold(3e-3, e.x, sector_u, 48, SPACING_HZ, WINDOW_S)
    state = fading(search(kappa).statistic, eta, 3e-3)
    assert 10 * np.log10(state.snr) == pytest.approx(18, abs=0.5)
    assert state.present == pytest.approx(0.4, abs=0.03)
    assert mean_signal_power(data) == pytest.approx(0.4 * 10**1.8, rel=0.1)


def test_an_element_that_hears_nothing_is_named() -> None:
    csi = np.array(echoes(2, blocks=300).csi.csi)
    csi[:, 3] = 0
    with pytest.raises(NotIdentifiable, match="element 3 hears nothing") as refusal:
        whitened(reduce(replace(echoes(2, blocks=300).csi, csi=csi)))
    assert "cable" in refusal.value.hint


def test_noise_without_anything_outside_the_window() -> None:
    rng = np.random.default_rng(0)
    basis = np.eye(16, dtype=complex)
    taps = (rng.standard_normal((400, 4, 16, 2)) @ [1, 1j]).astype(np.complex64)
    data = Reduced(taps, np.zeros((400, 4)), basis, SPACING_HZ, (0.0, 15 / (16 * SPACING_HZ)))
    np.testing.assert_allclose(noise_levels(data), 2.0, rtol=0.05)


def test_ramp_from_the_edges_has_the_stated_sigma() -> None:
    pulls, lines = [], []
    for seed in range(12):
        e, data, _, sector_u = _problem(100 + seed, n=16, blocks=600, snr_db=20)
        kappa = e.gain * np.sqrt(16) / np.linalg.norm(e.gain)
        moved = shifted(kappa, e.x, 0.012)
        wide = PeakSearch(data, e.x, np.clip(sector_u + np.array([-0.04, 0.04]), -1, 1))
        peaks = wide(moved)
        used = peaks.statistic > 14
        cuts = beam_cuts(moved, e.x, peaks.select(used), 48)
        posterior = edge_posterior(cuts, sector_u[used], 100.0, 0.04)
        pulls.append((posterior.delta - 0.012) / posterior.sigma)
        lines.append(line_search(cuts, sector_u[used], 0.04).delta)
        assert posterior.sigma < 0.003
        assert posterior.rise > 0.5
    assert 0.4 < np.sqrt(np.mean(np.square(pulls))) < 1.7
    assert np.median(np.abs(np.array(lines) - 0.012)) < 0.006


def test_line_search_leaves_the_right_array_alone_within_its_error() -> None:
    e, data, _, sector_u = _problem(7, n=16, blocks=600)
    kappa = e.gain * np.sqrt(16) / np.linalg.norm(e.gain)
    peaks = PeakSearch(data, e.x, np.clip(sector_u + np.array([-0.02, 0.02]), -1, 1))(kappa)
    found = line_search(beam_cuts(kappa, e.x, peaks, 48), sector_u, 0.02)
    assert found.delta == 0 or found.rise > found.sigma
    assert abs(found.delta) < 0.008
    assert len(found.trial) == 32


def test_a_standing_source_is_one_angle() -> None:
    sector = np.tile([-0.5, 0.5], (400, 1))
    rng = np.random.default_rng(0)
    still = 0.3 + 0.01 * rng.standard_normal(400)
    assert independent_share(still, sector) < 0.01
    assert independent_share(rng.uniform(-0.5, 0.5, 400), sector) == pytest.approx(1, abs=0.15)
    held = np.repeat(rng.uniform(-0.5, 0.5, 40), 10)
    assert 0.03 < independent_share(held, sector) < 0.25


def test_operating_points_by_hand() -> None:
    noise = np.arange(100.0)
    point = operating_points(
        noise, np.array([50.0, 97, 98.5, 200]), np.array([9.0, 9, 1, 3]), np.array([0.02])
    )[0]
    assert point.threshold == pytest.approx(97.02)
    assert point.detection == 0.5
    assert point.position_rmse_m == pytest.approx(np.sqrt(5))
    assert point.position_median_m == 2.0


def test_peaks_can_be_chosen() -> None:
    peaks = Peaks(np.arange(3.0), np.arange(3.0), np.ones((3, 4), np.complex64), np.arange(3.0))
    assert len(peaks.select(np.array([True, False, True]))) == 2
