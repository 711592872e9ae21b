"""What this machine has and lacks: libraries, permissions, display, disk.

Each check is a function that returns a `Finding`; a missing thing names the command that mends it.
"""

from __future__ import annotations

import ctypes.util
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hil
from hil.core.errors import HilError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `needed_for` says what does not work without it."""

    name: str
    ok: bool
    found: str
    needed_for: str = ""
    remedy: str = ""
    required: bool = True


def _package(name: str, module: str, needed_for: str, *, required: bool = True) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", needed_for, f"pip install {name}", required)
    try:
        importlib.import_module(module)
    except Exception as err:  # noqa: BLE001 - a broken installation can raise anything; the report names it
        return Finding(
            name,
            False,
            f"{version}, but importing fails: {err}",
            needed_for,
            f"pip install --force-reinstall {name}",
            required,
        )
    return Finding(name, True, version, needed_for, required=required)


def check_python() -> Finding:
    """The interpreter."""
    return Finding(
        "python",
        sys.version_info >= (3, 11),
        platform.python_version(),
        "everything",
        "install Python 3.11 or newer",
    )


def check_torch() -> Finding:
    """torch: gradient-based methods; the closed-form learner runs without."""
    return _package("torch", "torch", "gradient-based learning", required=False)


def check_libiio() -> Finding:
    """The C library that pip never ships."""
    remedy = "apt-get install libiio0 (macOS, Windows: installer of Analog Devices, see docs)"
    path = ctypes.util.find_library("iio")
    if path is None:
        return Finding(
            "libiio", False, "C library not found", "IIO boards (Pluto, FMComms5, ADRV9009)", remedy
        )
    try:
        iio = importlib.import_module("iio")
    except (ImportError, OSError, AttributeError) as err:
        return Finding(
            "libiio",
            False,
            f"{path}, but the Python binding fails: {err}",
            "IIO boards",
            "pip install 'pylibiio>=0.25,<1'",
        )
    if not hasattr(iio, "Context"):
        return Finding(
            "libiio",
            False,
            "the module 'iio' is an unrelated package",
            "IIO boards",
            "pip uninstall iio; pip install 'pylibiio>=0.25,<1'",
        )
    return Finding("libiio", True, ".".join(str(v) for v in iio.version[:2]), "IIO boards")


def check_pyadi() -> Finding:
    """pyadi-iio configures the boards. Importing it needs libiio."""
    try:
        return Finding("pyadi-iio", True, importlib.metadata.version("pyadi-iio"), "IIO boards")
    except importlib.metadata.PackageNotFoundError:
        return Finding("pyadi-iio", False, "not installed", "IIO boards", "pip install pyadi-iio==0.0.21")


def check_soapy() -> Finding:
    """SoapySDR's Python module (not on PyPI) and what its modules say when they are loaded."""
    from drivers.soapy.binding import import_soapy, install_hint
    from drivers.soapy.finder import list_modules

    needed = "SoapySDR devices"
    try:
        soapy = import_soapy()
        modules = list_modules()
    except HilError as err:
        return Finding("SoapySDR", False, str(err), needed, getattr(err, "hint", ""), required=False)
    version = f"{soapy.getLibVersion()} ({Path(soapy.__file__).parent})"
    broken = [m for m in modules if m["error"]]
    if broken:
        first = broken[0]
        found = f"{version}; {len(broken)} module(s) do not load: {first['path']}: {first['error']}"
        return Finding("SoapySDR", False, found, needed, "reinstall or remove that module", required=False)
    names = ", ".join(f"{m['drivers']} {m['version']}".strip() for m in modules)
    found = f"{version}; modules: {names or 'none'}"
    if not any("remote" in m["drivers"].split(", ") for m in modules):
        return Finding(
            "SoapySDR",
            False,
            found,
            "soapy:driver=remote,... (also the emulator)",
            install_hint(),
            required=False,
        )
    return Finding("SoapySDR", True, found, needed, required=False)


def check_rotctld() -> Finding:
    """Hamlib's rotator daemon."""
    path = shutil.which("rotctld")
    return Finding(
        "rotctld",
        path is not None,
        path or "not found",
        "turntables through Hamlib",
        "apt-get install libhamlib-utils",
        required=False,
    )


def check_qt() -> Finding:
    """PySide6 and the libraries it loads at run time."""
    finding = _package("PySide6-Essentials", "PySide6.QtWidgets", "the desktop application", required=False)
    if finding.ok or "importing fails" not in finding.found:
        return finding
    return Finding(
        finding.name,
        False,
        finding.found,
        finding.needed_for,
        "apt-get install libegl1 libgl1 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1",
        required=False,
    )


def check_display() -> Finding:
    """A screen to open windows on."""
    if sys.platform in ("win32", "darwin"):
        return Finding("display", True, sys.platform, "the desktop application", required=False)
    value = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or ""
    return Finding(
        "display",
        bool(value),
        value or "none",
        "the desktop application",
        "work headless with --no-gui, or start under a desktop or xvfb-run",
        required=False,
    )


def check_usb() -> Finding:
    """Permission to talk to USB boards."""
    nodes = list(Path("/dev/bus/usb").glob("*/*"))
    if not nodes:
        return Finding("usb", True, "no USB bus visible", "iio:usb: boards", required=False)
    blocked = [n for n in nodes if not os.access(n, os.W_OK)]
    ok = len(blocked) < len(nodes) or os.geteuid() == 0
    return Finding(
        "usb",
        ok,
        f"{len(nodes)} devices, {len(nodes) - len(blocked)} writable",
        "iio:usb: boards",
        "install the udev rules of libiio (docs: hardware)",
        required=False,
    )


def check_disk() -> Finding:
    """Room for recordings."""
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(
        "disk",
        free_gb > 2,
        f"{free_gb:.1f} GB free here",
        "recordings (8 channels at 2.5 MS/s: 80 MB/s)",
        "free some space or record elsewhere",
        required=False,
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    check_python,
    lambda: _package("numpy", "numpy", "everything"),
    lambda: _package("scipy", "scipy.linalg", "everything"),
    lambda: _package("h5py", "h5py", "calibration files"),
    lambda: _package("sigmf", "sigmf", "validation of recordings"),
    check_torch,
    check_libiio,
    check_pyadi,
    check_qt,
    check_display,
    check_soapy,
    check_rotctld,
    check_usb,
    check_disk,
)


def examine() -> list[Finding]:
    """Run all checks."""
    return [check() for check in CHECKS]


def bundle(findings: list[Finding]) -> dict[str, Any]:
    """What a bug report needs: versions, system, findings; no personal data beyond the platform."""
    versions = sorted({f"{d.metadata['Name']}=={d.version}" for d in importlib.metadata.distributions()})
    return {
        "hil": hil.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "findings": [asdict(f) for f in findings],
        "packages": versions,
    }
