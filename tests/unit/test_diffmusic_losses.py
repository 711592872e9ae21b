"""Losses of differentiable MUSIC: values by hand, gradients by finite differences."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from calib.losses import LABELLED, LOSSES, assignment, rmspe, rmspe_deg
from hil.core.errors import ShapeError


def _flat_and_sharp(n: int = 11):
    flat = torch.full((2, 3, n), 0.3, dtype=torch.float64)
    sharp = torch.full((2, 3, n), 1.0, dtype=torch.float64)
    sharp[..., 4] = 1e-9
    return flat, sharp


@pytest.mark.parametrize(
    ("name", "of_flat", "of_sharp"),
    [
        ("jain", 1.0, 1 / 11),
        ("variation", 0.0, -1.0),
        ("gini", 1.0, 0.0),
        # one of L points: m4/m2^2 = L - 2 + 1/(L - 1), here per point
        ("kurtosis", 0.0, -(11 - 2 + 1 / 10) / 11),
        ("kl-uniform", 1.0, 0.0),
        ("log-peak", np.log(0.3), np.log(1e-9)),
    ],
)
def test_flat_and_sharp_windows(name: str, of_flat: float, of_sharp: float) -> None:
    flat, sharp = _flat_and_sharp()
    assert float(LOSSES[name](flat)) == pytest.approx(of_flat, abs=1e-6)
    assert float(LOSSES[name](sharp)) == pytest.approx(of_sharp, abs=1e-2 if name == "log-peak" else 1e-6)


def test_losses_by_hand() -> None:
    # P = 1, 2, 5: Jain 64/(3 30); CV^2 = 3 30/64 - 1; Gini: mean |differences| (1 + 4 + 3) 2 / 9 / (2 8/3)
    depth = torch.tensor([[1.0, 0.5, 0.2]], dtype=torch.float64)
    assert float(LOSSES["jain"](depth)) == pytest.approx(64 / 90)
    assert float(LOSSES["variation"](depth)) == pytest.approx(-np.sqrt(90 / 64 - 1) / np.sqrt(2))
    assert float(LOSSES["gini"](depth)) == pytest.approx(1 - (16 / 9) / (2 * 8 / 3) * 3 / 2)
    q = np.array([1, 2, 5]) / 8
    assert float(LOSSES["kl-uniform"](depth)) == pytest.approx(-np.sum(q * np.log(q)) / np.log(3))
    both = torch.tensor([[0.5, 0.25], [1.0, 0.1]], dtype=torch.float64)
    assert float(LABELLED["spectrum"](both)) == pytest.approx(-((2 + 4) + (1 + 10)) / 2)
    assert float(LABELLED["log-spectrum"](both)) == pytest.approx(np.mean(np.log([0.5, 0.25, 1.0, 0.1])))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_losses_do_not_depend_on_the_scale_of_the_spectrum(name: str) -> None:
    depth = torch.rand((4, 2, 9), dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.05
    shift = np.log(0.1) if name == "log-peak" else 0.0
    assert float(LOSSES[name](0.1 * depth)) == pytest.approx(float(LOSSES[name](depth)) + shift, rel=1e-6)


@pytest.mark.parametrize("name", [*sorted(LOSSES), *sorted(LABELLED)])
def test_gradients(name: str) -> None:
    depth = torch.rand((2, 2, 6), dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.05
    loss = (LOSSES | LABELLED)[name]
    assert torch.autograd.gradcheck(loss, (depth.requires_grad_(),))


def test_assignment_is_the_best_of_all_permutations() -> None:
    rng = np.random.default_rng(3)
    for k in (1, 2, 5, 6):
        theta, estimate = rng.uniform(-1.5, 1.5, (2, 20, k))
        got = rmspe_deg(estimate, theta)
        for b in range(20):
            error = [
                np.sqrt(np.mean(((theta[b] - estimate[b, list(p)] + np.pi / 2) % np.pi - np.pi / 2) ** 2))
                for p in permutations(range(k))
            ]
            assert got[b] == pytest.approx(np.rad2deg(min(error)))
        assert np.all(np.sort(assignment(estimate, theta), axis=1) == np.arange(k))


def test_rmspe_by_hand_wrap_and_gradient() -> None:
    theta = torch.tensor([[0.0, 1.0], [1.5, 0.0]], dtype=torch.float64)
    estimate = torch.tensor([[1.3, 0.4], [0.0, -1.5]], dtype=torch.float64, requires_grad=True)
    # block 1: errors 0.4 and 0.3; block 2: 1.5 and -1.5 are pi - 3 apart
    expected = (np.sqrt((0.16 + 0.09) / 2) + (np.pi - 3) / np.sqrt(2)) / 2
    assert float(rmspe(estimate, theta).detach()) == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: rmspe(x, theta), (estimate,))
    exact = theta.clone().requires_grad_()
    rmspe(exact, theta).backward()
    assert torch.isfinite(exact.grad).all()
    with pytest.raises(ShapeError):
        rmspe(estimate, theta[:, :1])
