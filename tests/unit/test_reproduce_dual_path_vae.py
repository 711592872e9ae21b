"""`hil reproduce dual-path-vae`: the plan, the generator against the printed model, one small case, the report."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from calib.methods.dual_path_vae.bound import direction_bound_u
from calib.methods.dual_path_vae.posterior import ChannelPrior
from hil.reproduce import dual_path_vae_case, dual_path_vae_landscape, dual_path_vae_parts
from hil.reproduce.dual_path_vae import EXPERIMENT
from hil.reproduce.dual_path_vae_data import Setting, believed, bound_deg, draw, drawn_errors, steering
from hil.reproduce.dual_path_vae_landscape import run_landscape
from hil.reproduce.dual_path_vae_methods import COARSE, EDGE_BLIND, WELL_BUILT, music_deg
from hil.reproduce.dual_path_vae_score import bound_scored, scored
from hil.reproduce.experiment import Check, Plan, Report
from hil.reproduce.registry import get_experiment

_MODULES = {m.__name__: m for m in (dual_path_vae_case, dual_path_vae_landscape, dual_path_vae_parts)}
_METHODS = (
    "music-coarse", "music-edge", "music", "kr-music", "labels", "net", "net-ml", "ml", "supervised"
)  # fmt: skip


def test_the_plan_has_its_seeds_and_fits_its_time() -> None:
    assert get_experiment("dual-path-vae") is EXPERIMENT
    cases = EXPERIMENT.cases(Plan())
    keys = {c.key for c in cases}
    assert len(keys) == len(cases)
    json.dumps([c.arguments for c in cases])
    assert {f"apart-{snr}dB-{seed}" for snr in (0, 10, 20) for seed in range(1, 6)} <= keys
    assert {f"{s}-{snr}dB-3" for s in ("correlated", "free") for snr in (0, 10, 20)} <= keys
    for case in cases:
        module, _, name = case.function.partition(":")
        inspect.signature(getattr(_MODULES[module], name)).bind(**case.arguments)
    quick = EXPERIMENT.cases(Plan(quick=True))
    for plan, minutes in ((cases, 12), (quick, 4)):
        assert sum(c.weight for c in plan) / 2 < 60 * minutes, "two workers"
    assert len(EXPERIMENT.cases(Plan(seeds=1))) < len(cases)


def test_recordings_are_the_printed_model_in_a_sign_that_methods_share() -> None:
    setting = Setting(n=6, k=2, snr_db=200.0, m=5)
    given = draw(setting, 3, np.random.default_rng(0))
    for theta, h, y in zip(given.theta_deg, given.h, given.y, strict=True):
        by_hand = [
            [
                sum(h[k, m] * np.exp(-1j * np.pi * n * np.sin(np.deg2rad(theta[k]))) for k in range(2))
                for m in range(5)
            ]
            for n in range(6)
        ]
        np.testing.assert_allclose(y, by_hand, atol=1e-8)
        assert theta[1] - theta[0] >= 5
    errors = drawn_errors(setting, np.random.default_rng(1), gain_db=1.0, phase_deg=20.0, shift=0.05)
    for known in (None, errors):
        ours = believed(setting, known).responses(torch.as_tensor(given.u)).numpy()
        np.testing.assert_allclose(ours, steering(setting, given.theta_deg, known), atol=1e-12)


def test_noise_and_correlation_are_as_asked() -> None:
    setting = Setting(n=4, k=3, snr_db=10.0, rho=0.8, m=400)
    given = draw(setting, 100, np.random.default_rng(0))
    seen = np.einsum("bim,bjm->ij", given.h, given.h.conj()) / 40_000
    np.testing.assert_allclose(seen, [[1, 0.8, 0.64], [0.8, 1, 0.8], [0.64, 0.8, 1]], atol=0.03)
    noise = given.y - steering(setting, given.theta_deg) @ given.h
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(0.1, rel=0.02)


def test_bound_agrees_with_the_method_s_own() -> None:
    setting = Setting(rho=0.8)
    given = draw(setting, 4, np.random.default_rng(2))
    prior = ChannelPrior(torch.as_tensor(setting.covariance), torch.tensor(0.1, dtype=torch.float64))
    u = torch.as_tensor(given.u)
    theirs = np.rad2deg(direction_bound_u(believed(setting), u, prior, setting.m).numpy()) / np.sqrt(
        1 - given.u**2
    )
    np.testing.assert_allclose(bound_deg(setting, given.theta_deg), theirs, rtol=1e-5)


def test_music_is_blind_at_the_edge_only_if_built_so() -> None:
    setting = Setting(n=16, k=1, snr_db=20.0)
    a = steering(setting, np.array([[59.995]]))[0]
    r = (a @ a.conj().T + 0.01 * np.eye(16))[None]
    array = believed(setting)
    assert music_deg(array, r, 1, WELL_BUILT)[0, 0] == pytest.approx(59.995, abs=0.01)
    for grid in (EDGE_BLIND, COARSE):
        assert abs(music_deg(array, r, 1, grid)[0, 0] - 59.995) > 1


def test_scores_count_recordings_with_a_lost_user() -> None:
    score = scored(np.array([[0.0, 10.0], [0.0, 13.0]]), np.array([[0.1, 10.0], [0.0, 10.0]]))
    assert score["outliers"] == 50
    assert score["mse"] == pytest.approx((0.01 + 9) / 4)
    assert score["rmse"] == pytest.approx(score["mse"] ** 0.5)


def test_the_bound_is_scored_as_normal_errors_are() -> None:
    score = bound_scored(np.full((40, 2), 0.5))
    assert score["rmse"] == 0.5
    assert score["median"] == pytest.approx(0.5 * 0.6745, rel=0.1)
    assert score["p80"] == pytest.approx(0.5 * 1.2816, rel=0.1)


def test_a_small_case_runs_from_recordings_to_the_page() -> None:
    case = dual_path_vae_case.run_setting(8, 2, 10.0, 15.0, 0.0, seed=1, train=250, test=120, epochs=2)
    json.dumps(case)
    assert set(case["methods"]) == set(_METHODS)
    bound = case["bound"]["aoa"]["rmse"]
    for method in ("music", "net", "net-ml", "ml", "supervised"):
        assert 0.8 * bound < case["methods"][method]["aoa"]["rmse"] < 1.5 * bound, method
    assert case["methods"]["music-coarse"]["aoa"]["rmse"] > 1.5 * bound
    level = case["bound"]["channel"]
    assert level["formula_db"] == pytest.approx(level["nmse_db"], abs=0.3)
    assert case["methods"]["net-ml"]["channel"]["nmse_db"] < level["nmse_db"] + 0.3
    report = EXPERIMENT.report(Plan(), {"size-8-2-10dB-1": case})
    (line,) = [c for c in report.checks if c.what.startswith("8 antennas")]
    assert line.met is None, "one seed is not enough"


def test_the_landscape_has_its_slope_and_twins() -> None:
    case = run_landscape(21)
    json.dumps(case)
    assert case["difference"] < 1e-5
    assert min(abs(d - 11) for d in case["stationary_deg"]) < 0.01
    assert {-90.0, 90.0} <= set(case["stationary_deg"])
    one_wavelength = next(p for p in case["pairs"] if p["spacing"] == 1.0)
    assert one_wavelength["same_deg"][0] == pytest.approx([-20.0, 41.146], abs=0.01)
    report = EXPERIMENT.report(Plan(), {"landscape": case})
    assert {p.name for p in report.pictures} == {"landscape-one", "landscape-pair", "landscape-slope"}
    for picture in report.pictures:
        picture.draw(Figure(figsize=picture.size, layout="constrained"))


@pytest.mark.slow
def test_networks_labels_sectors_sizes_and_timing_run() -> None:
    parts = dual_path_vae_parts
    labels = parts.run_labels(1, 300, 60, 1)
    results = {
        "labels-1": labels,
        "network": parts.run_networks("proposed", 0.0, 1, 256, 60, 1, 2),
        "sectors": parts.run_sectors(1, 60),
        "sizes": parts.run_sizes(1),
        "timing": parts.run_timing(8, 2, 150),
        "calibrated-1": dual_path_vae_case.run_calibrated(10.0, 1, 300, 100, 1),
        "cnn": dual_path_vae_case.run_cnn(10.0, 5.0, 0.0, 1, 256, 60, 1),
    }
    json.dumps(results)
    _drawn(EXPERIMENT.report(Plan(), results))
    assert labels["rows"]["paper 0"]["label"]["rmse"] > 10 > labels["rows"]["best 0"]["label"]["rmse"] * 100
    rows = results["sectors"]["rows"]
    assert rows["1 everywhere"]["rmse"] > 100 * rows["1 sector"]["rmse"]


def test_report_judges_canned_results() -> None:
    good = EXPERIMENT.report(Plan(), _canned())
    _drawn(good)
    lines = {c.what: c for c in good.checks}
    assert {t.name for t in good.tables} >= {"directions-apart", "directions-free", "channels", "supervision"}
    assert _met(good, "RMSE over the bound")
    assert lines["unsupervised over supervised RMSE, users at least 5 degrees apart, 10 dB"].met is True
    assert any("as good (within 5 %)" in note for note in good.notes)
    assert any("amortisation" in note for note in good.notes)
    for changed, part in (
        ({"net-ml": 0.0112}, "network + 20 ML steps, 10 dB, 5 degrees apart: RMSE over the bound"),
        ({"net": 0.0106, "music": 0.0105}, "against a well-built MUSIC, network alone"),
        ({"net": 0.0104, "supervised": 0.0098}, "users at least 5 degrees apart, 10 dB"),
    ):
        bad = EXPERIMENT.report(Plan(), _canned(**changed))
        assert [c.met for c in bad.checks if part in c.what] == [False], part
    few = EXPERIMENT.report(Plan(), {k: v for k, v in _canned().items() if v["seed"] == 1})
    assert all(c.met is None for c in few.checks)
    assert EXPERIMENT.report(Plan(), {}) == Report()


def test_report_says_where_labels_help() -> None:
    report = EXPERIMENT.report(Plan(), _canned(net=0.0104, supervised=0.0098))
    assert any("Labels help" in note and "10 dB" in note for note in report.notes)


def _met(report: Report, part: str) -> bool:
    lines: list[Check] = [c for c in report.checks if part in c.what]
    return bool(lines) and all(c.met for c in lines)


def _drawn(report: Report) -> None:
    assert report.pictures
    for picture in report.pictures:
        picture.draw(Figure(figsize=picture.size, layout="constrained"))


def _canned(**rmse: float) -> dict[str, Any]:
    """Users apart and anywhere, 5 seeds, all methods near a bound of 0.01 degrees unless told otherwise."""
    usual = dict.fromkeys(_METHODS, 0.0103) | {
        "music": 0.0104,
        "music-coarse": 4.0,
        "music-edge": 1.0,
        "kr-music": 0.8,
    }
    usual |= {"net-ml": 0.0102} | rmse
    out: dict[str, Any] = {}
    for scene, separation in (("apart", 5.0), ("free", 0.0)):
        for snr in (10.0, 20.0):
            for seed in range(1, 6):
                numbers = usual | ({"music": 1.0} if separation == 0 else {})
                out[f"{scene}-{snr:g}dB-{seed}"] = {
                    "kind": "setting", "n": 32, "k": 3, "snr_db": snr, "separation_deg": separation, "rho": 0.0, "seed": seed,
                    "methods": {m: {"aoa": _aoa(v), "channel": _channel(0.1), "ms": 1.0} for m, v in numbers.items()},
                    "bound": {"aoa": {"rmse": 0.01, "median": 0.0067, "p80": 0.0128}, "channel": _channel(0.0)},
                    "training": {"samples": 100, "labels_s": 1.0, "networks_s": 1.0, "epochs": 3, "supervised_epochs": 3,
                                 "history": [], "parameters": 88067},
                }  # fmt: skip
    return out


def _aoa(rmse: float) -> dict[str, float]:
    return {
        "rmse": rmse,
        "mse": rmse**2,
        "mse_rad2": 0.0,
        "median": 0.6 * rmse,
        "p80": 1.2 * rmse,
        "outliers": 0.0,
    }


def _channel(loss_db: float) -> dict[str, float]:
    return {"nmse_db": -25.0 + loss_db, "gain": 1e-3, "phase_rad2": 1e-2}
