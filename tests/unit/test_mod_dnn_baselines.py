"""Bound and baselines of the MoD-DNN experiment, against an array of their own: three tones, other errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib.methods.mod_dnn.bound import direction_bound_rad
from calib.methods.mod_dnn.deep_music import DeepMusic, train_deep_music
from calib.methods.mod_dnn.plain_cnn import PlainCnn, train_plain_cnn
from calib.methods.mod_dnn.recorded import RecordedSource
from calib.methods.mod_dnn.searched import Searched
from calib.methods.mod_dnn.tones import normalised
from calib.response.tones import measure_tones
from hil.core.errors import ConfigError, ShapeError

X = 0.5 * np.arange(4)
GRID = np.linspace(-80, 80, 1601)


def manifold(angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.exp(2j * np.pi * X[:, None] * np.sin(np.deg2rad(angle_deg)))


def ideal(angle_deg: NDArray[np.float64], n_tones: int = 3) -> NDArray[np.complex128]:
    return np.repeat(manifold(angle_deg).T[:, None], n_tones, axis=1)


def noisy(tones: NDArray[np.complex128], snr_db: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    noise = rng.standard_normal((*tones.shape, 2)).view(np.complex128)[..., 0] / np.sqrt(2)
    return normalised(tones + 10 ** (-snr_db / 20) * noise)


def test_the_bound_is_the_textbook_one_and_maximum_likelihood_meets_it() -> None:
    theta = np.array([-40.0, 0.0, 25.0])
    slope = (ideal(theta + 1e-4) - ideal(theta - 1e-4)) / np.deg2rad(2e-4)
    bound = direction_bound_rad(ideal(theta), slope, 0.01)
    # sum of squared distances from the centre of four elements half a wavelength apart: 5 / 4
    information = 2 * 3 / 0.01 * (2 * np.pi * np.cos(np.deg2rad(theta))) ** 2 * 1.25
    assert bound == pytest.approx(1 / np.sqrt(information), rel=1e-6)
    assert direction_bound_rad(ideal(theta), slope, np.array([0.01, 0.04, 0.01]))[1] == pytest.approx(
        2 * bound[1]
    )
    rng = np.random.default_rng(0)
    found = Searched("dbf", manifold(GRID), GRID).angles_deg(noisy(ideal(np.full(3000, 25.0)), 20.0, rng))
    assert np.std(found) == pytest.approx(np.rad2deg(bound[2]), rel=0.06)
    assert np.mean(found) == pytest.approx(25.0, abs=0.02)


def test_three_searches_agree_on_one_source() -> None:
    rng = np.random.default_rng(1)
    theta = rng.uniform(-60, 60, 300)
    tones = noisy(ideal(theta), 15.0, rng)
    music, dbf, cdbf = (Searched(kind, manifold(GRID), GRID) for kind in ("music", "dbf", "cdbf"))
    assert np.max(np.abs(cdbf.spectrum(tones) - dbf.spectrum(tones))) < 1e-9
    # by hand: mean over tones of |a^H h|^2 / M^2
    by_hand = np.mean(np.abs(tones[:20] @ manifold(GRID).conj()) ** 2, axis=1) / 16
    assert np.max(np.abs(dbf.spectrum(tones[:20]) - by_hand)) < 1e-5
    assert cdbf.angles_deg(tones) == pytest.approx(dbf.angles_deg(tones), abs=2e-3)
    assert np.max(np.abs(music.angles_deg(tones) - theta)) < 3.0
    assert GRID[np.argmax(music.spectrum(tones), axis=1)] == pytest.approx(
        music.angles_deg(tones), abs=0.0501
    )
    assert music.angles_deg(ideal(theta)) == pytest.approx(theta, abs=1e-3)
    assert music.angles_deg(tones[:0]).shape == (0,)


def test_smoothing_tells_echoes_apart_and_a_maximum_at_the_edge_stays_there() -> None:
    echo = ideal(np.array([20.0])) + 0.6 * np.exp(1j * 1.2) * ideal(np.array([-35.0]))
    plain = Searched("music", manifold(GRID), GRID).angles_deg(echo)
    both = Searched("music", manifold(GRID), GRID, smoothing=2, forward_backward=True)
    assert both.spectrum(echo).shape == (1, len(GRID))
    assert abs(both.angles_deg(echo)[0] - 20.0) < abs(plain[0] - 20.0)
    short = np.linspace(-10, 10, 201)
    found = Searched("dbf", manifold(short), short).angles_deg(ideal(np.array([14.0])))
    assert found == pytest.approx([10.0])
    with pytest.raises(ConfigError):
        Searched("capon", manifold(GRID), GRID)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ShapeError):
        Searched("music", manifold(GRID), GRID, smoothing=4)


def bent(angle_deg: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The ideal array with phase errors that grow with the angle."""
    psi = np.deg2rad(angle_deg[:, None, None] * np.array([0.0, -0.3, 0.5, 1.0]))
    return ideal(angle_deg) * np.exp(1j * psi)


def test_a_recorded_source_gives_the_table_with_fresh_noise() -> None:
    rng = np.random.default_rng(2)
    recorded = np.repeat(np.arange(-60.0, 61, 4), 20)
    source = RecordedSource(measure_tones(noisy(bent(recorded), 25.0, rng), recorded, ideal), (10.0, 20.0))
    theta = rng.uniform(-60, 60, 4000)
    tones = source(theta, rng)
    assert tones.dtype == np.complex64
    assert np.max(np.abs(normalised(tones) - tones)) < 1e-5
    a = bent(theta)
    left = 1 - np.abs(np.sum(a.conj() * tones, axis=2)) ** 2 / 4 / np.sum(np.abs(tones) ** 2, axis=2)
    # three of four dimensions hold nothing but noise: the mean over 10 to 20 dB of s^2 / (1 + s^2), nearly
    noise = 10 ** (-np.linspace(10, 20, 1001) / 10)
    assert np.mean(left) == pytest.approx(0.75 * np.mean(noise / (1 + noise)), rel=0.03)
    assert not np.array_equal(source(theta[:5], rng), source(theta[:5], rng))


def test_the_plain_network_calibrates_and_deep_music_draws_what_music_sees() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)

    def source(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        return noisy(bent(angle_deg), 25.0, rng)

    rng = np.random.default_rng(3)
    theta = rng.uniform(-58, 58, 500)
    tones = source(theta, rng)
    music = Searched("music", manifold(GRID), GRID).angles_deg(tones)
    rms_music = np.sqrt(np.mean((music - theta) ** 2))
    assert rms_music > 3.0

    plain = PlainCnn(3, 4)
    train_plain_cnn(plain, source, steps=200, batch=48)
    with torch.no_grad():
        found = plain.angles_deg(torch.as_tensor(tones)).numpy()
    assert np.sqrt(np.mean((found - theta) ** 2)) < 0.5 * rms_music
    assert sum(p.numel() for p in PlainCnn(16, 4).parameters()) == 69_697

    deep = DeepMusic(manifold)
    label = deep.label(torch.as_tensor(tones))
    assert label.shape == (500, 4, 301)
    near = deep.grid_deg.reshape(-1)[label.flatten(1).argmax(1)].numpy()
    inside = np.abs(music) < 59.9
    assert near[inside] == pytest.approx(music[inside], abs=0.0502)
    told: list[float] = []

    def stop_early(stage: str, share: float, loss: float) -> bool:
        told.append(loss)
        return share > 0.65

    train_deep_music(deep, source, steps=120, batch=24, on_step=stop_early)
    assert len(told) == 9
    with torch.no_grad():
        found = deep.angles_deg(torch.as_tensor(tones)).numpy()
        spectrum, grid = deep.spectrum(torch.as_tensor(tones[:7]))
    assert spectrum.shape == grid.shape == (7, 301)
    assert np.median(np.abs(found - music)[inside]) < np.median(np.abs(found - theta)[inside])


def test_a_seed_gives_the_same_network() -> None:
    def source(angle_deg: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.complex64]:
        return noisy(ideal(angle_deg), 20.0, rng)

    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        net = PlainCnn(3, 4, (-30.0, 30.0))
        train_plain_cnn(net, source, steps=5, batch=8, seed=2)
        assert not net.training
        weights.append(torch.cat([p.detach().ravel() for p in net.parameters()]))
    assert torch.equal(weights[0], weights[1])
