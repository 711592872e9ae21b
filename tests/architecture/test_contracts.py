"""Every import contract holds, and every one can fail: a planted import breaks it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hil", "gui", "drivers", "calib", "sim_backend")

#: contract id -> (file that gets a forbidden line, the line)
PLANTED = {
    "floor": ("hil/core/units.py", "import hil.dsp.doa"),
    "floor-packages": ("hil/core/units.py", "import scipy"),
    "simulator-and-learner": ("calib/verdict.py", "import sim_backend.scene"),
    "own-physics": ("sim_backend/scene.py", "import hil.core.steering"),
    "no-shared-codec": ("drivers/iio/rx.py", "import sim_backend.source"),
    "torch": ("hil/dsp/doa.py", "import torch"),
    "qt": ("drivers/registry.py", "import PySide6"),
    "down": ("hil/dsp/doa.py", "import hil.session"),
}


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [str(linter), "--config", "pyproject.toml", "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def _copy(folder: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def test_every_contract_is_tested() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {c["id"] for c in config["tool"]["importlinter"]["contracts"]} == set(PLANTED)


def test_contracts_hold(tmp_path: Path) -> None:
    _copy(tmp_path)
    done = _lint(tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("contract", sorted(PLANTED))
def test_contract_can_fail(contract: str, tmp_path: Path) -> None:
    _copy(tmp_path)
    name, line = PLANTED[contract]
    path = tmp_path / name
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    title = next(c["name"] for c in config["tool"]["importlinter"]["contracts"] if c["id"] == contract)
    done = _lint(tmp_path)
    assert done.returncode == 1
    assert f"{title} BROKEN" in done.stdout
