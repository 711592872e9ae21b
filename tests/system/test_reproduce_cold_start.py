"""`hil reproduce cold-start`: the plan, the report, and one real case."""

from __future__ import annotations

import json
from typing import Any

from hil.reproduce.cold_start import EXPERIMENT
from hil.reproduce.cold_start_rows import bar_rows, circle_rows, robustness_rows, setting_of
from hil.reproduce.cold_start_run import run_arrays
from hil.reproduce.experiment import Case, Plan
from hil.reproduce.registry import get_experiment


def fabricated(case: Case, correlation: float = 0.99999, converged: bool = True) -> dict[str, Any]:
    n = case.arguments["count"]
    return {
        "seed": list(range(n)), "converged": [converged] * n, "reason": ["" if converged else "other"] * n,
        "correlation": [correlation] * n, "error_deg": [0.1] * n, "sigma_deg": [0.2] * n, "excess": [0.01] * n,
        "seconds": [0.2] * n, "attempts": [1] * n,
    }  # fmt: skip


def test_the_plan_covers_the_bar() -> None:
    cases = EXPERIMENT.cases(Plan())
    assert len({c.key for c in cases}) == len(cases)
    for row in bar_rows():
        mine = [c for c in cases if c.key.startswith(f"{row.name}-2")]
        assert sum(c.arguments["count"] for c in mine) == 100
        assert min(c.arguments["first_seed"] for c in mine) == 20_000
        assert {(c.arguments["setting"].get("n", 8), c.arguments["setting"].get("k", 1)) for c in mine} == {
            (row.setting.n, row.setting.k)
        }
    assert all(c.arguments["first_seed"] >= 20_000 for c in cases)
    assert max(c.weight for c in cases) < 40
    json.dumps([c.arguments for c in cases])
    names = [r.name for r in bar_rows() + circle_rows() + robustness_rows()]
    assert len(set(names)) == len(names)


def test_quick_is_a_part_of_it() -> None:
    quick = EXPERIMENT.cases(Plan(quick=True))
    assert sum(c.weight for c in quick) < 110  # of one thread; two cores run it in under a minute
    assert {c.key.rsplit("-", 1)[0] for c in quick} <= {
        c.key.rsplit("-", 1)[0] for c in EXPERIMENT.cases(Plan())
    }


def test_settings_survive_json() -> None:
    for row in bar_rows() + circle_rows() + robustness_rows():
        back = setting_of(json.loads(json.dumps(row.arguments()))["setting"])
        assert back == row.setting


def test_a_full_report_judges_every_line_of_the_bar() -> None:
    cases = EXPERIMENT.cases(Plan())
    report = EXPERIMENT.report(Plan(), {c.key: fabricated(c) for c in cases})
    met = {check.what: check.met for check in report.checks}
    assert met["8, 2: arrays converged"] is True
    assert met["silent failures, all rows"] is True
    # all accepted: rows that ought to be refused are wrong, and that is seen
    assert met["rows in which the verdict is right"] is False
    assert len(report.tables) == 4
    assert len(report.pictures) == 2


def test_one_silent_failure_and_one_array_missed_are_seen() -> None:
    cases = EXPERIMENT.cases(Plan())
    results = {c.key: fabricated(c) for c in cases}
    first = next(c for c in cases if c.key.startswith("bar-8-2-600"))
    results[first.key]["correlation"][0] = 0.99
    report = EXPERIMENT.report(Plan(), results)
    met = {check.what: check.met for check in report.checks}
    assert met["8, 2: arrays converged"] is False
    assert met["silent failures, all rows"] is False
    assert met["8, 1: arrays converged"] is True


def test_what_was_not_run_is_not_judged() -> None:
    cases = [c for c in EXPERIMENT.cases(Plan(quick=True)) if c.key.startswith("bar-8-1")]
    report = EXPERIMENT.report(Plan(quick=True), {c.key: fabricated(c) for c in cases})
    assert [c.met for c in report.checks if "converged" in c.what] == [None]
    assert EXPERIMENT.report(Plan(), {}).checks == ()


def test_a_real_case_is_a_pure_function_of_its_arguments() -> None:
    case = next(c for c in EXPERIMENT.cases(Plan(seeds=2)) if c.key.startswith("bar-8-1-200"))
    arguments: dict[str, Any] = {**case.arguments, "first_seed": 500}
    one, two = run_arrays(**arguments), run_arrays(**arguments)
    assert one["converged"] == [True, True]
    assert min(one["correlation"]) > 0.9995
    assert max(one["error_deg"]) < 2
    for name in ("seed", "converged", "correlation", "excess", "error_deg"):
        assert one[name] == two[name]
    json.dumps(one, allow_nan=False)


def test_the_registry_finds_it() -> None:
    assert get_experiment("cold-start") is EXPERIMENT
