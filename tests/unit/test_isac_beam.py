"""Steering, array models, grid and beams of the ISAC array against numpy written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.isac.beam import beams_of, isac_beams, sector_beams
from calib.isac.grid import SearchGrid
from calib.isac.spacings import nominal, positions
from calib.isac.steering import steering
from hil.core.errors import ConfigError
from tests.unit.isac_full_scene import SPACING_HZ, WINDOW_S, line

GRID = SearchGrid(WINDOW_S)
SECTORS = np.sin(np.deg2rad([[-40.0, -20.0], [30.0, 50.0], [-5.0, 12.0]]))


def in_sector_gain(x_true, f, sector_deg=(-40, -20)):
    u = np.sin(np.deg2rad(np.linspace(sector_deg[0], sector_deg[1], 201)))
    return float(np.mean(np.abs(np.exp(2j * np.pi * np.outer(u, x_true)) @ f) ** 2))


def test_steering_has_the_positive_sign():
    x, u = np.array([-1.0, 0.0, 0.25]), np.array([-0.3, 0.8])
    a = steering(torch.tensor(x), torch.tensor(u)).numpy()
    np.testing.assert_allclose(a, np.exp(2j * np.pi * np.outer(x, u)), atol=1e-14)


@pytest.mark.parametrize("model", ["mult", "cum"])
def test_array_models(model):
    d = 0.5 + 0.04 * np.random.default_rng(1).standard_normal(9)
    x = positions(model, d)
    want = [(k - 4) * d[k] if model == "mult" else -2.0 + sum(d[1 : k + 1]) for k in range(9)]
    np.testing.assert_allclose(x, want, atol=1e-14)
    np.testing.assert_allclose(positions(model, torch.tensor(d)).numpy(), x, atol=1e-14)
    np.testing.assert_allclose(positions(model, nominal(9)), (np.arange(9) - 4) / 2, atol=1e-14)


def test_unknown_array_model_is_refused():
    with pytest.raises(ConfigError, match="mult, cum"):
        positions("sum", nominal(4))  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_window_of_the_paper_is_15_by_11_cells():
    assert GRID.reach(64, 256, SPACING_HZ) == (7, 5)
    assert SearchGrid(WINDOW_S, 156).reach(64, 256, SPACING_HZ) == (1, 5)


def test_rows_of_sectors():
    theta = np.rad2deg(GRID.theta_rad)
    first, last = GRID.rows(np.vstack((SECTORS, [[0.1000, 0.1001], [-1.0, 1.0]])))
    for b, (low, high) in enumerate([(-40, -20), (30, 50), (-5, 12)]):
        inside = np.flatnonzero((theta >= low) & (theta <= high))
        assert (first[b], last[b]) == (inside[0], inside[-1])
    assert first[3] == last[3] == np.argmin(np.abs(GRID.u - 0.10005))
    assert (first[4], last[4]) == (0, 719)


def test_empty_grid_is_refused():
    with pytest.raises(ConfigError, match="search grid"):
        SearchGrid((1e-6, 1e-6))


@pytest.mark.parametrize("model", ["mult", "cum"])
def test_beams_solve_the_loaded_least_squares(model):
    x, ridge = line(model, n_elements=16), 0.05
    a = np.exp(2j * np.pi * np.outer(x, GRID.u))
    got = beams_of(x, SECTORS, ridge)
    for f, (low, high) in zip(got, SECTORS, strict=True):
        b = 16.0 * ((low <= GRID.u) & (high >= GRID.u))
        loaded = np.vstack((a.T, np.sqrt(ridge * 720) * np.eye(16)))
        want = np.linalg.lstsq(loaded, np.concatenate((b, np.zeros(16))), rcond=None)[0]
        np.testing.assert_allclose(f, want / np.linalg.norm(want), atol=1e-9)


def test_repeated_sectors_keep_their_order():
    order = np.array([2, 0, 2, 1, 0])
    np.testing.assert_array_equal(beams_of(line(), SECTORS[order]), beams_of(line(), SECTORS)[order])


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_ridge_keeps_the_gain_of_a_scrambled_array(seed):
    x = line("mult", seed)
    plain, loaded = (in_sector_gain(x, beams_of(x, SECTORS[:1], ridge)[0]) for ridge in (1e-12, 0.05))
    assert plain < 0.5
    assert loaded > 5.0


def test_beam_of_a_sector_between_two_grid_points():
    x = line()
    f = beams_of(x, np.array([[0.1000, 0.1001]]))[0]
    assert np.linalg.norm(f) == pytest.approx(1)
    assert np.abs(np.exp(2j * np.pi * x * 0.1) @ f) ** 2 > 40


def test_beam_gradient_matches_finite_differences():
    u, sector = torch.from_numpy(GRID.u), torch.from_numpy(SECTORS)
    x0, way = (
        torch.tensor(line("cum", n_elements=12)),
        torch.tensor(np.random.default_rng(2).standard_normal(12)),
    )
    probe = torch.tensor(np.exp(2j * np.pi * np.outer(np.sin(np.deg2rad([-30, 40, 3])), line(n_elements=12))))

    def value(x):
        return ((probe * sector_beams(steering(x, u), u, sector)).sum(dim=1).abs() ** 2).sum()

    x = x0.clone().requires_grad_()
    value(x).backward()
    assert x.grad is not None
    numeric = (value(x0 + 1e-5 * way) - value(x0 - 1e-5 * way)) / 2e-5
    assert float(x.grad @ way) == pytest.approx(float(numeric), rel=1e-6)


def test_isac_beam_mixes_by_eta_and_phi():
    f = torch.from_numpy(beams_of(line(), SECTORS))
    r, c = f[:1], f[1:2]
    np.testing.assert_allclose(isac_beams(r, c, 1.0, 2.0), r, atol=1e-12)
    np.testing.assert_allclose(isac_beams(r, c, 0.0, 2.0), np.exp(2j) * c, atol=1e-12)
    want = np.sqrt(0.3) * r.numpy() + np.sqrt(0.7) * np.exp(0.5j) * c.numpy()
    got = isac_beams(r.expand(4, -1), c, 0.3, 0.5, power=4.0).numpy()
    np.testing.assert_allclose(got, np.tile(2 * want / np.linalg.norm(want), (4, 1)), atol=1e-12)
    with pytest.raises(ConfigError, match="eta"):
        isac_beams(r, c, 1.2)
