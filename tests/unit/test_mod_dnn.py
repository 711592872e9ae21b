"""Parts of MoD-DNN against independent calculations, and a small network that learns to mend what MUSIC cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn import scg
from calib.methods.mod_dnn.autoencoder import MultiTaskAutoencoder, responses
from calib.methods.mod_dnn.coarray import coarray
from calib.methods.mod_dnn.labels import annealed_sigma, gaussian_peak, label, read_out
from calib.methods.mod_dnn.network import MoDDNN, Shape, shape_of
from calib.methods.mod_dnn.regions import Regions
from calib.methods.mod_dnn.tones import covariances, normalised, pick_tones
from calib.methods.mod_dnn.train import TrainPlan, train
from hil.core.errors import ConfigError, ShapeError

X = np.arange(4) / 2


def steering(angle_deg: NDArray[np.float64], x: NDArray[np.float64] = X) -> NDArray[np.complex128]:
    """(M, ...)."""
    u = np.sin(np.deg2rad(np.asarray(angle_deg)))
    return np.exp(2j * np.pi * x.reshape(-1, *[1] * u.ndim) * u)


def manifold(grid_deg: NDArray[np.float64], x: NDArray[np.float64] = X) -> NDArray[np.complex128]:
    """(P, M, L) of grids (P, L)."""
    return np.moveaxis(steering(grid_deg, x), 0, 1)


@pytest.mark.parametrize("x", [X, np.array([0.0, 0.47, 1.1, 1.49])], ids=["even", "uneven"])
def test_the_short_form_is_the_coarray_spectrum(x: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    grid = Regions().grid_deg
    a = manifold(grid, x)
    short = coarray(a)
    assert (
        short.rank == 7 if x is X else 9 <= short.rank <= 13
    )  # over this field some are as good as dependent
    h = rng.standard_normal((5, 16, 4)) + 1j * rng.standard_normal((5, 16, 4))
    r = covariances(h)
    slow = np.einsum("pml,bmn,pnl->bpl", a.conj(), r, a).real / 16
    assert np.allclose(short.spectra(r), slow, atol=1e-6)
    big = np.abs(a[1].conj().T @ a[1]) ** 2 / 16
    assert np.allclose(short.factor[1].T @ short.factor[1], big, atol=1e-6)
    one = covariances(steering(np.array([grid[1, 60]]), x).T[:, None])
    assert short.spectra(one)[0, 1].max() == pytest.approx(1.0)


def test_the_reconstruction_layer_solves_and_the_printed_one_does_not() -> None:
    a = manifold(Regions().grid_deg)
    factor = torch.as_tensor(coarray(a).factor[1])
    right = torch.as_tensor(np.random.default_rng(1).standard_normal((3, factor.shape[1])))
    big = (factor.T @ factor).numpy() + 0.1 * np.eye(factor.shape[1])
    exact = np.linalg.solve(big, right.numpy().T).T
    assert np.allclose(scg.solve(right, factor).numpy(), exact, atol=1e-9)
    assert np.allclose(scg.sparse_conjugate_gradient(right, factor, n_steps=10).numpy(), exact, atol=1e-8)
    bound = scg.sparse_conjugate_gradient(right, factor, n_steps=50, tolerance=1e-6).numpy()
    assert np.allclose(bound, exact, atol=1e-4)
    printed = scg.literal(right, factor, n_steps=30).numpy()
    assert not np.abs(printed @ big - right.numpy()).max() < np.abs(right.numpy()).max()


def test_the_gradient_passes_through_the_exact_layer() -> None:
    factor = torch.as_tensor(coarray(manifold(Regions().grid_deg[:1, ::8])).factor)
    right = torch.randn(1, factor.shape[-1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda b: scg.solve(b, factor), (right,))


@pytest.mark.parametrize("angle", [-45.0, -15.0, 15.0, 45.0])
def test_the_sharp_spectrum_is_narrow_and_in_place(angle: float) -> None:
    grid = np.linspace(-60, 60, 1201)
    short = coarray(manifold(grid[None]))
    seen = torch.as_tensor(short.spectra(covariances(steering(np.array([angle])).T[:, None]))[0, 0])
    sharp = scg.sharp_spectrum(seen, torch.as_tensor(short.factor[0])).numpy()
    above = grid[sharp > sharp.max() / 2]
    assert above[-1] - above[0] <= 1.3 * 0.7 / np.cos(np.deg2rad(angle)) ** 2
    assert grid[sharp.argmax()] == pytest.approx(angle, abs=0.11)


def test_samples_lose_what_no_direction_depends_on() -> None:
    rng = np.random.default_rng(2)
    h = rng.standard_normal((3, 16, 4)) + 1j * rng.standard_normal((3, 16, 4))
    turn = np.exp(2j * np.pi * rng.random((3, 16, 1)))
    assert np.allclose(normalised(h), normalised(7e-3 * h * turn), atol=1e-6)
    assert np.mean(np.abs(normalised(h)) ** 2) == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(ShapeError, match="block 1"):
        normalised(h * np.array([1.0, 0.0, 1.0])[:, None, None])
    assert pick_tones(3264)[[0, 1, 15]].tolist() == [102, 306, 3162]
    with pytest.raises(ShapeError, match="fewer"):
        pick_tones(12)


def test_regions_labels_and_reading() -> None:
    regions = Regions()
    assert regions.grid_deg.shape == (4, 191)
    assert regions.of(np.array([-60.0, -30.0, -0.1, 0.0, 60.0, 70.0])).tolist() == [0, 1, 1, 2, 3, 3]
    with pytest.raises(ConfigError, match="field of view"):
        Regions(field_deg=(30.0, -30.0))
    grid = torch.linspace(-10, 10, 101, dtype=torch.float64)
    angle = torch.tensor([-3.33, 0.0, 7.05], dtype=torch.float64)
    assert torch.allclose(read_out(label(grid, angle, "gaussian"), grid), angle, atol=0.01)
    assert label(grid, angle, "one-hot").sum(-1).tolist() == [1, 1, 1]
    assert (annealed_sigma(0), annealed_sigma(0.6), annealed_sigma(1)) == pytest.approx((1.5, 0.4, 0.4))
    nothing = read_out(torch.full((1, 101), -1.0, dtype=torch.float64), grid)
    assert torch.isfinite(nothing).all()


def test_the_peak_of_a_gaussian_does_not_stick_to_the_grid() -> None:
    grid = torch.linspace(-10, 10, 101)
    angle = torch.linspace(-8, 8, 641)
    spectrum = label(grid, angle, "gaussian") + 0.03 * torch.randn(
        641, 101, generator=torch.Generator().manual_seed(1)
    )
    found = gaussian_peak(spectrum, grid, 0.4)
    error = found - angle
    assert float(error.square().mean().sqrt()) < 0.02
    place = torch.cos(2 * torch.pi * found / 0.2).mean()
    assert abs(float(place)) < 0.05
    exact = gaussian_peak(label(grid, angle, "gaussian"), grid, 0.4)
    assert torch.allclose(exact, angle, atol=1e-4)
    flat = torch.zeros(1, 101)
    assert torch.isfinite(gaussian_peak(flat, grid, 0.4)).all()
    edge = gaussian_peak(label(grid, torch.tensor([-9.95, 9.9]), "gaussian"), grid, 0.4)
    assert torch.allclose(edge, torch.tensor([-9.95, 9.9]), atol=0.05)


def test_amplitude_and_coherence_of_what_passes() -> None:
    h = torch.randn(2, 16, 4, dtype=torch.complex64)
    amplitude, coherence = responses(h, torch.stack((h, 0.1j * h), dim=1))
    assert torch.allclose(amplitude, torch.tensor([[1.0, 0.1]] * 2), atol=1e-5)
    assert torch.allclose(coherence, torch.ones(2, 2), atol=1e-5)
    one, many = (MultiTaskAutoencoder(16, 4, 4, diverse=d) for d in (False, True))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (one, many)]
    assert sizes[1] == 16 * sizes[0]
    assert many.encode.shape == (16, 16, 8)
    assert many.decode.shape == (4, 16, 8, 16)


def test_the_network_has_the_size_stated_and_its_shape_is_stored() -> None:
    shape = Shape()
    network = MoDDNN(shape, manifold(shape.regions.grid_deg))
    assert sum(p.numel() for p in network.calibrator.parameters()) == 7364
    assert shape_of(shape.as_dict()) == shape
    with pytest.raises(ConfigError, match="shape of a MoD-DNN"):
        shape_of({"mode": "fast"})
    with pytest.raises(ShapeError, match="manifold"):
        MoDDNN(shape, manifold(shape.regions.grid_deg[:, ::2]))


def test_the_published_network_runs() -> None:
    shape = Shape(mode="paper", iterations=3, solver="scg", regions=Regions(step_deg=0.5))
    network = MoDDNN(shape, manifold(shape.regions.grid_deg)).eval()
    tones = torch.as_tensor(normalised(np.tile(steering(np.array([10.0])).T[:, None], (2, 16, 1))))
    assert network.angles_deg(tones).shape == (2,)


@pytest.mark.parametrize(
    "change",
    [
        {"data_term": False},
        {"iterations": 3},
        {"hears_decoders": True},
        {"labels": "one-hot"},
        {"mode": "paper", "iterations": 2, "solver": "scg"},
        {"mode": "paper", "labels": "gaussian", "hears_decoders": False},
    ],
)
def test_every_ablation_learns_and_is_stored(change: dict[str, object]) -> None:
    shape = replace(Shape(n_tones=4, regions=Regions(n=2, field_deg=(-30.0, 30.0), step_deg=1.0)), **change)
    network = MoDDNN(shape, manifold(shape.regions.grid_deg))
    done = train(network, _wrong, TrainPlan(gate_steps=20, gate_batch=32, steps=40, batch=8, seed=1))
    losses = [loss for stage, _, loss in done.history if stage == "heads"]
    assert losses[-1] < losses[0]
    assert shape_of(shape.as_dict()) == shape
    tones = torch.as_tensor(_wrong(np.array([5.0]), np.random.default_rng(0)))
    with torch.no_grad():
        assert torch.isfinite(network.angles_deg(tones)).all()


def test_without_a_data_term_spectra_are_those_of_a_large_lambda() -> None:
    base = Shape(n_tones=4, regions=Regions(n=2, field_deg=(-30.0, 30.0), step_deg=1.0))
    out = []
    for shape in (replace(base, data_term=False), replace(base, lam=1e7)):
        torch.manual_seed(0)
        network = MoDDNN(shape, manifold(shape.regions.grid_deg)).eval()
        tones = torch.as_tensor(_wrong(np.linspace(-25, 25, 5), np.random.default_rng(0)))
        with torch.no_grad():
            out.append(network(tones)[0])
    assert torch.allclose(out[0], out[1], atol=1e-4)


def _wrong(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
    """An array whose last element errs by a phase that grows with the angle: no fixed gain mends it."""
    wave = np.tile(steering(angle_deg).T[:, None], (1, 4, 1))
    wave[:, :, 3] *= np.exp(1j * np.deg2rad(1.2 * angle_deg))[:, None]
    noise = rng.standard_normal(wave.shape) + 1j * rng.standard_normal(wave.shape)
    return normalised(wave + 0.05 * noise)


def test_a_small_network_mends_a_phase_that_depends_on_the_angle() -> None:
    shape = Shape(n_tones=4, regions=Regions(n=2, field_deg=(-30.0, 30.0), step_deg=0.5))
    network = MoDDNN(shape, manifold(shape.regions.grid_deg))
    plan = TrainPlan(gate_steps=100, gate_batch=128, steps=150, batch=24, seed=3)
    told: list[str] = []
    done = train(network, _wrong, plan, on_step=lambda stage, share, loss: bool(told.append(stage)))
    assert done.finished
    assert set(told) == {"gate", "heads"}
    rng = np.random.default_rng(4)
    angle = rng.uniform(-30, 30, 400)
    tones = _wrong(angle, rng)
    grid = np.linspace(-60, 60, 2401)
    spectrum = np.einsum("ml,bmn,nl->bl", steering(grid).conj(), covariances(tones), steering(grid)).real
    uncalibrated = np.sqrt(np.mean((grid[spectrum.argmax(1)] - angle) ** 2))
    with torch.no_grad():
        error = network.angles_deg(torch.as_tensor(tones)).numpy() - angle
    assert np.sqrt(np.mean(error**2)) < uncalibrated / 4


def test_training_stops_when_asked() -> None:
    shape = Shape(n_tones=4, regions=Regions(n=2, field_deg=(-30.0, 30.0), step_deg=1.0))
    network = MoDDNN(shape, manifold(shape.regions.grid_deg))
    done = train(network, _wrong, TrainPlan(gate_steps=500), on_step=lambda stage, share, loss: True)
    assert not done.finished
    assert len(done.history) == 1
