"""The trainer on every loss, and the gradient that it follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calib.losses import LOSSES
from calib.methods.diffmusic import learn_diffmusic
from calib.model import Model, find_peaks
from calib.observations import subspaces
from calib.peaks import AngleGrid
from calib.registry import get_method
from calib.result import GaugeRequest
from calib.train import LOSS_NAMES, TrainSettings, _loss, train
from hil.core.errors import ConfigError, ShapeError
from tests.physics.array_scenes import FC_HZ, WAVELENGTH_M, circle, make_scene, uniform_line

SUPPORT = GaugeRequest("support", (-60.0, 60.0))


def _problem(seed: int, nominal, k: int = 1, blocks: int = 150):
    scene = make_scene(seed, nominal, k, blocks, limits_deg=(-60, 60) if nominal[0, 1] == 0 else (-150, 150))
    dims = 1 if scene.is_line else 2
    truth = Model(scene.gain, scene.positions_m[:, :dims] / WAVELENGTH_M).normalised()
    rng = np.random.default_rng(seed)
    start = Model(truth.g * np.exp(0.15j * rng.standard_normal(len(truth.g))), truth.r).normalised()
    return np.deg2rad(scene.angle_deg), subspaces(scene.covariance, 256, k), truth, start


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("on_grid", [True, False])
def test_every_loss_deepens_the_nulls(loss: str, on_grid: bool) -> None:
    theta, sub, _, start = _problem(31, uniform_line(6), 2)
    grid = AngleGrid(0.2, stride=4) if on_grid else None
    # kurtosis does not see how deep a null is, only its shape: it needs windows wider than the null
    n_points, width = (61, 0.4) if loss == "kurtosis" else (15, 0.1)
    plan = TrainSettings(loss, 60, 60, 0.02, width, n_points, lr_position=0.002, grid=grid, sharp=np.inf)
    out = train(start, sub, plan, theta_rad=theta, seed=1)

    def depth(model: Model) -> float:
        return float(np.median(find_peaks(model, sub, (-1.1, 1.1))[1]))

    assert out.steps == 60
    assert depth(out.model) < 0.5 * depth(start)


def test_planar_array_with_labels() -> None:
    theta, sub, _, start = _problem(32, circle(6))
    for loss in ("rmspe", "log-spectrum"):
        plan = TrainSettings(loss, 60, 60, 0.02, lr_position=0.002, grid=AngleGrid(0.5, 180.0, 2), n_points=9)
        out = train(start, sub, plan, theta_rad=theta)
        assert np.mean(out.history[-5:]) < np.mean(out.history[:5])


@pytest.mark.parametrize("loss", ["spectrum", "log-spectrum", "jain", "log-peak"])
def test_gradient_against_finite_differences(loss: str) -> None:
    theta, sub, _, start = _problem(33, uniform_line(5), 2, 12)
    plan = TrainSettings(loss, 1, 12, grid=AngleGrid(0.2, stride=1), n_points=9, sharp=np.inf)
    gain = torch.tensor(start.g * np.sqrt(5), dtype=torch.complex128, requires_grad=True)
    place = torch.tensor(start.r, dtype=torch.float64, requires_grad=True)

    def value(g, r) -> torch.Tensor:
        # windows as the trainer holds them during a step: from the start, without gradient
        return _loss(plan, start, g, r, sub, theta, 0)

    value(gain, place).backward()
    h = 1e-6
    for i in range(5):
        for part in (1.0, 1j):
            step = torch.zeros(5, dtype=torch.complex128)
            step[i] = part * h
            slope = float((value(gain + step, place) - value(gain - step, place)).detach()) / (2 * h)
            found = gain.grad[i].real if part == 1.0 else gain.grad[i].imag
            assert float(found) == pytest.approx(
                slope, rel=1e-3, abs=1e-6 * abs(float(gain.grad.abs().max()))
            )
        step_r = torch.zeros((5, 1), dtype=torch.float64)
        step_r[i] = h
        slope = float((value(gain, place + step_r) - value(gain, place - step_r)).detach()) / (2 * h)
        assert float(place.grad[i, 0]) == pytest.approx(
            slope, rel=1e-3, abs=1e-6 * float(place.grad.abs().max())
        )


def test_gradient_of_the_soft_angles_at_a_held_temperature() -> None:
    from calib.losses import rmspe
    from calib.manifold import null_depth, soft_angles, steering

    theta, sub, _, start = _problem(36, uniform_line(5), 2, 6)
    grid = torch.tensor(theta)[:, :, None] + torch.deg2rad(torch.linspace(-2, 2, 9, dtype=torch.float64))
    signal = torch.tensor(sub.signal)

    def depth(parts: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        a = steering(torch.view_as_complex(parts), place, torch.sin(grid).reshape(6, 18))
        return null_depth(signal, a).reshape(6, 2, 9)

    parts = torch.view_as_real(torch.tensor(start.g)).contiguous()
    place = torch.tensor(start.r)
    held = (1 / depth(parts, place)).amax(-1, keepdim=True)

    def loss(parts: torch.Tensor, place: torch.Tensor, largest: torch.Tensor | None = held) -> torch.Tensor:
        return rmspe(soft_angles(grid, depth(parts, place), 5.0, largest), torch.tensor(theta) + 0.004)

    inputs = (parts.requires_grad_(), place.requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    at_held = torch.autograd.grad(loss(*inputs), inputs)
    own = torch.autograd.grad(loss(*inputs, None), inputs)
    for one, other in zip(at_held, own, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_labelled_losses_need_labels_of_the_right_shape() -> None:
    theta, sub, _, start = _problem(34, uniform_line(5), 1, 20)
    with pytest.raises(ConfigError, match="true angles"):
        train(start, sub, TrainSettings("rmspe"))
    with pytest.raises(ShapeError, match="theta_rad"):
        train(start, sub, TrainSettings("spectrum"), theta_rad=theta[:5])
    scene = make_scene(34, uniform_line(5), 1, 40)
    with pytest.raises(ConfigError, match="without labels"):
        learn_diffmusic(
            scene.observations, scene.geometry, FC_HZ, 1, SUPPORT, settings=TrainSettings("rmspe")
        )


def test_the_caller_can_stop() -> None:
    _, sub, _, start = _problem(35, uniform_line(5), 1, 40)
    assert train(start, sub, TrainSettings(n_steps=50), on_step=lambda step, loss: step == 4).steps == 5


def test_published_loss_as_a_method() -> None:
    scene = make_scene(7181, uniform_line(6), n_blocks=250)
    result = get_method("diffmusic-jain")(scene.observations, scene.geometry, FC_HZ, 1, SUPPORT)
    assert result.converged, result.reason
    assert scene.compare(result).error < 1e-4
    assert "jain" in LOSSES
