"""Lists SoapySDR devices and modules in a process of their own, driver by driver and with a deadline.

Looking for devices runs the code of every vendor's module: some print, take seconds, or crash. None of that may
reach the caller. Network drivers ask the whole network by multicast: they run only on demand.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drivers.soapy.binding import import_soapy

#: Drivers that look for devices on the network, and those that are no radios.
_NETWORK = frozenset({"remote", "redpitaya", "rfspace", "plutosdr"})
_LEFT_OUT = frozenset({"null", "audio"})
#: What keeps a driver for both from asking the network.
_LOCAL_ONLY = {"uhd": {"type": "b200"}}
_DEADLINE_S = 20.0
_PER_DRIVER_S = 6.0


def list_soapy(*, discover: bool = False) -> list[dict[str, Any]]:
    """Devices of the local drivers; with `discover` also those on the network. Raises DriverUnavailable.

    A driver that crashes or does not return is left out.
    """
    import_soapy()
    rows: list[dict[str, Any]] = []
    for answer in _ask(["--discover"] if discover else []):
        if "device" in answer:
            rows.append(_row(answer["driver"], answer["device"]))
    return rows


def list_modules() -> list[dict[str, str]]:
    """SoapySDR's modules: path, drivers, version, error. Raises DriverUnavailable."""
    import_soapy()
    return [a["module"] for a in _ask(["--modules"]) if "module" in a]


def _row(driver: str, found: dict[str, str]) -> dict[str, Any]:
    keys = [k for k in ("remote", "remote:driver", "serial", "device_id", "addr", "label") if found.get(k)]
    if "serial" in keys:
        keys = [k for k in keys if k in ("remote", "remote:driver", "serial")]
    args = ",".join(f"{k}={found[k]}" for k in keys if not set(found[k]) & set(",;="))
    kind = found.get("remote:driver") or driver
    return {
        "uri": f"soapy:driver={driver}" + (f",{args}" if args else ""),
        "driver": "soapy",
        "model": found.get("label") or found.get("product") or found.get("device") or kind,
        "serial": found.get("serial", ""),
        "n_channels": None,  # opening it to count them would load firmware and stop another program's stream
    }


def _ask(options: list[str]) -> list[dict[str, Any]]:
    """Run the other process, again without the driver it died in, until all have been asked."""
    answers: list[dict[str, Any]] = []
    skip: list[str] = []
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        try:
            lines = _run([*options, *(f"--skip={name}" for name in skip)], deadline)
        except (OSError, subprocess.SubprocessError):
            break
        answers += [a for a in lines if "device" in a or "module" in a]
        begun = [a["begin"] for a in lines if "begin" in a]
        if not begun or any("done" in a for a in lines):
            break
        skip += begun  # the last one is the culprit, the others have answered
    return answers


def _run(options: list[str], deadline: float) -> list[dict[str, Any]]:
    """The lines of one run; it is killed when a driver takes too long."""
    with tempfile.TemporaryDirectory(prefix="hil-soapy-") as folder:
        target = Path(folder, "answers")  # not a pipe: modules print to whatever they inherit
        target.touch()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "drivers.soapy.finder", str(target), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            size, since = 0, time.monotonic()
            while time.monotonic() < min(deadline, since + _PER_DRIVER_S):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
                    break
                if target.stat().st_size != size:
                    size, since = target.stat().st_size, time.monotonic()
        finally:
            process.kill()
            process.wait(5.0)
        return _lines(target.read_text("utf-8", errors="replace"))


def _lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # the last one of a process that was killed
            found.append(json.loads(line))
    return found


# ---- the other process ------------------------------------------------------------------------------------


def _main(arguments: list[str]) -> None:
    target = Path(arguments[0])
    skip = {a.removeprefix("--skip=") for a in arguments if a.startswith("--skip=")}
    with target.open("w", encoding="utf-8") as out:

        def say(**answer: Any) -> None:
            out.write(json.dumps(answer) + "\n")
            out.flush()

        soapy = import_soapy()
        with_modules, discover = "--modules" in arguments, "--discover" in arguments
        for path in (str(p) for p in soapy.listModules()):
            if path in skip:
                continue
            say(begin=path)
            error = str(soapy.loadModule(path))
            result = soapy.getLoaderResult(path)
            drivers = [str(k) for k in result.keys()]  # noqa: SIM118 - a C++ map
            if with_modules:
                version = str(soapy.getModuleVersion(path))
                say(module={"path": path, "drivers": ", ".join(drivers), "version": version, "error": error})
                continue
            for driver in drivers:
                if driver in skip or driver in _LEFT_OUT or (driver in _NETWORK and not discover):
                    continue
                say(begin=driver)
                # a driver's own errors are its own: it is then not in the list
                with contextlib.suppress(Exception):
                    for found in soapy.Device.enumerate(
                        {"driver": driver} | ({} if discover else _LOCAL_ONLY.get(driver, {}))
                    ):
                        say(driver=driver, device={str(k): str(found[k]) for k in found.keys()})  # noqa: SIM118
        say(done=True)
        out.flush()
        os._exit(0)  # some modules crash when they are unloaded


if __name__ == "__main__":
    _main(sys.argv[1:])
