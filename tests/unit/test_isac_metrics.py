"""GOSPA, the losses of training, detection rates and symbol errors against their definitions."""

from __future__ import annotations

from itertools import permutations
from math import erfc, sqrt

import numpy as np
import pytest
import torch

from calib.isac.gospa import gospa, gospa_of_blocks, places_m
from calib.isac.losses import gospa_loss, log_error, max_map, mse, places, range_of
from calib.isac.rates import counts, p_fa, p_md, sweep, threshold_for
from calib.isac.symbols import decide, qpsk, symbol_error_rate
from hil.core.errors import ConfigError

RNG = np.random.default_rng(4)


def gospa_by_permutations(a, b, cutoff, mu, p):
    """Eq. 17 as printed."""
    if len(a) > len(b):
        a, b = b, a
    best = min(
        sum(min(float(np.hypot(*(a[i] - b[j]))), cutoff) ** p for i, j in enumerate(order))
        for order in permutations(range(len(b)), len(a))
    )
    return (best + cutoff**p / mu * (len(b) - len(a))) ** (1 / p)


@pytest.mark.parametrize(("mu", "p", "cutoff"), [(2.0, 2.0, 90.0), (2.0, 2.0, 30.0), (1.0, 1.0, 60.0)])
def test_gospa_equals_the_minimum_over_all_permutations(mu, p, cutoff):
    for n in range(6):
        for m in range(6):
            a, b = RNG.uniform(-80, 80, (n, 2)), RNG.uniform(-80, 80, (m, 2))
            want = gospa_by_permutations(a, b, cutoff, mu, p)
            assert gospa(a, b, cutoff, mu, p) == pytest.approx(want, abs=1e-9)
            assert gospa(b, a, cutoff, mu, p) == pytest.approx(want, abs=1e-9)


def test_gospa_of_empty_sets():
    none, one = np.empty((0, 2)), np.array([[3.0, 4.0]])
    assert gospa(none, none, 90.0) == 0
    assert gospa(one, none, 90.0) == pytest.approx(90 / sqrt(2))
    assert gospa(none, np.tile(one, (2, 1)), 90.0) == pytest.approx(90.0)


def test_gospa_of_blocks_counts_the_first_places():
    true, found = RNG.uniform(-80, 80, (20, 5, 2)), RNG.uniform(-80, 80, (20, 4, 2))
    n, m = RNG.integers(0, 6, 20), RNG.integers(0, 5, 20)
    want = [gospa_by_permutations(true[b, : n[b]], found[b, : m[b]], 90.0, 2.0, 2.0) for b in range(20)]
    np.testing.assert_allclose(gospa_of_blocks(true, n, found, m, 90.0), want, atol=1e-9)


def test_places_are_the_same_in_numpy_and_torch():
    theta, delay = np.deg2rad([-30.0, 0.0]), np.array([2e-7, 6e-7])
    want = places_m(theta, delay)
    assert want[0, 0] == pytest.approx(-299_792_458.0 * 1e-7 / 2)
    assert want[1] == pytest.approx([0, 299_792_458.0 * 3e-7])
    got = places(torch.tensor(theta), range_of(torch.tensor(delay)))
    np.testing.assert_allclose(got.numpy(), want, atol=1e-9)


def test_losses_take_the_best_pairing_of_the_present_targets():
    true, found = RNG.uniform(-60, 60, (30, 4, 2)), RNG.uniform(-60, 60, (30, 4, 2))
    present = RNG.random((30, 4)) < 0.6
    squares, logs, roots = [], [], []
    for a, b, on in zip(true, found, present, strict=True):
        n = int(on.sum())
        d2 = ((a[on][:, None] - b[None, :n]) ** 2).sum(axis=2)
        pairings = [d2[np.arange(n), list(order)] for order in permutations(range(n))]
        squares.append(min(p.sum() for p in pairings))
        logs.append(min(np.log1p(p).sum() for p in pairings))
        if n:
            roots.append(gospa_by_permutations(a[on], b[:n], 50.0, 2.0, 2.0))
    arguments = torch.tensor(true), torch.tensor(found)
    there = torch.tensor(present)
    total = present.sum()
    assert float(mse(*arguments, there)) == pytest.approx(sum(squares) / total)
    assert float(log_error(*arguments, there)) == pytest.approx(sum(logs) / total)
    assert float(gospa_loss(*arguments, 50.0, there)) == pytest.approx(np.mean(roots))


def test_losses_without_targets_and_at_zero_error_have_finite_gradients():
    true = torch.tensor(RNG.uniform(-60, 60, (3, 2, 2)))
    for present in (torch.zeros(3, 2, dtype=torch.bool), None):
        found = true.clone().requires_grad_()
        total = (
            mse(true, found, present)
            + log_error(true, found, present)
            + gospa_loss(true, found, 90.0, present)
        )
        total.backward()
        assert float(total.detach()) == pytest.approx(0, abs=1e-5)
        assert found.grad is not None
        assert bool(torch.isfinite(found.grad).all())


def test_gospa_loss_gradient_by_finite_differences():
    true, found = torch.tensor(RNG.uniform(-60, 60, (6, 3, 2))), torch.tensor(RNG.uniform(-60, 60, (6, 3, 2)))
    assert torch.autograd.gradcheck(
        lambda f: gospa_loss(true, f, 70.0), found.requires_grad_(), eps=1e-6, atol=1e-5
    )


def test_max_map_is_the_mean_log():
    strength = torch.tensor([[10.0, 2.0], [5.0, 1.0]])
    assert float(max_map(strength)) == pytest.approx(-np.log([10, 2, 5, 1]).mean())


def test_a_list_ends_at_the_first_weak_strength():
    strength = np.array([[9.0, 3.0, 5.0], [8.0, 7.0, 6.0], [1.0, 9.0, 9.0]])
    assert counts(strength, 4.0).tolist() == [1, 3, 0]
    assert counts(strength, 2.0).tolist() == [3, 3, 0]


def test_rates_are_the_definitions():
    true, found = np.array([0, 2, 5, 3, 1]), np.array([1, 2, 4, 5, 0])
    assert p_md(true, found) == pytest.approx(1 - (0 + 2 + 4 + 3 + 0) / 11)
    assert p_fa(true, found, 5) == pytest.approx((1 + 0 + 0 + 2 + 0) / (5 + 3 + 0 + 2 + 4))
    assert np.isnan(p_md(np.zeros(3, int), np.zeros(3, int)))
    assert np.isnan(p_fa(np.full(3, 5), np.full(3, 5), 5))


@pytest.mark.parametrize("wanted", [0.0, 1e-2, 0.1, 0.37, 1.0])
def test_threshold_reaches_the_wanted_rate_exactly(wanted):
    true = RNG.integers(0, 6, 400)
    strength = RNG.exponential(size=(400, 5)) + 8 * (np.arange(5) < true[:, None])
    threshold = threshold_for(strength, true, wanted)
    room = int((5 - true).sum())
    rate = p_fa(true, counts(strength, threshold), 5)
    assert rate <= wanted
    assert rate > wanted - 1.5 / room
    # no smaller threshold will do
    if np.isfinite(threshold):
        assert p_fa(true, counts(strength, np.nextafter(threshold, -np.inf)), 5) > wanted


def test_sweep_trades_missed_targets_for_false_alarms():
    true = RNG.integers(0, 3, 2000)
    strength = -np.sort(-RNG.exponential(size=(2000, 2)), axis=1) * np.where(
        np.arange(2) < true[:, None], 8, 1
    )
    out = sweep(strength, true, np.array([1e-3, 1e-2, 1e-1]))
    assert np.all(np.diff(out.p_md) < 0)
    assert np.all(np.diff(out.threshold) < 0)
    np.testing.assert_allclose(out.p_fa, [1e-3, 1e-2, 1e-1], atol=1e-3)


def test_threshold_needs_room_for_false_alarms():
    with pytest.raises(ConfigError, match="fewer than 2"):
        threshold_for(np.ones((4, 2)), np.full(4, 2), 1e-2)


def test_decisions_are_the_nearest_symbols():
    m = RNG.integers(0, 4, (50, 16))
    kappa = RNG.standard_normal((50, 16)) + 1j * RNG.standard_normal((50, 16))
    y = kappa * qpsk(m) + 0.7 * (RNG.standard_normal(m.shape) + 1j * RNG.standard_normal(m.shape))
    distance = np.abs(y[..., None] - kappa[..., None] * qpsk(np.arange(4)))
    np.testing.assert_array_equal(decide(y, kappa), np.argmin(distance, axis=-1))
    np.testing.assert_array_equal(decide(kappa * qpsk(m), kappa), m)
    np.testing.assert_allclose(np.abs(qpsk(m)), 1)


@pytest.mark.parametrize("snr_db", [0.0, 6.0, 10.0])
def test_symbol_error_rate_follows_theory(snr_db):
    count, kappa = 400_000, np.exp(0.4j)
    m = RNG.integers(0, 4, count)
    noise = np.sqrt(0.5 * 10 ** (-snr_db / 10)) * (
        RNG.standard_normal(count) + 1j * RNG.standard_normal(count)
    )
    q = 0.5 * erfc(sqrt(10 ** (snr_db / 10) / 2))
    theory = 2 * q - q * q
    got = symbol_error_rate(m, decide(kappa * qpsk(m) + noise, np.asarray(kappa)))
    assert got == pytest.approx(theory, abs=4 * sqrt(theory / count))
