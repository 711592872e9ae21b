"""`hil reproduce e2e-isac`: the plan, the generator against direct sums, the receivers, the report."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.special import erfc

from calib.isac.differentiable_omp import DifferentiableOmp
from calib.isac.grid import SearchGrid
from hil.reproduce.e2e_isac import EXPERIMENT
from hil.reproduce.e2e_isac_case import FALSE_ALARM, SECTOR_DEG, run_map, run_method, run_receivers
from hil.reproduce.e2e_isac_data import (
    N_CARRIERS,
    N_ELEMENTS,
    NOMINAL,
    SNR,
    SPACING_HZ,
    WINDOW_S,
    draw_array,
    draw_links,
    draw_scenes,
    window_basis,
)
from hil.reproduce.e2e_isac_method import from_positions
from hil.reproduce.e2e_isac_single import find_single, scored
from hil.reproduce.experiment import Plan
from hil.reproduce.registry import get_experiment

BASIS = window_basis()


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_plan_has_ten_arrays_of_both_models_and_fits_its_time() -> None:
    assert get_experiment("e2e-isac") is EXPERIMENT
    cases = EXPERIMENT.cases(Plan())
    assert len({c.key for c in cases}) == len(cases)
    json.dumps([c.arguments for c in cases])
    for model in ("cum", "mult"):
        for learner in ("known", "nominal", "closed"):
            assert {f"{model}-{d:03d}-{learner}" for d in range(10)} <= {c.key for c in cases}
    quick = EXPERIMENT.cases(Plan(quick=True))
    for plan, minutes in ((cases, 40), (quick, 4)):
        assert sum(c.weight for c in plan) / 2 < 60 * minutes, "two workers"
        assert max(c.weight for c in plan) < 30 * minutes
    assert len(EXPERIMENT.cases(Plan(with_baselines=True))) > len(cases)
    assert len(EXPERIMENT.cases(Plan(seeds=3))) < len(cases)


def test_arrays_are_as_the_models_say() -> None:
    errors = {
        m: np.array([draw_array(m, d).positions - NOMINAL for d in range(200)]) for m in ("mult", "cum")
    }
    number = np.arange(N_ELEMENTS)
    assert np.std(errors["mult"], axis=0) == pytest.approx(np.abs(number - 31.5) / 25, rel=0.2)
    assert np.all(errors["cum"][:, 0] == 0), "the first element is where it should be"
    assert np.std(errors["cum"][:, 63]) == pytest.approx(np.sqrt(63) / 15, rel=0.2)
    ripple = draw_array("unstructured", 1).steering(np.deg2rad(np.linspace(-60, 60, 2001)))
    nominal = np.exp(-2j * np.pi * np.outer(np.sin(np.deg2rad(np.linspace(-60, 60, 2001))), NOMINAL))
    assert np.linalg.norm(ripple, axis=1) == pytest.approx(np.full(2001, 8.0))
    match = np.abs(np.sum(ripple.conj() * nominal, axis=1)) / 64
    assert np.mean(match) == pytest.approx(np.sqrt(0.5), abs=0.05), "half of its power is no plane wave"


def test_scenes_are_equation_3() -> None:
    array = draw_array("mult", 0)
    scenes = draw_scenes(_rng(), array, BASIS, 4, max_targets=5, min_targets=2)
    beams = _rng(1).standard_normal((4, 64)) + 1j * _rng(2).standard_normal((4, 64))
    beams /= np.linalg.norm(beams, axis=1, keepdims=True)
    taps = scenes.taps(beams)
    for b in range(4):
        y = np.zeros((64, N_CARRIERS), complex)
        for t in range(scenes.count[b]):
            a = np.exp(-2j * np.pi * array.positions * np.sin(scenes.theta_rad[b, t]))
            rho = np.exp(-2j * np.pi * np.arange(256) * 120e3 * 2 * scenes.range_m[b, t] / 3e8)
            y += scenes.psi[b, t] * np.sum(a * beams[b]) / 16 * np.outer(a, rho)
        assert taps[b] @ BASIS.T - scenes.noise[b] @ BASIS.T == pytest.approx(y, abs=1e-3 * np.abs(y).max())
    tensor = torch.as_tensor(beams).requires_grad_()
    found = scenes.taps_torch(tensor)
    assert found.detach().numpy() == pytest.approx(taps, abs=1e-4)
    found.abs().square().sum().backward()
    assert tensor.grad is not None
    assert float(tensor.grad.abs().min()) > 0


def test_scenes_have_the_published_powers() -> None:
    array = draw_array("cum", 1)
    scenes = draw_scenes(_rng(), array, BASIS, 3000, max_targets=5)
    assert np.bincount(scenes.count, minlength=6) == pytest.approx(np.full(6, 500), rel=0.2)
    there = scenes.present
    assert np.mean(np.abs(scenes.psi[there]) ** 2) == pytest.approx(SNR / 64, rel=0.05)
    assert np.all(scenes.psi[~there] == 0)
    assert np.mean(np.abs(scenes.noise) ** 2) == pytest.approx(1, rel=0.01)
    assert scenes.outside.mean() == pytest.approx(256 - BASIS.shape[1], rel=0.01)
    span = np.ptp(scenes.sector_deg, axis=1)
    assert np.all((span >= 10) & (span <= 20))


def test_symbols_meet_the_errors_that_theory_gives() -> None:
    from calib.isac.symbols import decide, symbol_error_rate

    links = draw_links(_rng(), draw_array("cum", 0), 2000)
    assert np.mean(np.abs(links.fading) ** 2) == pytest.approx(100, rel=0.05)
    beam = np.full(64, 0.05 / 8, np.complex128)
    one_bit = 0.5 * erfc(np.abs(links.state(beam)) / np.sqrt(2))
    expected = float(np.mean(1 - (1 - one_bit) ** 2))
    counted = symbol_error_rate(links.symbols, decide(links.received(beam), links.state(beam)))
    assert 0.05 < expected < 0.8
    assert counted == pytest.approx(expected, rel=0.01)


def test_one_target_is_found_where_differentiable_omp_finds_it() -> None:
    array = draw_array("cum", 3)
    method = from_positions(-array.positions)
    scenes = draw_scenes(_rng(2), array, BASIS, 300, max_targets=1, min_targets=1, sector_deg=SECTOR_DEG)
    beam = method.isac_beam(SECTOR_DEG, 0.6, 1.0)
    found = find_single(method, scenes, BASIS, [method.sector_beam(SECTOR_DEG), beam])
    receiver = DifferentiableOmp(SearchGrid(WINDOW_S), BASIS, SPACING_HZ)
    sector_u = torch.as_tensor(np.sin(np.deg2rad(scenes.sector_deg)))
    for taps, strength, q in ((scenes.taps(beam), found.strength[1], 1), (scenes.noise, found.empty, None)):
        with torch.no_grad():
            answer = receiver(torch.as_tensor(taps), torch.as_tensor(method.dictionary), sector_u)
        assert answer.strength[:, 0].numpy() == pytest.approx(strength, rel=1e-3)
        if q is not None:
            assert answer.theta_rad[:, 0].numpy() == pytest.approx(found.theta_rad[q], abs=1e-4)
            assert answer.delay_s[:, 0].numpy() * 1.5e8 == pytest.approx(found.range_m[q], abs=0.02)


def test_known_and_ignored_arrays_are_where_the_reference_has_them() -> None:
    rows = {}
    for learner in ("known", "nominal"):
        rows[learner] = run_method("mult", 3, learner, single=1000, multi=400)
    known, nominal = rows["known"], rows["nominal"]
    assert known["single"]["missed"] == pytest.approx(0.0755, abs=0.02)
    assert known["single"]["position_m_median"] == pytest.approx(0.162, rel=0.15)
    assert nominal["single"]["missed"] > 0.2
    assert known["multi"]["at"]["gospa"] == pytest.approx(11.8, abs=2.5)
    assert nominal["multi"]["at"]["gospa"] > 55
    assert nominal["ser_half"] > known["ser_half"]


def test_a_small_case_learns_and_the_report_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.reproduce.e2e_isac_case._N_LINKS", 40)
    results: dict[str, dict[str, Any]] = {
        f"cum-004-{learner}": run_method("cum", 4, learner, single=300, sweep=6, multi=40, multi_sweep=6)
        for learner in ("known", "nominal", "closed")
    }
    ours = results["cum-004-closed"]
    assert ours["match"] > 0.999
    assert ours["seconds"] < 60
    results["map"] = run_map("mult", 3, "known")
    assert max(map(max, results["map"]["maps"][0])) == 1.0
    results["cum-004-receivers"] = run_receivers("cum", 4, 12)
    json.dumps(results)
    report = EXPERIMENT.report(Plan(quick=True), results)
    names = {t.name for t in report.tables}
    assert {"single-cum", "single-unseen-cum", "multi-cum", "sweep-cum", "receivers", "arrays-cum"} <= names
    assert all(len(row) == len(t.columns) for t in report.tables for row in t.rows)
    judged = {c.what: c.met for c in report.checks}
    assert judged["cum, one target: misdetection"] is None, "one array judges nothing"
    assert judged["seconds of learning one array, largest"] is True
    assert {"maps", "ratios", "sweep-cum", "unseen-cum", "receivers-cum", "multi-cum", "multi-sweep-cum"} <= {
        p.name for p in report.pictures
    }
    for picture in report.pictures:
        figure = Figure(picture.size)
        picture.draw(figure)
        assert figure.axes


def test_the_threshold_lets_through_what_it_should() -> None:
    array = draw_array("cum", 0)
    method = from_positions(-NOMINAL)
    scenes = draw_scenes(_rng(), array, BASIS, 500, max_targets=1, min_targets=1, sector_deg=SECTOR_DEG)
    found = find_single(method, scenes, BASIS, [method.sector_beam(SECTOR_DEG)])
    score = scored(found, scenes, 0, FALSE_ALARM)
    assert np.mean(found.empty > score["threshold"]) == pytest.approx(FALSE_ALARM, abs=2e-3)
    assert score["missed"] == pytest.approx(np.mean(found.strength[0] <= score["threshold"]))


def test_nothing_run_gives_an_empty_report() -> None:
    report = EXPERIMENT.report(Plan(), {})
    assert report.checks == ()
    assert report.pictures == ()
    assert report.tables == ()
