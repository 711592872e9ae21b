"""The read path against pyadi-iio's own rx(), on the same emulator with its samples cached."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_cases import emulator_scene
from hil.core.device import RxConfig

_SERVER = """
import sys
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.serve import IioServers

class Cached:
    def __init__(self, inner):
        self._inner, self._blocks = inner, {}
    def __getattr__(self, name):
        return getattr(self._inner, name)
    def read(self, board, first, n):
        if (board, n) not in self._blocks:
            self._blocks[board, n] = self._inner.read(board, 0, n)
        return self._blocks[board, n]

source = Cached(ArrayEngine(parse_scene(sys.argv[1]), free_running=True))
with IioServers(source, host="127.0.21.1", port=0, free_running=True) as servers:
    print(servers.uris[0], flush=True)
    sys.stdin.read()
"""
_BLOCK = 2**17


@pytest.fixture
def uri() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER, emulator_scene("fmcomms5")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.communicate(timeout=20.0)


def _our_rate(uri: str, seconds: float) -> float:
    with open_device(f"iio:{uri}") as device:
        stream = device.configure(RxConfig(block_samples=_BLOCK))
        out = np.zeros((_BLOCK, stream.n_channels, 2), np.int16)
        device.start()
        device.read(out, 10.0)
        began, n = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            n += device.read(out, 10.0).n
        return n / (time.monotonic() - began)


def _their_rate(uri: str, seconds: float) -> float:
    import adi

    sdr = adi.FMComms5(uri=uri)
    sdr.rx_buffer_size = _BLOCK
    sdr.rx()
    began, n = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        n += len(sdr.rx()[0])
    rate = n / (time.monotonic() - began)
    sdr.rx_destroy_buffer()
    return rate


def test_reading_is_faster_than_pyadi_rx(uri: str) -> None:
    """A guard; how much faster is measured by `hil bench`."""
    ratios = [_our_rate(uri, 0.7) / _their_rate(uri, 0.7) for _ in range(3)]
    assert max(ratios) >= 2.0, ratios
