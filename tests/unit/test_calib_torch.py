"""The torch manifold and its losses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from calib.model import Model, find_peaks
from calib.observations import subspaces
from calib.registry import get_method, method_names
from calib.train import TrainSettings, train
from hil.core.errors import ConfigError
from hil.core.steering import steering_vectors
from tests.physics.array_scenes import circle, make_scene, uniform_line


@pytest.mark.parametrize("nominal", [uniform_line(5), circle(6)])
def test_torch_manifold_has_the_sign_of_the_core(nominal) -> None:
    from calib.manifold import steering

    rng = np.random.default_rng(0)
    n, line = len(nominal), bool(np.ptp(nominal[:, 1]) == 0)
    gain = rng.standard_normal(n) + 1j * rng.standard_normal(n)
    azimuth = np.array([-0.9, 0.1, 1.2])
    r = nominal[:, :1] if line else nominal
    theta = torch.tensor(np.sin(azimuth) if line else azimuth)
    ours = steering(torch.tensor(gain), torch.tensor(np.ascontiguousarray(r)), theta).numpy()
    metres = np.column_stack((nominal, np.zeros(n))) * 299_792_458.0 / 1e9
    core = (gain[:, None] * steering_vectors(metres, 1e9, azimuth)).T / np.linalg.norm(gain)
    np.testing.assert_allclose(ours, core, atol=1e-12)


@pytest.mark.parametrize("loss", ["log-peak", "jain"])
def test_training_lowers_the_null_and_leaves_the_input_alone(loss: str) -> None:
    scene = make_scene(20, uniform_line(6), 1, 200)
    sub = subspaces(scene.covariance, 256, 1)
    truth = Model(scene.gain, scene.positions_m[:, :1] / (299_792_458.0 / 2.45e9)).normalised()
    rng = np.random.default_rng(0)
    start = Model(truth.g * np.exp(0.15j * rng.standard_normal(6)), truth.r).normalised()
    kept = start.g.copy()
    out = train(start, sub, TrainSettings(loss=loss, n_steps=60, lr=1e-2), seed=1)

    def depth(model: Model) -> float:
        return float(np.median(find_peaks(model, sub, (-1.1, 1.1))[1]))

    assert out.steps == 60
    assert depth(out.model) < 0.3 * depth(start)
    np.testing.assert_array_equal(start.g, kept)


def test_jain_index_is_bounded() -> None:
    from calib.losses import jain

    flat = torch.full((2, 1, 11), 0.3, dtype=torch.float64)
    sharp = torch.full((2, 1, 11), 1.0, dtype=torch.float64)
    sharp[..., 5] = 1e-9
    assert float(jain(flat)) == pytest.approx(1.0)
    assert float(jain(sharp)) == pytest.approx(1 / 11, rel=1e-3)


def test_methods_are_named_and_unknown_ones_refused() -> None:
    assert {"cold-start", "diffmusic"} <= set(method_names())
    for name in ("cold-start", "diffmusic"):
        assert callable(get_method(name))
    with pytest.raises(ConfigError, match="unknown method"):
        get_method("guess")
    sub = subspaces(make_scene(21, uniform_line(4), 1, 30).covariance, 256, 1)
    model = Model(np.ones(4, complex), np.zeros((4, 1)))
    with pytest.raises(ConfigError, match="loss"):
        train(model, sub, TrainSettings(loss="x"))


def test_learning_without_gradients_loads_no_torch() -> None:
    code = "import calib.learn, calib.verdict, calib.tracking.tracker, calib.train, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"
