"""`hil reproduce mod-dnn`: the plan, the simulated array against the printed model, one small case, the report."""

from __future__ import annotations

import inspect
import json
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from hil.reproduce import mod_dnn_case
from hil.reproduce.experiment import Plan
from hil.reproduce.mod_dnn import EXPERIMENT
from hil.reproduce.mod_dnn_channels import CHANNELS, draw_channel, hall
from hil.reproduce.mod_dnn_data import (
    OFFSETS_HZ,
    STATED_BOUND_DEG,
    bound_deg,
    bound_over_field_deg,
    draw,
    ideal,
    manifold,
    phase_error_rad,
    response,
)
from hil.reproduce.mod_dnn_rows import WORDS
from hil.reproduce.mod_dnn_score import SHARES, box, distributed, half_width_deg, scored, spread_by_epoch
from hil.reproduce.registry import get_experiment


def test_the_plan_has_three_seeds_and_fits_its_time() -> None:
    assert get_experiment("mod-dnn") is EXPERIMENT
    cases = EXPERIMENT.cases(Plan())
    keys = {c.key for c in cases}
    assert len(keys) == len(cases)
    json.dumps([c.arguments for c in cases])
    assert {f"{p}-mod-dnn-{s}" for p in ("simulated", "chamber", "held-out") for s in (1, 2, 3)} <= keys
    for case in cases:
        assert case.function.startswith("hil.reproduce.mod_dnn_case:")
        inspect.signature(getattr(mod_dnn_case, case.function.partition(":")[2])).bind(**case.arguments)
    quick = EXPERIMENT.cases(Plan(quick=True))
    for plan, minutes in ((cases, 25), (quick, 4)):
        assert sum(c.weight for c in plan) / 2 < 60 * minutes, "two workers"
        assert max(c.weight for c in plan) < 30 * minutes
    assert len(EXPERIMENT.cases(Plan(seeds=1))) < len(cases)


def test_the_array_is_the_printed_one_with_the_sign_that_belongs_to_it() -> None:
    for snr_db, stated in STATED_BOUND_DEG.items():
        assert bound_over_field_deg(snr_db) == pytest.approx(stated, rel=0.01)
    theta = np.array([-47.3, 12.0, 58.0])
    psi = phase_error_rad(theta)
    assert np.all(psi[..., 0] == 0)
    u3 = (3 - 7.5) / 15
    for t, value in zip(theta, psi[:, 3, 2], strict=True):
        knee = [3 * np.log(1 + np.exp(x / 3)) for x in (t - 30, -t - 30)]
        by_hand = (
            7 * np.sin(2 * np.pi * t / 47 + 2.1) + 1.5 * np.sin(2 * np.pi * t / 13 + 3) + 0.75 * knee[0] - 0.85 * knee[1]
            + 3 * np.sin(2 * np.pi * (1.3 * u3 + t / 70) + 2)
        )  # fmt: skip
        assert np.rad2deg(value) == pytest.approx(by_hand)
    f = 1 + OFFSETS_HZ[5] / 4.85e9
    a = response(theta)[:, 5, 3]
    assert a == pytest.approx(np.exp(-2j * np.pi * 1.5 * f * np.sin(np.deg2rad(theta)) + 1j * psi[:, 5, 3]))
    assert response(theta, 0.0) == pytest.approx(ideal(theta))
    assert np.max(np.abs(np.angle(ideal(theta)[:, 7] / manifold(theta).T))) < 0.01
    inside = np.rad2deg(np.abs(phase_error_rad(np.linspace(-30, 30, 601)))).max(axis=(0, 1))
    outside = np.rad2deg(np.abs(phase_error_rad(np.linspace(-60, 60, 1201)))).max(axis=(0, 1))
    assert np.all(inside < 20)
    assert outside[3] == pytest.approx(43, abs=3)


def test_the_bound_is_that_of_the_method_under_test() -> None:
    from calib.methods.mod_dnn.bound import direction_bound_rad

    theta = np.linspace(-59, 59, 30)
    slope = (response(theta + 1e-4) - response(theta - 1e-4)) / np.deg2rad(2e-4)
    theirs = np.rad2deg(direction_bound_rad(response(theta), slope, 0.01))
    assert bound_deg(theta, 20.0) == pytest.approx(theirs, rel=1e-4)


def test_samples_have_the_stated_powers() -> None:
    rng = np.random.default_rng(0)
    theta = rng.uniform(-60, 60, 800)
    tones = draw(theta, rng, 10.0)
    assert np.mean(np.abs(tones) ** 2) == pytest.approx(1.1, rel=0.01)
    for name in CHANNELS:
        assert np.mean(np.abs(draw_channel(name, theta, rng, 100.0)) ** 2) == pytest.approx(1.0, rel=0.05)
    place = hall()
    assert place.tones.shape == (279, 16, 4)
    assert np.all(np.diff(place.angle_deg) >= 0)
    assert np.all(np.abs(place.angle_deg) <= 60)
    assert place.held_out.sum() == 70
    assert 0.05 < place.blocked.mean() < 0.5


def test_scores_by_hand() -> None:
    rng = np.random.default_rng(1)
    angle = rng.uniform(-60, 60, 4000)
    found = angle + 0.1 * rng.standard_normal(4000)
    score = scored(found, angle, np.full(4000, 0.1))
    assert score["ratio"] == pytest.approx(1.0, abs=0.03)
    assert score["p80"] == pytest.approx(0.128, abs=0.005)
    spread = distributed(found, angle)
    assert len(spread["cdf"]) == len(SHARES)
    assert spread["boxes"][0]["iqr"] == pytest.approx(0.0832, abs=0.01)
    one = box(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    assert (one["q1"], one["median"], one["q3"], one["most_iqr"], one["most_q3"]) == (2, 3, 4, 4, 4)
    grid = np.linspace(-5, 5, 101)
    assert half_width_deg(grid, np.maximum(1 - np.abs(grid) / 2, 0)) == pytest.approx(2.0)
    epochs = spread_by_epoch([[i, 1.0 + np.exp(-i / 50)] for i in range(600)])
    assert len(epochs) == 30
    assert epochs[0][1] > 10 * epochs[-1][1]


def _distribution(scale: float) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    angle = rng.uniform(-60, 60, 500)
    return distributed(angle + scale * rng.standard_normal(500), angle) | {"bound": 0.116}


def _canned(
    method: str, scale: float, protocol: str, variant: str = "fast", steps: int = 10
) -> dict[str, Any]:
    """As `run_protocol` answers."""
    snr = {
        str(s): {"rmse": scale * b, "ratio": scale, "bound": b, "p50": b, "p80": scale * b, "largest": 9.0}
        for s, b in STATED_BOUND_DEG.items()
    }
    wave = [[0.5] * 240] * 4
    responses = {
        "angle_deg": list(range(240)),
        "gate": 0.99,
        "gate_3deg": 1.0,
        "amplitude": wave,
        "phase": wave,
    }
    responses |= {f"{kind}_{side}": 0.5 for kind in ("amplitude", "phase") for side in ("in", "out")}
    error = _distribution(0.116 * scale)
    one: dict[str, Any] = {"seconds": 9.0, "parameters": 5, "samples": 6}
    if protocol in ("simulated", "few"):
        one["snr"] = snr
    if protocol == "simulated":
        one |= {
            "other_rho": dict.fromkeys(("0", "0.25", "0.5", "0.75", "1"), snr["20"]),
            "channels": dict.fromkeys(CHANNELS, error), "timing": {"single_ms": 2.0, "batch_ms": 0.3, "gflop": 0.01},
        }  # fmt: skip
    one |= {"chamber": error, "half": error} if protocol == "chamber" else {}
    one |= {"held_out": snr, "held_out_distribution": error} if protocol == "held-out" else {}
    one |= {"parking": error | {"clear": error, "blocked": error}} if protocol == "parking" else {}
    one |= {"rho": {"0.5": snr["20"]}} if protocol == "rho" else {}
    if method in ("cnn", "deep-music", "mod-dnn"):
        one |= {"epochs": [[0.5, 0.3], [1.0, 0.1]], "last_loss": 0.2}
    if method == "mod-dnn":
        one |= {"responses": responses, "gate_parameters": 7}
        one["spectra"] = {"grid": [[0.0, 1.0]] * 4, "spectrum": [[0.2, 1.0]] * 4}
    return {"protocol": protocol, "seed": 1, "steps": steps, "variant": variant, "methods": {method: one}}


def _results(scale: float, seeds: int) -> dict[str, dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for protocol in ("simulated", "chamber", "held-out", "parking", "rho"):
        for method in WORDS:
            size = 20.0 if method in ("music", "dbf", "cdbf") else scale
            for seed in range(seeds if method == "mod-dnn" else 1):
                results[f"{protocol}-{method}-{seed}"] = _canned(method, size, protocol)
    for variant in ("fast", "paper"):
        results[f"few-{variant}"] = _canned("mod-dnn", scale, "few", variant)
    widths = {"cdbf": 27.0, "scg-plain": 20.0, "sharp": 0.8}
    lines = {name: [[0.0, 1.0]] * 4 for name in ("cdbf", "scg", "scg-plain", "literal", "sharp", "music")}
    spectra = {
        "grid": [0.0, 1.0],
        **lines,
        "widths": {"ideal": widths, "impaired": widths},
        "residual": {"literal": 1e4},
    }
    results["simulated-models"] = {**_canned("dbf", 20.0, "simulated"), "spectra": spectra}
    shared = results["simulated-mod-dnn-0"]["methods"]["mod-dnn"]["responses"]
    results["shared-autoencoder"] = {
        "shared_autoencoder": shared,
        "steps": 9,
        "seconds": 1.0,
        "parameters": 3,
    }
    return results


def test_the_report_judges_three_seeds_and_shows_everything() -> None:
    report = EXPERIMENT.report(Plan(), _results(1.05, 3))
    judged = {c.what: c.met for c in report.checks}
    bars = [what for what in judged if "RMSE over the bound" in what]
    assert len(bars) == 10
    assert all(judged[what] is True for what in bars)
    assert judged["largest IQR over sectors, 25 dB"] is True
    assert judged["half-power width of the sharp spectrum at -15 degrees"] is True
    assert judged["response tables beside the network"] is True
    assert any("as good as the network or better at every SNR" in note for note in report.notes)
    assert all(len(row) == len(t.columns) for t in report.tables for row in t.rows)
    names = {
        "snr",
        "chamber",
        "held-out",
        "boxes-chamber",
        "boxes-parking",
        "rho",
        "rho-mismatch",
        "channels",
        "parking",
    }
    assert names | {"ablations", "cost", "autoencoder", "widths"} == {t.name for t in report.tables}
    drawn = {p.name for p in report.pictures}
    assert {
        "snr",
        "rho",
        "cdf",
        "boxes-chamber",
        "boxes-parking",
        "convergence",
        "autoencoder",
        "spectra",
    } <= drawn
    assert {"channels", "parking", "ablations"} <= drawn
    for picture in report.pictures:
        figure = Figure(picture.size)
        picture.draw(figure)
        assert figure.axes


def test_a_bar_that_is_missed_is_said_and_one_seed_judges_nothing() -> None:
    missed = {c.what: c.met for c in EXPERIMENT.report(Plan(), _results(1.5, 3)).checks}
    assert missed["MoD-DNN, random angles, 25 dB: RMSE over the bound"] is False
    assert missed["MoD-DNN, angles never recorded, 30 dB: RMSE over the bound"] is True
    one = {c.what: c.met for c in EXPERIMENT.report(Plan(), _results(1.5, 1)).checks}
    assert one["MoD-DNN, random angles, 25 dB: RMSE over the bound"] is None


def test_small_cases_run_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("hil.reproduce.mod_dnn_material.N_TRAIN", 20)
    monkeypatch.setattr("hil.reproduce.mod_dnn_case._TIMED", 3)
    monkeypatch.setattr("hil.reproduce.mod_dnn_case._BATCH", 16)
    monkeypatch.setattr("hil.reproduce.mod_dnn_looks._WIDTHS", 2)
    results: dict[str, dict[str, Any]] = {
        "simulated-models": mod_dnn_case.run_models("simulated", 40),
        "simulated-mod-dnn-1": mod_dnn_case.run_protocol("simulated", ["mod-dnn"], 40, steps=40),
        "held-out-models": mod_dnn_case.run_models("held-out", 180),
        "parking-cnn-1": mod_dnn_case.run_protocol("parking", ["cnn"], 70, steps=20),
        "rho-0.5-models": mod_dnn_case.run_models("rho", 40, 0.5),
        "shared-autoencoder": mod_dnn_case.run_shared_autoencoder(20),
    }
    results = json.loads(json.dumps(results))
    models = results["simulated-models"]["methods"]
    assert models["music"]["snr"]["30"]["ratio"] > 20
    assert models["lut"]["snr"]["20"]["ratio"] < 1.5
    assert models["bias"]["snr"]["20"]["ratio"] < 1.6
    assert results["held-out-models"]["methods"]["lut"]["held_out"]["20"]["ratio"] < 1.3
    assert results["rho-0.5-models"]["methods"]["lut"]["rho"]["0.5"]["ratio"] < 1.5
    assert models["music"]["snr"]["20"]["rmse"] == pytest.approx(
        models["cdbf"]["snr"]["20"]["rmse"], rel=0.02
    )
    net = results["simulated-mod-dnn-1"]["methods"]["mod-dnn"]
    assert net["snr"]["20"]["rmse"] < 0.5 * models["music"]["snr"]["20"]["rmse"]
    assert net["timing"]["gflop"] == pytest.approx(0.00075, rel=0.3)
    report = EXPERIMENT.report(Plan(quick=True), results)
    assert {"snr", "held-out", "rho", "channels", "cost", "autoencoder", "widths"} <= {
        t.name for t in report.tables
    }


def test_nothing_run_gives_an_empty_report() -> None:
    report = EXPERIMENT.report(Plan(), {})
    assert report.checks == report.pictures == report.tables == report.notes == ()
