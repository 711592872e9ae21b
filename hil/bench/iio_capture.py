"""Capture over IIOD from the emulated board: our driver against pyadi-iio's `rx()`, both with real libiio.

The emulator runs in a process of its own and makes every sample; the client's own cost is its CPU time per
sample. The rate on the wall clock is that of emulator, network stack and client together.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.convert import wire_buffer
from drivers.registry import open_device
from hil.bench.measure import Row, StageReport, at_least
from hil.core.device import RxConfig
from hil.core.errors import DriverUnavailable
from hil.sim_server import free_address, serve

_BLOCK = 1 << 17
_SCENE = '[array]\nn_elements = 4\n[receiver]\nboard = "fmcomms5"\n'
_HINT = "pip install pyadi-iio==0.0.21 pylibiio==0.25, and libiio 0.24 to 0.26 (hil doctor)"


def run(quick: bool) -> StageReport:
    """4 channels, free-running emulator, clients in turn."""
    blocks, rounds = (8, 1) if quick else (32, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = folder / "scene.toml"
        scene.write_text(_SCENE, encoding="utf-8")
        address = free_address()
        with serve(folder, scene=scene, iio=address, free_running=True) as server:
            uri = server.iio[0]
            try:
                found: dict[str, list[tuple[float, float]]] = {"ours": [], "pyadi-iio rx()": []}
                for _ in range(rounds):
                    found["ours"].append(_ours(uri, blocks))
                    found["pyadi-iio rx()"].append(_pyadi(uri, blocks))
            except (ImportError, DriverUnavailable) as err:
                return StageReport((), {"libiio and pyadi-iio": _HINT}, (str(err),))
    n = blocks * _BLOCK
    case = f"4 channels, blocks of {_BLOCK}"
    median = {who: [statistics.median(v) for v in zip(*runs, strict=True)] for who, runs in found.items()}
    rows = []
    for who, (cpu_s, wall_s) in median.items():
        note = f"{n / wall_s / 1e6:.1f} MS/s a channel on the wall clock, emulator included"
        ratio = None if who == "ours" else cpu_s / median["ours"][0]
        row = Row(case, who, n / cpu_s / 1e6, "MS/s a channel per client core", cpu_s, wall_s, ratio, note)
        rows.append(row if ratio is None else at_least(row, 15.0, ratio, "it takes 15 times as long"))
    return StageReport(tuple(rows))


def _timed(read: Callable[[], Any], blocks: int) -> tuple[float, float]:
    read()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(blocks):
        read()
    return time.process_time() - cpu, time.perf_counter() - wall


def _ours(uri: str, blocks: int) -> tuple[float, float]:
    with open_device(f"iio:{uri}") as device:
        stream = device.configure(RxConfig(gain_db=30.0, block_samples=_BLOCK))
        out = wire_buffer(_BLOCK, stream.n_channels, device.info.wire)
        device.start()
        taken = 0

        def read() -> None:
            nonlocal taken
            while taken < _BLOCK:
                taken += device.read(out, 10.0).n
            taken -= _BLOCK

        result = _timed(read, blocks)
        device.stop()
    return result


def _pyadi(uri: str, blocks: int) -> tuple[float, float]:
    import adi  # pyright: ignore[reportMissingTypeStubs]

    sdr = adi.FMComms5(uri=uri)  # pyright: ignore[reportAbstractUsage]
    sdr.rx_enabled_channels = [0, 1, 2, 3]
    sdr.rx_buffer_size = _BLOCK
    try:
        return _timed(sdr.rx, blocks)
    finally:
        sdr.rx_destroy_buffer()
