"""A tiny experiment, not listed for users: shows that runner, cache, cluster and page work on this machine."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hil.core.errors import HilError
from hil.reproduce.experiment import Case, Check, Picture, Plan, Report, Table


def square(seed: int, fail: bool = False, seconds: float = 0.0) -> dict[str, Any]:
    """Mean square of random numbers; raises HilError if asked to."""
    if fail:
        raise HilError("asked to fail")
    time.sleep(seconds)
    values = np.random.default_rng(seed).standard_normal(1000)
    return {
        "mean": float(np.mean(values**2)),
        "pid": os.getpid(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _draw(figure: Figure, values: list[float]) -> None:
    figure.add_subplot().plot(values)


class SelfTest:
    """Mean of squares over seeds."""

    name = "selftest"
    title = "Self-test"
    source = "none"
    intro = "Mean square of normal numbers."

    def __init__(self, *, failing: int = -1, seconds: float = 0.0) -> None:
        self._failing = failing
        self._seconds = seconds

    def cases(self, plan: Plan) -> list[Case]:
        """One case per seed."""
        count = plan.seeds or (2 if plan.quick else 6)
        return [
            Case(
                f"seed{i}",
                "hil.reproduce.selftest:square",
                {"seed": i, "fail": i == self._failing, "seconds": self._seconds},
            )
            for i in range(count)
        ]

    def report(self, plan: Plan, results: dict[str, dict[str, Any]]) -> Report:
        """Rows by seed, a picture, a check."""
        del plan
        means = {key: result["mean"] for key, result in sorted(results.items())}
        table = Table("means", "Means", ("seed", "mean"), tuple(means.items()))
        picture = Picture("means", "Means", lambda figure: _draw(figure, list(means.values())))
        overall = float(np.mean(list(means.values()))) if means else float("nan")
        return Report(
            (table,), (picture,), (Check("mean", "1", f"{overall:.3f}", "0.8..1.2", 0.8 < overall < 1.2),)
        )


EXPERIMENT = SelfTest()
