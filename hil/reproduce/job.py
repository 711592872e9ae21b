"""One experiment from its cases to its page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.reproduce.cache import ResultCache
from hil.reproduce.experiment import Case, Experiment, Plan, Report
from hil.reproduce.page import Effort, shown, write_page
from hil.reproduce.runner import run_cases


@dataclass(frozen=True, slots=True)
class Reproduced:
    """Outcome of `reproduce_experiment`. files : name -> path."""

    name: str
    plan: Plan
    report: Report
    effort: Effort
    files: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md: what was published, what was reached, what it cost."""
        return {
            "name": self.name,
            "quick": self.plan.quick,
            "table": [
                {"what": c.what, "published": c.published, "ours": c.ours, "to_reach": c.bar, "met": c.met}
                for c in self.report.checks
            ],
            "bars_met": None
            if all(c.met is None for c in self.report.checks)
            else all(c.met is not False for c in self.report.checks),
            "tables": {
                t.name: [dict(zip(t.columns, map(_plain, row), strict=True)) for row in t.rows]
                for t in self.report.tables
            },
            "compute_seconds": round(self.effort.seconds, 3),
            "cases": self.effort.n_cases,
            "cached": self.effort.n_cached,
            "failed": self.effort.failed,
            "notes": list(self.report.notes),
            "files": self.files,
        }


def reproduce_experiment(
    experiment: Experiment,
    plan: Plan,
    folder: Path,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    redraw: bool = False,
    progress: Callable[[float, float, str], None] = lambda total, weight, text: None,
) -> Reproduced:
    """Run what is missing and write the page.

    Parameters
    ----------
    folder : of page, tables, pictures and finished cases. workers, scheduler : see `run_cases`. redraw : also
        use cases that another version of the program finished. progress(total, weight of this step, text).

    Raises
    ------
    ConfigError, HilError : see `run_cases`, `write_page`.
    """
    begin = time.monotonic()
    cases = experiment.cases(plan)
    total = sum(case.weight for case in cases)
    progress(total, 0.0, f"{len(cases)} cases")

    def on_case(case: Case, word: str) -> None:
        progress(total, case.weight, f"{case.key} {word}")

    outcome = run_cases(
        cases,
        ResultCache(folder / "cases", redraw=redraw),
        workers=workers,
        scheduler=scheduler,
        progress=on_case,
    )
    report = experiment.report(plan, outcome.results)
    effort = Effort(
        len(outcome.results), outcome.cached, outcome.failed, outcome.seconds, time.monotonic() - begin
    )
    files = write_page(experiment, plan, report, effort, folder)
    return Reproduced(experiment.name, plan, report, effort, files)


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else shown(value)
