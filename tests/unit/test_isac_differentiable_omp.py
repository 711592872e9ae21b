"""The differentiable receiver: the same targets as matching pursuit, gradients as by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.isac.beam import sector_beams
from calib.isac.differentiable_omp import DifferentiableOmp
from calib.isac.gospa import places_m
from calib.isac.grid import SearchGrid
from calib.isac.losses import log_error, max_map, places, range_of
from calib.isac.omp import omp
from calib.isac.steering import steering
from hil.core.errors import ConfigError
from tests.unit.isac_full_scene import SPACING_HZ, WINDOW_S, line, scene

GRID = SearchGrid(WINDOW_S)
CELL_RAD, CELL_S = np.pi / 719, (WINDOW_S[1] - WINDOW_S[0]) / 199


def receiver(data, grid=GRID, **options):
    return DifferentiableOmp(grid, data.basis, SPACING_HZ, **options)


def run(drawn, x, n_targets=1, grid=GRID, off_grid=True, **options):
    data, q = drawn.reduced(), torch.tensor(x)
    with torch.no_grad():
        return receiver(data, grid, **options)(
            torch.from_numpy(data.taps), steering(q, torch.from_numpy(grid.u)), torch.from_numpy(drawn.sector_u),
            n_targets=n_targets, x=q if off_grid else None,
        )  # fmt: skip


def random_scene(n_blocks, n_targets, x, seed, amplitude=0.3, low=-40, high=-20, **options):
    rng = np.random.default_rng(seed)
    phase = np.exp(2j * np.pi * rng.random((n_blocks, n_targets)))
    return scene(
        x, rng.uniform(low, high, (n_blocks, n_targets)), rng.uniform(12, 188, (n_blocks, n_targets)),
        amplitude * phase, seed=seed, **options,
    )  # fmt: skip


@pytest.mark.parametrize("off_grid", [True, False])
@pytest.mark.parametrize("sector_mask", [True, False])
def test_equals_omp_within_a_cell_at_high_snr(off_grid, sector_mask):
    x = line()
    drawn = random_scene(12, 1, x, 5, low=-38, high=-22)
    found = omp(drawn.reduced(), x, drawn.sector_u, n_targets=1)
    out = run(drawn, x, off_grid=off_grid, sector_mask=sector_mask)
    np.testing.assert_allclose(out.theta_rad[:, 0], found.theta_rad[:, 0], atol=CELL_RAD)
    np.testing.assert_allclose(out.delay_s[:, 0], found.delay_s[:, 0], atol=CELL_S)
    np.testing.assert_allclose(out.strength[:, 0], found.strength[:, 0], rtol=0.08)


def test_weighted_sum_is_finer_than_the_grid():
    x = line()
    drawn = random_scene(40, 1, x, 6, low=-37, high=-23)
    out = run(drawn, x)
    angle, delay = (
        out.theta_rad[:, 0].numpy() - drawn.theta_rad[:, 0],
        out.delay_s[:, 0].numpy() - drawn.delay_s[:, 0],
    )
    assert np.sqrt(np.mean(angle**2)) < 0.15 * CELL_RAD
    assert np.sqrt(np.mean(delay**2)) < 0.15 * CELL_S


def test_five_targets_are_resolved_and_off_grid_leaves_less():
    x = line()
    angles, ranges = np.array([[-37.6, -34.2, -30.1, -26.3, -22.6]]), np.array([[30.3, 55, 90.4, 130, 170]])
    drawn = scene(x, angles, ranges, np.array([[0.5, 0.45j, -0.4, -0.35j, 0.3]]))
    off, on = run(drawn, x, 6), run(drawn, x, 6, off_grid=False)
    for out in (off, on):
        order = np.argsort(out.delay_s[0, :5].numpy())
        np.testing.assert_allclose(np.rad2deg(out.theta_rad[0, order].numpy()), angles[0], atol=0.15)
        np.testing.assert_allclose(out.delay_s[0, order].numpy(), drawn.delay_s[0], atol=CELL_S)
    # what is left after all five: the ghosts of columns that lie beside the targets
    assert float(off.strength[0, 5]) < float(on.strength[0, 5])


def softmax_by_hand(drawn, x, beta, metric, mask):
    """Window, softmax and weighted sums over the full map of one block and all subcarriers."""
    theta, delay = GRID.theta_rad, GRID.delay_s
    a = np.exp(2j * np.pi * np.outer(x, np.sin(theta)))
    rho = np.exp(-2j * np.pi * SPACING_HZ * np.outer(np.arange(256), delay))
    power = np.abs(a.conj().T @ drawn.y[0] @ rho.conj()) ** 2
    allowed = np.ones(720, bool)
    if mask:
        u = np.sin(theta)
        allowed = (u >= drawn.sector_u[0, 0]) & (u <= drawn.sector_u[0, 1])
    power[~allowed] = 0
    i, j = np.unravel_index(np.argmax(power), power.shape)
    rows = [r for r in range(i - 7, i + 8) if 0 <= r < 720 and allowed[r]]
    cols = [c for c in range(j - 5, j + 6) if 0 <= c < 200]
    window = power[np.ix_(rows, cols)] / power.max()
    if metric == "amplitude":
        window = np.sqrt(window)
    weight = np.exp(beta * (window - 1))
    weight /= weight.sum()
    return weight.sum(axis=1) @ theta[rows], weight.sum(axis=0) @ delay[cols]


@pytest.mark.parametrize(
    ("angle", "distance", "metric", "mask"),
    [(-30.1, 80.0, "power", True), (-30.1, 80.0, "amplitude", True), (-39.8, 10.4, "power", True),
     (-20.1, 189.8, "power", False), (-20.1, 189.8, "power", True)],
)  # fmt: skip
def test_window_and_softmax_of_the_full_map(angle, distance, metric, mask):
    x = line()
    drawn = scene(x, np.array([[angle]]), np.array([[distance]]), np.array([[0.2 + 0.1j]]))
    out = run(drawn, x, metric=metric, sector_mask=mask)
    theta, delay = softmax_by_hand(drawn, x, 20.0, metric, mask)
    assert float(out.theta_rad[0, 0]) == pytest.approx(theta, abs=1e-3 * CELL_RAD)
    assert float(out.delay_s[0, 0]) == pytest.approx(delay, abs=1e-3 * CELL_S)


def test_a_stronger_target_outside_the_sector_counts_only_without_the_mask():
    x = line()
    drawn = scene(x, np.array([[-30.0, 25.0]]), np.array([[60.0, 120.0]]), np.array([[0.3, 0.6]]))
    inside, outside = run(drawn, x), run(drawn, x, sector_mask=False)
    assert np.rad2deg(float(inside.theta_rad[0, 0])) == pytest.approx(-30, abs=0.2)
    assert np.rad2deg(float(outside.theta_rad[0, 0])) == pytest.approx(25, abs=0.2)


def test_blocks_with_different_sectors_equal_single_runs():
    x = line(n_elements=32)
    drawn = [scene(x, np.array([[mid]]), np.array([[70.0]]), np.array([[0.4]]), sector_deg=(mid - w, mid + w), seed=b)
             for b, (mid, w) in enumerate([(-50.0, 5.0), (12.0, 10.0), (60.0, 8.0)])]  # fmt: skip
    data = [d.reduced() for d in drawn]
    dictionary = steering(torch.tensor(x), torch.from_numpy(GRID.u))
    taps = torch.from_numpy(np.concatenate([d.taps for d in data]))
    sectors = torch.from_numpy(np.concatenate([d.sector_u for d in drawn]))
    together = receiver(data[0])(taps, dictionary, sectors, n_targets=2)
    for b in range(3):
        alone = receiver(data[0])(taps[b : b + 1], dictionary, sectors[b : b + 1], n_targets=2)
        np.testing.assert_allclose(alone.theta_rad[0], together.theta_rad[b], rtol=1e-5)
        np.testing.assert_allclose(alone.strength[0], together.strength[b], rtol=1e-4)


@pytest.mark.parametrize("loss", ["labels", "max-map"])
def test_gradient_in_the_positions_matches_finite_differences(loss):
    x = line()
    drawn = random_scene(16, 2, x, 8)
    data, u = drawn.reduced(), torch.from_numpy(GRID.u)
    rec = receiver(data)
    truth = torch.from_numpy(places_m(drawn.theta_rad, drawn.delay_s))
    # away from the truth, where the gradient does not vanish
    start = torch.tensor(x + 0.02 * np.random.default_rng(1).standard_normal(64))

    def value(q):
        # two targets would make the second map jump with the first estimate; the gradient leaves that out
        out = rec(torch.from_numpy(data.taps), steering(q, u), torch.from_numpy(drawn.sector_u), x=q)
        if loss == "max-map":
            return max_map(out.strength)
        return log_error(truth[:, :1], places(out.theta_rad, range_of(out.delay_s)))

    q = start.clone().requires_grad_()
    value(q).backward()
    assert q.grad is not None
    way = q.grad / q.grad.norm()
    numeric = (value(start + 2e-4 * way) - value(start - 2e-4 * way)) / 4e-4
    assert float(q.grad @ way) == pytest.approx(float(numeric), rel=0.02)


def test_end_to_end_gradient_through_the_beam_matches_finite_differences():
    x, u = line(n_elements=32), torch.from_numpy(GRID.u)
    drawn = random_scene(8, 1, x, 4, amplitude=0.0)
    data, sector = drawn.reduced(), torch.from_numpy(drawn.sector_u)
    true = steering(torch.tensor(x), torch.sin(torch.from_numpy(drawn.theta_rad[:, 0]))).T
    ranges = torch.from_numpy(data.filters(drawn.delay_s[:, 0]).T.conj())
    noise, rec = torch.from_numpy(data.taps), receiver(data)
    start = torch.tensor(x + 0.03 * np.random.default_rng(7).standard_normal(32))

    def value(q):
        dictionary = steering(q, u)
        gain = 0.2 * (true * sector_beams(dictionary, u, sector)).sum(dim=1)
        echo = ((gain[:, None] * true)[:, :, None] * ranges[:, None, :]).to(torch.complex64)
        return max_map(rec(noise + echo, dictionary, sector, x=q).strength)

    q = start.clone().requires_grad_()
    value(q).backward()
    assert q.grad is not None
    way = q.grad / q.grad.norm()
    numeric = (value(start + 2e-4 * way) - value(start - 2e-4 * way)) / 4e-4
    assert float(q.grad @ way) == pytest.approx(float(numeric), rel=0.01)


def test_gradient_reaches_the_data_and_the_columns_of_the_sector():
    x = line(n_elements=32)
    drawn = random_scene(4, 2, x, 9)
    data = drawn.reduced()
    taps = torch.from_numpy(data.taps).requires_grad_()
    dictionary = steering(torch.tensor(x), torch.from_numpy(GRID.u)).requires_grad_()
    out = receiver(data)(taps, dictionary, torch.from_numpy(drawn.sector_u), n_targets=2)
    assert not out.gain.requires_grad
    max_map(out.strength).backward()
    assert taps.grad is not None
    assert dictionary.grad is not None
    # the loss is -mean log |.|^2 of degree 2 in the data: Euler's relation, exact for the first target
    one = torch.from_numpy(data.taps).requires_grad_()
    max_map(receiver(data)(one, dictionary.detach(), torch.from_numpy(drawn.sector_u)).strength).backward()
    assert one.grad is not None
    assert float((one.grad.conj() * one).sum().real.detach()) == pytest.approx(-2.0, rel=1e-4)
    first, last = GRID.rows(drawn.sector_u)
    used = dictionary.grad.abs().sum(dim=0).numpy() > 0
    assert used.any()
    assert not used[: first[0]].any()
    assert not used[last[0] + 1 :].any()


def test_small_dictionary_and_wrong_metric():
    x, grid = line(n_elements=32), SearchGrid(WINDOW_S, 156, 100)
    drawn = random_scene(6, 1, x, 3, low=-38, high=-22)
    out = run(drawn, x, grid=grid)
    np.testing.assert_allclose(out.theta_rad[:, 0], drawn.theta_rad[:, 0], atol=np.pi / 155)
    with pytest.raises(ConfigError, match="power, amplitude"):
        receiver(drawn.reduced(), metric="log")
