"""`hil reproduce gain-phase-isac`: learning gains and phases from unlabelled OFDM echoes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hil.reproduce.experiment import Case, Check, Picture, Plan, Report, Table
from hil.reproduce.gain_phase_isac_case import AT, RATES, ROUND_BLOCKS
from hil.reproduce.gain_phase_isac_figures import draw_curves, draw_maps

MODELS = ("paper", "code")
GRADIENT = ("max-map plain", "max-map tangent", "reconstruction")
PUBLISHED_SAMPLES = 10_000 * 1024
_MODULE = "hil.reproduce.gain_phase_isac_case"
_ORDER = ("known", "ignored", *GRADIENT, "eigen", "eigen + line search", "eigen + edges")
_WORDS = {
    "known": "gains known",
    "ignored": "gains ignored",
    "max-map plain": "loss (14), plain Adam",
    "max-map tangent": "loss (14), tangent Adam",
    "reconstruction": "loss (15), Adam",
    "eigen": "eigenvector alternation",
    "eigen + line search": "the same + line search over the ramp",
    "eigen + edges": "the same + ramp by the sectors' edges",
}
_JUDGED = "eigen + edges"
_MIN_DRAWS = 10

INTRO = f"""
One transmitter, 64 receive elements half a wavelength apart at 60 GHz, 256 subcarriers of 240 kHz, one target in half
of the blocks, SNR 15 dB after summing over all elements and subcarriers. Every block comes with a sector of 10 to 20
degrees that holds the target. The array's gains and phases are unknown and no target position is ever told.

Both impairment models are run: `paper`, as printed (amplitudes within 5 %, phases within 90 degrees), and `code`, as the
published program draws them (complex random numbers; amplitudes spread over 27 dB). The paper averages 100 draws of the
impairments; the number run here is in the table. All methods are tested on the same blocks, on the full 100 x 100 map;
the threshold is the quantile of the maxima of blocks without a target.

Gradient methods start at kappa = 1 and take 200 steps of 256 fresh blocks; the closed form uses {ROUND_BLOCKS} blocks, all
of them in every round, also from kappa = 1. The paper takes 10 000 steps of 1024.
"""


class GainPhase:
    """Figures 2 and 3 of the paper, both losses, and the closed form."""

    name = "gain-phase-isac"
    title = "Gain-phase learning for OFDM sensing, without labels"
    source = "Mateos-Ramos et al., Unsupervised Learning for Gain-Phase Impairment Calibration in ISAC Systems, ICASSP 2025"
    intro = INTRO

    def cases(self, plan: Plan) -> list[Case]:
        """One closed-form case and one per gradient method for every draw and model, and the maps; quick:
        one draw, fewer tests, no plain Adam."""
        draws = plan.seeds or (1 if plan.quick else _MIN_DRAWS)
        n_test = 2000 if plan.quick else 8000
        methods = GRADIENT[1:] if plan.quick else GRADIENT
        out = [Case("maps-paper", f"{_MODULE}:run_map", {"model": "paper", "draw": 0}, 3.0)]
        for model in MODELS:
            for draw in range(draws):
                base = {"model": model, "draw": draw, "n_test": n_test}
                out.append(Case(f"{model}-{draw:03d}-closed", f"{_MODULE}:run_closed", base, 18.0))
                out += [
                    Case(f"{model}-{draw:03d}-{method.replace(' ', '-')}", f"{_MODULE}:run_gradient",
                         {**base, "method": method}, 10.0)
                    for method in methods
                ]  # fmt: skip
        return out

    def report(self, plan: Plan, results: dict[str, dict[str, Any]]) -> Report:
        """Table by model and method, the two figures, the checks."""
        del plan
        gathered = {model: _gather(model, results) for model in MODELS}
        tables = [_method_table(model, gathered[model]) for model in MODELS if gathered[model]]
        tables += [_threshold_table(results), _draw_table(results)]
        curves = {
            model: {
                name: {q: np.mean([r[q] for r in runs], axis=0).tolist() for q in ("pd", "rmse_m", "median_m")}
                for name, runs in methods.items()
            }
            for model, methods in gathered.items() if methods
        }  # fmt: skip
        pictures: list[Picture] = []
        if "maps-paper" in results:
            pictures.append(
                Picture("maps", "Angle-delay map of one block (Fig. 2)", partial(draw_maps, result=results["maps-paper"]),
                        "Circle: the target. Cross: the maximum.", (10.5, 3.8))
            )  # fmt: skip
        if curves:
            pictures += [
                Picture(name, title, partial(draw_curves, curves=curves, quantity=name), size=(9.0, 4.2))
                for name, title in (
                    ("missed", "Misdetection over false alarms (Fig. 3)"),
                    ("rmse_m", "Position error over false alarms, rms (Fig. 3)"),
                    ("median_m", "Position error over false alarms, median"),
                )
            ]
        checks = tuple(c for model in MODELS if gathered[model] for c in _checks(model, gathered[model]))
        draws = sorted({r["draw"] for k, r in results.items() if k.endswith("-closed")})
        notes = (
            f"{len(draws)} draws of the impairments per model (the paper: 100), draws 0 to {max(draws, default=0)}.",
            "The rms position error hangs on a few range outliers; the median does not.",
            "Seconds are processor time of learning alone, drawing of the blocks not included.",
        )
        return Report(tuple(tables), tuple(pictures), checks, notes)


def _gather(model: str, results: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """method -> one entry per draw; "known" of the same case is kept beside each."""
    out: dict[str, list[dict[str, Any]]] = {}
    for key in sorted(results):
        case = results[key]
        if case.get("model") != model or "methods" not in case:
            continue
        known = case["methods"]["known"]
        for name, entry in case["methods"].items():
            if name == "known" and not key.endswith("-closed"):
                continue
            out.setdefault(name, []).append(
                {**entry, "known": known, "draw": case["draw"], "n_test": case["n_test"]}
            )
    return {name: out[name] for name in _ORDER if name in out}


def _difference(entry: dict[str, Any]) -> float:
    return abs(entry["pd"][AT] - entry["known"]["pd"][AT])


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _method_table(model: str, methods: dict[str, list[dict[str, Any]]]) -> Table:
    rows = []
    for name, runs in methods.items():
        rows.append((
            _WORDS[name], len(runs),
            round(_mean([r["pd"][AT] for r in runs]), 4),
            round(_mean([_difference(r) for r in runs]), 4),
            round(_mean([r["paired_sigma"] for r in runs]), 4),
            round(_mean([r["rmse_m"][AT] for r in runs]), 3),
            round(_mean([r["median_m"][AT] for r in runs]), 4),
            round(_mean([r["median_m"][AT] / r["known"]["median_m"][AT] for r in runs]), 3),
            round(max(abs(r["shift"]) for r in runs), 5),
            round(_mean([r["corr_raw"] for r in runs]), 5),
            round(_mean([r["corr_gauge"] for r in runs]), 5),
            round(_mean([r["seconds"] for r in runs]), 1),
            runs[0]["samples"],
            round(PUBLISHED_SAMPLES / runs[0]["samples"]) if runs[0]["samples"] else None,
        ))  # fmt: skip
    columns = (
        "method", "draws", "Pd", "mean |Pd - known|", "its sampling error, one draw", "position rms (m)",
        "position median (m)", "median / known", "largest |shift| in sin(angle)", "correlation", "up to a ramp",
        "seconds", "training blocks", "times fewer than published",
    )  # fmt: skip
    which = "impairments as printed" if model == "paper" else "impairments as in the published program"
    return Table(
        f"methods_{model}", f"At a false-alarm rate of 1 %: {which}", columns, tuple(rows),
        "Means over the draws; 15 dB. The paper shows curves only: both losses lie on the known one.",
    )  # fmt: skip


def _threshold_table(results: dict[str, dict[str, Any]]) -> Table:
    cases = [r for k, r in sorted(results.items()) if k.endswith("-closed")]
    rows = tuple(
        (
            f"{rate:.2g}",
            round(_mean([c["threshold"][i] for c in cases]), 3),
            round(_mean([c["threshold_predicted"][i] for c in cases]), 3),
        )
        for i, rate in enumerate(RATES)
    ) if cases else ()  # fmt: skip
    return Table(
        "thresholds", "Threshold of max M/(N S N0): by simulation and by the extreme-value formula",
        ("false-alarm rate", "quantile of simulated noise", "formula"), rows,
        "Mean over draws. The formula is for a map without grid and needs no simulation.",
    )  # fmt: skip


def _draw_table(results: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for key, case in sorted(results.items()):
        if not key.endswith("-closed"):
            continue
        entry = case["methods"][_JUDGED]
        known = case["methods"]["known"]
        rows.append((
            case["model"], case["draw"], round(known["pd"][AT], 4), round(entry["pd"][AT], 4),
            round(known["median_m"][AT], 4), round(entry["median_m"][AT], 4), round(entry["shift"], 5),
            round(case["shift_sigma"], 5), round(case["snr_db"], 2), round(case["present"], 3), case["rounds"],
            round(entry["seconds"], 1),
        ))  # fmt: skip
    columns = ("model", "draw", "Pd known", "Pd learned", "median known (m)", "median learned (m)", "shift",
               "its stated sigma", "SNR found (dB)", "share of targets found", "rounds", "seconds")  # fmt: skip
    return Table("draws", "Closed form with the ramp by the edges, every draw", columns, tuple(rows),
                 "True SNR 15 dB, true share 0.5; both are estimated from the blocks.")  # fmt: skip


def _checks(model: str, methods: dict[str, list[dict[str, Any]]]) -> list[Check]:
    out = []
    for name in ("max-map tangent", "reconstruction", _JUDGED):
        if name not in methods:
            continue
        runs = methods[name]
        value = _mean([_difference(r) for r in runs])
        enough = len(runs) >= _MIN_DRAWS
        out.append(Check(
            f"{model}, {_WORDS[name]}: mean |Pd - Pd known|", "about 0 (figure)",
            f"{value:.4f} over {len(runs)} draws", "<= 0.005", value <= 0.005 if enough else None,
        ))  # fmt: skip
    if _JUDGED not in methods:
        return out
    runs = methods[_JUDGED]
    enough = len(runs) >= _MIN_DRAWS
    ratio = _mean([r["median_m"][AT] / r["known"]["median_m"][AT] for r in runs])
    shift = max(abs(r["shift"]) for r in runs)
    seconds = max(r["seconds"] for r in runs)
    fewer = PUBLISHED_SAMPLES / runs[0]["samples"]
    out += [
        Check(f"{model}: median position error to known", "-", f"{ratio:.3f}", "<= 1.05", ratio <= 1.05 if enough else None),
        Check(f"{model}: residual shift of sin(angle), largest", "-", f"{shift:.5f}", "<= 0.001", shift <= 0.001 if enough else None),
        Check(f"{model}: seconds of one draw, largest", "-", f"{seconds:.1f} s", "< 30 s", seconds < 30),
        Check(f"{model}: training blocks", "10 240 000", f"{runs[0]['samples']} ({fewer:.0f} times fewer)", ">= 100 times fewer", fewer >= 100),
    ]  # fmt: skip
    return out


EXPERIMENT = GainPhase()
