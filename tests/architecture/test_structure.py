"""The shape of the repository: file sizes, names, lazy imports, the error tree, the wheel."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hil.core.errors as errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hil", "gui", "drivers", "calib", "sim_backend")
SOURCES = sorted(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


BANNED_STEMS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def test_sources_are_found() -> None:
    assert len(SOURCES) > 20


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=_relative)
def test_file_is_small_and_well_named(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert n_lines <= 400, f"{path.relative_to(ROOT)}: {n_lines} lines, the limit is 400"
    assert path.stem not in BANNED_STEMS


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree), f"{path.relative_to(ROOT)}: no module docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), (
                f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has no docstring"
            )


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_no_pickle_and_no_broad_except_without_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "import pickle" not in text
    assert "allow_pickle=True" not in text
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        broad = node.type is None or (
            isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
        )
        raises_again = isinstance(node.body[-1], ast.Raise)
        if broad and not raises_again:
            assert "noqa: BLE001 - " in lines[node.lineno - 1], (
                f"{_relative(path)}:{node.lineno}: say why everything is caught"
            )


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("hil", ("numpy", "torch", "PySide6", "h5py", "iio")),
        ("hil.core.calibration", ("torch", "PySide6", "h5py", "iio", "adi", "scipy", "matplotlib")),
        ("hil.cli.main", ("torch", "PySide6", "h5py", "iio", "adi", "scipy", "matplotlib")),
        ("hil.session", ("torch", "PySide6", "iio", "adi", "matplotlib")),
        ("calib", ("torch", "PySide6")),
        ("drivers.registry", ("torch", "PySide6", "iio", "adi", "h5py")),
        ("sim_backend.engine", ("torch", "PySide6", "iio", "adi", "h5py")),
    ],
)
def test_import_stays_light(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*[m for m in {forbidden!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.split() == []


def test_version_is_all_that_hil_holds() -> None:
    tree = ast.parse((ROOT / "hil/__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr, ast.Assign]


def test_error_tree_is_exported_and_documented() -> None:
    classes = {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, errors.HilError)}
    assert sorted(classes) == sorted(errors.__all__)
    for name in classes:
        assert name in (errors.__doc__ or ""), f"{name} is not drawn in the tree at the top"
    assert issubclass(errors.DeviceTimeout, TimeoutError)
    assert issubclass(errors.ShapeError, ValueError)
    assert {c.exit_code for c in classes.values()} <= {2, 3, 4}
    assert errors.HilError("what", hint="do this").hint == "do this"


def test_wheel_holds_the_five_packages_and_their_data(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {n.split("/")[0] for n in names if ".dist-info" not in n}
    assert tops == set(PACKAGES)
    data = {
        str(p.relative_to(ROOT))
        for name in PACKAGES
        for p in (ROOT / name).rglob("*")
        if p.suffix in {".toml", ".json"}
    }
    assert data, "no package data found"
    assert data <= set(names)


def test_no_path_of_a_machine_is_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    banned = ("/" + "root/", "/" + "work/", "/" + "home/")
    for name in listed:
        path = ROOT / name
        if (
            name
            and path.suffix in {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ""}
            and path.is_file()
        ):
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [b for b in banned if b in text], name


def test_make_runs_every_folder_of_tests() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        w
        for line in text.splitlines()
        if line.startswith(("COMPUTING", "STREAMING"))
        for w in line.split()[2:]
    }
    there = {
        f"tests/{p.name}" for p in (ROOT / "tests").iterdir() if p.is_dir() and list(p.rglob("test_*.py"))
    }
    assert named == there - {"tests/hardware"}  # opt-in
