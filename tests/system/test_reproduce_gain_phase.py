"""`hil reproduce gain-phase-isac`: the plan, the generator, one small real case, the report."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from hil.reproduce.experiment import Plan
from hil.reproduce.gain_phase_isac import EXPERIMENT
from hil.reproduce.gain_phase_isac_case import RATES, run_closed, run_gradient, run_map
from hil.reproduce.gain_phase_isac_data import correlations, draw_kappa, draw_scenes, window_basis
from hil.reproduce.registry import get_experiment


def test_the_plan_has_ten_draws_of_both_models() -> None:
    assert get_experiment("gain-phase-isac") is EXPERIMENT
    cases = EXPERIMENT.cases(Plan())
    assert len({c.key for c in cases}) == len(cases) == 1 + 2 * 10 * 4
    assert len(EXPERIMENT.cases(Plan(quick=True))) == 7
    assert len(EXPERIMENT.cases(Plan(seeds=3))) == 25
    assert max(c.weight for c in cases) <= 30
    json.dumps([c.arguments for c in cases])


def test_impairments_are_as_the_two_models_say() -> None:
    spread = {}
    for model in ("paper", "code"):
        sizes = np.abs([draw_kappa(model, d) for d in range(40)])
        spread[model] = 20 * np.log10(sizes.max(axis=1) / sizes.min(axis=1))
    assert spread["paper"].max() < 20 * np.log10(1.05 / 0.95) + 1e-9
    # exp(-pi v), v in 0..1, is 27.3 dB; the size as a complex number adds up to 0.9
    assert 22 < spread["code"].min() < spread["code"].max() < 28.3
    kappa = draw_kappa("paper", 3)
    assert np.sum(np.abs(kappa) ** 2) == pytest.approx(64)
    assert np.abs(np.angle(kappa)).max() < np.pi / 2
    turned = kappa * np.exp(1j * np.pi * 0.01 * np.arange(64)) * 1j
    raw, gauge, shift = correlations(turned, kappa)
    assert raw < 0.9
    assert gauge == pytest.approx(1, abs=1e-6)
    assert shift == pytest.approx(0.01, abs=1e-5)


def test_scenes_have_the_published_power() -> None:
    basis = window_basis()
    assert basis.shape == (256, 24)
    kappa = draw_kappa("paper", 0)
    scenes = draw_scenes(np.random.default_rng(0), 1500, kappa, basis)
    energy = np.sum(np.abs(scenes.taps) ** 2, axis=(1, 2))
    quiet = energy[~scenes.present].mean()
    assert quiet == pytest.approx(64 * 24, rel=0.01)
    assert energy[scenes.present].mean() - quiet == pytest.approx(10**1.5, rel=0.2)
    assert scenes.outside.mean() == pytest.approx(256 - 24, rel=0.01)
    low, high = scenes.sector_deg.T
    degrees = np.rad2deg(scenes.theta_rad)
    assert np.all((degrees > low) & (degrees < high) & (high - low >= 10) & (high - low <= 20))


def test_a_small_case_learns_and_the_report_shows_it() -> None:
    closed = run_closed("code", 0, 500, blocks=2500)
    methods = closed["methods"]
    assert methods["eigen"]["corr_gauge"] > 0.998
    assert abs(methods["eigen + edges"]["shift"]) < 4 * closed["shift_sigma"]
    assert methods["known"]["pd"][4] - methods["ignored"]["pd"][4] > 0.2
    assert abs(methods["eigen + edges"]["pd"][4] - methods["known"]["pd"][4]) < 0.02
    assert closed["snr_db"] == pytest.approx(15, abs=0.7)
    gradient = run_gradient("code", 0, 500, "max-map tangent", steps=12)
    assert gradient["methods"]["max-map tangent"]["corr_gauge"] > methods["ignored"]["corr_gauge"]
    assert gradient["methods"]["known"]["pd"] == methods["known"]["pd"], "the same test blocks"
    maps = run_map("paper", 0, blocks=1200)
    assert maps["maxima"][0] == 1.0
    assert maps["maxima"][1] < 0.9 < maps["maxima"][2]
    results: dict[str, dict[str, Any]] = {
        "code-000-closed": closed, "code-000-max-map-tangent": gradient, "maps-paper": maps,
    }  # fmt: skip
    json.dumps(results)
    report = EXPERIMENT.report(Plan(quick=True), results)
    table = next(t for t in report.tables if t.name == "methods_code")
    assert [row[0] for row in table.rows][:3] == ["gains known", "gains ignored", "loss (14), tangent Adam"]
    assert all(len(row) == len(table.columns) for t in report.tables for row in t.rows if t is table)
    judged = {c.what: c.met for c in report.checks}
    assert judged["code: training blocks"] is True
    assert judged["code: median position error to known"] is None, "one draw judges nothing"
    for picture in report.pictures:
        figure = Figure(picture.size)
        picture.draw(figure)
        assert figure.axes
    assert len(closed["threshold"]) == len(RATES)


def test_nothing_run_gives_an_empty_report() -> None:
    report = EXPERIMENT.report(Plan(), {})
    assert report.checks == ()
    assert report.pictures == ()
