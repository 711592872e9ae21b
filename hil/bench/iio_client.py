"""One client of `hil bench iio`, in a process of its own.

    python -m hil.bench.iio_client ours|pyadi URI BLOCKS

Prints the seconds of processor and of wall clock that so many blocks took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from drivers.convert import wire_buffer
from drivers.registry import open_device
from hil.core.device import RxConfig

#: Samples of a block.
BLOCK = 1 << 17
#: Read before the clock starts: queues are filled, and their memory is there.
_WARM_BLOCKS = 12


def _timed(read: Callable[[], Any], blocks: int) -> tuple[float, float]:
    for _ in range(_WARM_BLOCKS):
        read()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(blocks):
        read()
    return time.process_time() - cpu, time.perf_counter() - wall


def ours(uri: str, blocks: int) -> tuple[float, float]:
    """(cpu, wall) seconds of our driver."""
    with open_device(f"iio:{uri}") as device:
        stream = device.configure(RxConfig(gain_db=30.0, block_samples=BLOCK))
        out = wire_buffer(BLOCK, stream.n_channels, device.info.wire)
        device.start()
        taken = 0

        def read() -> None:
            nonlocal taken
            while taken < BLOCK:
                taken += device.read(out, 10.0).n
            taken -= BLOCK

        result = _timed(read, blocks)
        device.stop()
    return result


def pyadi(uri: str, blocks: int) -> tuple[float, float]:
    """(cpu, wall) seconds of pyadi-iio's `rx()`."""
    import adi  # pyright: ignore[reportMissingTypeStubs]

    sdr = adi.FMComms5(uri=uri)  # pyright: ignore[reportAbstractUsage]
    sdr.rx_enabled_channels = [0, 1, 2, 3]
    sdr.rx_buffer_size = BLOCK
    try:
        return _timed(sdr.rx, blocks)
    finally:
        sdr.rx_destroy_buffer()


if __name__ == "__main__":
    who, address, count = sys.argv[1:]
    sys.stdout.write(json.dumps({"ours": ours, "pyadi": pyadi}[who](address, int(count))) + "\n")
