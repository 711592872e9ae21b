"""SubspaceNet baseline: scenario, heads, start and a short training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from calib.baselines.subspacenet import (
    Scenario,
    Settings,
    build_network,
    draw_array,
    draw_blocks,
    esprit,
    rmspe,
    root_music,
    run_reduced,
    surrogate,
)


def _gram(angle: np.ndarray, n: int = 16) -> np.ndarray:
    """Covariance of unit sources on the nominal line in the paper's sign, with a little noise."""
    p = (np.arange(n) - (n - 1) / 2) / 2
    a = np.exp(-2j * np.pi * np.sin(angle)[..., None] * p)
    return a.transpose(0, 2, 1) @ a.conj() + 1e-6 * np.eye(n)


@pytest.mark.parametrize("n_sources", [1, 3])
def test_both_heads_read_the_nominal_line(n_sources):
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(-1.2, 1.2, (12, n_sources)), axis=1)
    angle += 0.3 * (np.arange(n_sources) - (n_sources - 1) / 2) * 0.5
    angle = np.clip(angle, -1.35, 1.35)
    gram = _gram(angle)
    by_esprit = np.sort(esprit(torch.from_numpy(gram), n_sources).numpy(), axis=1)
    np.testing.assert_allclose(by_esprit, np.sort(angle, axis=1), atol=2e-3)
    np.testing.assert_allclose(
        np.sort(root_music(gram, n_sources), axis=1), np.sort(angle, axis=1), atol=2e-2
    )


def test_loss_is_free_of_order_and_periodic():
    true = torch.tensor([[0.1, -0.5, 1.0]], dtype=torch.float64)
    assert float(rmspe(true[:, [2, 0, 1]], true)) < 1e-12
    one = torch.tensor([[1.5]], dtype=torch.float64)
    # 1.5 and -1.5 are 3 apart, and pi - 3 on the period pi
    assert float(rmspe(-one, one)) == pytest.approx(np.pi - 3.0)
    two = torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    assert float(rmspe(two + torch.tensor([[0.0, 0.2]]), two)) == pytest.approx(0.2 / np.sqrt(2))


def test_scenario_has_the_papers_snr():
    scenario = Scenario(snr_db=0.0)
    array = draw_array(scenario, 3)
    assert np.abs(array[1] - (np.arange(16) - 7.5) / 2).max() <= 0.25
    features, angle = draw_blocks(scenario, array, 1, 400, 1, 2)
    assert features.shape == (400, 2, 32, 16)
    assert np.rad2deg(np.abs(angle)).max() <= 80
    r = features[:, 0, :16] + 1j * features[:, 0, 16:]
    # unit-norm steering: at 0 dB the source's eigenvalue is twice the noise's, the trace N + 1 noise powers
    share = np.linalg.eigvalsh(r.mean(axis=0)).sum() * 17 / 16 / 17
    assert share == pytest.approx(1.0, abs=1e-3)
    a = array[0] * np.exp(-2j * np.pi * np.sin(angle) * array[1]) / np.linalg.norm(array[0])
    along = np.einsum("bn,bnm,bm->b", a.conj(), r, a).real.mean()
    assert along == pytest.approx(2 / 17 * 16, rel=0.03)
    # lag 1 holds nothing but noise of the estimate: the sources are white
    assert np.abs((features[:, 1, :16] + 1j * features[:, 1, 16:]).mean(axis=0)).max() < 0.05


def test_start_hands_the_covariance_through():
    scenario, settings = Scenario(), Settings()
    flawless = np.ones(16, complex), (np.arange(16) - 7.5) / 2
    features, angle = draw_blocks(scenario, flawless, 1, 60, 2, settings.lags)
    network = build_network(settings, 0)
    with torch.no_grad():
        gram = surrogate(network, torch.from_numpy(features), settings.eps)
        out = network(torch.from_numpy(features))
    assert out.shape == (60, 1, 32, 16)
    np.testing.assert_allclose(out[:, 0, :29, :13], features[:, 0, :29, :13], atol=1e-6)
    assert float(torch.rad2deg(rmspe(esprit(gram, 1), torch.from_numpy(angle)))) < 0.2


@pytest.mark.parametrize("n_sources", [1, 5])
def test_every_parameter_has_a_finite_gradient(n_sources):
    settings = Settings()
    features, angle = draw_blocks(Scenario(), draw_array(Scenario(), 0), n_sources, 8, 3, settings.lags)
    network = build_network(settings, 0)
    gram = surrogate(network, torch.from_numpy(features), settings.eps)
    rmspe(esprit(gram, n_sources), torch.from_numpy(angle)).backward()
    sizes = [float(p.grad.abs().max()) for p in network.parameters() if p.grad is not None]
    assert np.all(np.isfinite(sizes))
    assert max(sizes) > 0


def test_short_training_learns_and_reports():
    out = run_reduced(1, 0, n_train=512, n_test=200, n_epochs=4, time_limit_s=120.0)
    assert out["rmspe_deg"] < 0.75 * out["rmspe_untrained_deg"]
    assert out["settings"]["steps"] == 128
    assert out["settings"]["head_test"] == "esprit"
    json.dumps(out)
