"""Finds, loads and checks SoapySDR's official Python module, also from a virtual environment."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import importlib.machinery
import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from hil.core.errors import DriverUnavailable

_ABI = "0.8"
#: What importing a damaged installation, or an unrelated file of that name, raises.
_BROKEN = (ImportError, OSError, AttributeError, NameError, SyntaxError, TypeError, ValueError, RuntimeError)
_LOCK = threading.Lock()
_LOG = logging.getLogger("hil.soapy.driver")
_LOG.addHandler(logging.NullHandler())  # on the terminal only where the application wants it
#: SoapySDR's levels (1 fatal .. 9 stream indicators) as levels of `logging`.
_LEVELS = {1: 50, 2: 50, 3: 40, 4: 30, 5: 20, 6: 20, 7: 10, 8: 5, 9: 10}
_WARNING = 4
_NOTHING = 0
_logging_of: list[Any] = []


def install_hint(platform: str = sys.platform) -> str:
    """How to get SoapySDR on this platform."""
    if platform == "darwin":
        return "conda install -c conda-forge soapysdr soapysdr-module-remote (or: brew install soapysdr)"
    if platform == "win32":
        return "conda install -c conda-forge soapysdr soapysdr-module-remote (or the PothosSDR installer)"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        "sudo apt-get install -y python3-soapysdr soapysdr-module-remote soapysdr-tools "
        f"(it must be built for this CPython {version}; elsewhere: conda install -c conda-forge soapysdr "
        "soapysdr-module-remote)"
    )


def _folders() -> Iterator[tuple[Path, bool]]:
    """(folder, True if it belongs to this version of Python) where systems put the module."""
    tag = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    conda = os.environ.get("CONDA_PREFIX")
    if conda:
        yield Path(conda, "lib", tag, "site-packages"), True
        yield Path(conda, "Lib", "site-packages"), False  # Windows
    for prefix in ("/usr/local", "/opt/homebrew", "/opt/local"):
        for name in ("dist-packages", "site-packages"):
            yield Path(prefix, "lib", tag, name), True
    yield Path("/usr/lib/python3/dist-packages"), False  # Debian: one folder for all versions
    for lib in ("lib", "lib64"):
        yield Path("/usr", lib, tag, "site-packages"), True
    for program_files in filter(None, (os.environ.get("PROGRAMFILES"),)):
        yield Path(program_files, "PothosSDR", "lib", tag, "site-packages"), True


def find_files() -> tuple[tuple[Path, Path] | None, list[Path]]:
    """(SoapySDR.py, its extension module) that fits this interpreter, and extension modules that do not."""
    misfits: list[Path] = []
    for folder, of_this_version in _folders():
        source = folder / "SoapySDR.py"
        if not source.is_file():
            continue
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            extension = folder / f"_SoapySDR{suffix}"
            # a plain .so says nothing about the interpreter it was built for, but its folder may
            tagged = suffix not in (".so", ".pyd")
            if extension.is_file() and (tagged or of_this_version):
                return (source, extension), misfits
        misfits += sorted(folder.glob("_SoapySDR*"))
    return None, misfits


def _load_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _load() -> ModuleType:
    try:
        return importlib.import_module("SoapySDR")
    except ModuleNotFoundError as err:
        if err.name not in ("SoapySDR", "_SoapySDR") or "SoapySDR" in sys.modules:
            raise DriverUnavailable(f"SoapySDR cannot be loaded: {err}", hint=install_hint()) from err
    except _BROKEN as err:
        raise DriverUnavailable(f"SoapySDR cannot be loaded: {err}", hint=install_hint()) from err
    files, misfits = find_files()
    if files is None:
        found = f"; {misfits[0]} is made for another Python" if misfits else ""
        raise DriverUnavailable(f"SoapySDR's Python module is not installed{found}", hint=install_hint())
    source, extension = files
    try:
        _load_file("_SoapySDR", extension)
        return _load_file("SoapySDR", source)
    except _BROKEN as err:
        sys.modules.pop("_SoapySDR", None)
        raise DriverUnavailable(f"{extension} cannot be loaded: {err}", hint=install_hint()) from err


def import_soapy() -> Any:
    """The `SoapySDR` module: imported, or loaded from where the system keeps it.

    Raises DriverUnavailable when it is missing, built for another Python, of another ABI, or an unrelated
    module of that name is in the way.
    """
    with _LOCK:
        module: Any = _load()
        where = getattr(module, "__file__", "?")
        if not all(hasattr(module, name) for name in ("Device", "SOAPY_SDR_RX", "getABIVersion")):
            raise DriverUnavailable(
                f"the module SoapySDR of this environment ({where}) is not SoapySDR's", hint=install_hint()
            )
        abi = str(module.getABIVersion())
        if abi != _ABI and not abi.startswith(f"{_ABI}-"):
            raise DriverUnavailable(f"{where} has ABI {abi}, {_ABI} is needed", hint=install_hint())
        if module not in _logging_of:
            _quiet(module)
        return module


def _quiet(module: Any) -> None:
    """Messages of the drivers go to `logging` ("hil.soapy.driver"), not to the terminal."""

    def handle(level: int, text: str) -> None:
        _LOG.log(_LEVELS.get(level, 20), "%s", text)

    module.setLogLevel(_WARNING)
    module.registerLogHandler(handle)
    # a thread of a driver that logs while the interpreter ends would call into what is gone
    atexit.register(module.registerLogHandler, None)
    atexit.register(module.setLogLevel, _NOTHING)  # runs first: SoapySDR's own handler writes to the terminal
    _logging_of.append(module)


def native_format(module: Any, device: Any, direction: int, channel: int) -> tuple[str, float] | None:
    """(format, full scale) of the converter, None where that cannot be asked.

    The Python module of Debian's 0.8.1 cannot return the full scale (its argument is a C++ reference), the C
    library can.
    """
    try:
        answer = device.getNativeStreamFormat(direction, channel)
        return str(answer[0]), float(answer[1])
    except (TypeError, IndexError, ValueError):
        pass
    library = _c_library(module)
    if library is None:
        return None
    scale = ctypes.c_double(0.0)
    text = library.SoapySDRDevice_getNativeStreamFormat(
        int(device.this), direction, channel, ctypes.byref(scale)
    )
    if not text:
        return None
    try:
        name = ctypes.string_at(text).decode("ascii", "replace")
    finally:
        library.SoapySDR_free(text)
    return (name, scale.value) if name else None


def _c_library(module: Any) -> Any:
    """The C library that the module has loaded already."""
    abi = str(module.getABIVersion()).split("-")[0]
    for name in (f"libSoapySDR.so.{abi}", f"libSoapySDR.{abi}.dylib", "SoapySDR.dll"):
        try:
            library = ctypes.CDLL(name)
            call, free = library.SoapySDRDevice_getNativeStreamFormat, library.SoapySDR_free
        except (OSError, AttributeError):
            continue
        call.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.POINTER(ctypes.c_double)]
        call.restype = ctypes.c_void_p
        free.argtypes, free.restype = [ctypes.c_void_p], None
        return library
    return None
