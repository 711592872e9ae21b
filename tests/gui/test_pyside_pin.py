"""The pin of PySide6: 6.12.0 on Python 3.11 drops references to None and aborts under pyqtgraph; 6.9.1 and 6.9.2 break it, too."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyqtgraph as pg
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
NAME = "pyside6-essentials"


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


def test_the_package_refuses_the_broken_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = next(r for r in map(Requirement, project["dependencies"]) if _normal(r.name) == NAME)
    for broken in ("6.12.0", "6.9.1", "6.9.2"):
        assert broken not in wanted.specifier


def test_what_is_installed_is_what_is_pinned_and_allowed() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    pinned = next(value for name, value in pins if _normal(name) == NAME)
    assert version(NAME) == pinned.split()[0]


def test_plots_do_not_lose_references_to_none(qtbot) -> None:
    """The fault of 6.12.0, as it showed: each repaint took references to None that it had not been given."""
    plot = pg.PlotWidget()
    qtbot.addWidget(plot)
    plot.show()
    curve = plot.plot()
    x = np.arange(200.0)
    before = sys.getrefcount(None)
    for k in range(100):
        curve.setData(x, np.sin(x + k))
        plot.grab()
    lost = before - sys.getrefcount(None)
    assert lost < 100, f"{lost} references to None were lost in 100 pictures"
