"""Conformance checks: samples, deadlines, events, losses."""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from typing import Any

import numpy as np

from drivers.conformance_case import (
    STOP_S,
    TOLERANCE,
    Case,
    NonConformance,
    must_raise,
    require,
    running,
    wire_buffer_for,
)
from hil.core.device import RxConfig
from hil.core.errors import (
    ConnectionLost,
    DeviceStateError,
    DeviceTimeout,
    DriverUnavailable,
    StreamStopped,
    UnsupportedSetting,
)
from hil.core.frame import FrameFlag

# ---- samples ----------------------------------------------------------------------------------------------


def check_samples(case: Case) -> None:
    """Shape, full scale, and nothing written behind the n samples of the result."""
    with running(case) as (device, stream, buffer):
        mark = 12345
        for size in (len(buffer), 100, 1):
            buffer[...] = mark
            result = device.read(buffer[:size], 5.0)
            require(1 <= result.n <= size, f"n = {result.n} of {size}")
            require(bool((buffer[size:] == mark).all()), "wrote behind the caller's buffer")
            got = buffer[: result.n].astype(float)
            top = 2.0 ** (device.info.full_scale_bits - 1) if buffer.dtype.kind == "i" else 1.0
            require(float(np.abs(got).max()) <= top, f"samples beyond full scale {top:g}")
            if size == len(buffer):
                require(bool((got.std(axis=(0, 2)) > 0).all()), "a channel is constant")
            require(result.stream == stream or result.stream.config == stream.config, "another StreamInfo")
            require(abs(result.t_utc_ns) > 0 and result.t_mono_ns > 0, "no time stamps")


def check_counting(case: Case) -> None:
    """first_sample begins at 0 and grows by n; a jump is flagged, and lost_before tells how far."""
    with running(case) as (device, _stream, buffer):
        expected = 0
        for k in range(40):
            size = (len(buffer), 1000, 17)[k % 3]
            try:
                result = device.read(buffer[:size], 5.0)
            except StreamStopped:
                require(case.finite and k > 0, "the stream ended by itself")
                return
            jump = result.first_sample - expected
            gap = bool(result.flags & FrameFlag.GAP_BEFORE)
            if result.lost_before is None:
                require(gap and jump >= 0, f"read {k}: lost_before None without GAP_BEFORE")
            else:
                require(
                    k == 0 or jump == result.lost_before, f"read {k}: jump {jump}, lost {result.lost_before}"
                )
                require(
                    gap == (result.lost_before > 0), f"read {k}: GAP_BEFORE {gap}, lost {result.lost_before}"
                )
            expected = result.first_sample + result.n


# ---- deadlines --------------------------------------------------------------------------------------------


def _long_block(case: Case) -> RxConfig:
    """About a second in one block: reads must wait for it where the device follows the clock."""
    with case.open() as device:
        fs_hz = device.configure(RxConfig()).config.fs_hz or 1.0
    return RxConfig(block_samples=int(fs_hz)) if case.real_time else RxConfig()


def check_stop_unblocks(case: Case) -> None:
    """stop() from another thread ends a blocked read with StreamStopped."""
    with case.open() as device:
        stream = device.configure(_long_block(case))
        device.start()
        buffer = wire_buffer_for(device, stream)
        ended: list[BaseException] = []
        reading = threading.Event()

        def read_on() -> None:
            try:
                while True:
                    reading.set()
                    device.read(buffer, 30.0)
            except BaseException as err:  # noqa: BLE001 - top of the thread; judged below
                ended.append(err)

        thread = threading.Thread(target=read_on, daemon=True)
        thread.start()
        reading.wait(5.0)
        thread.join(0.05)
        began = time.monotonic()
        device.stop()
        thread.join(TOLERANCE * STOP_S)
        took = time.monotonic() - began
        require(not thread.is_alive(), f"a blocked read did not end within {took:.2f} s of stop()")
        allowed = (StreamStopped,) if case.real_time else (StreamStopped, DeviceStateError)
        require(isinstance(ended[0], allowed), f"a blocked read ended with {ended[0]!r}")


_CATCH_UP_S = 10.0


def check_timeout(case: Case) -> None:
    """A read that gets nothing raises DeviceTimeout when its time is over; the stream goes on after it."""
    with running(case, _long_block(case)) as (device, _, buffer):
        if not case.real_time:
            device.read(buffer, 5.0)
            return
        timeout_s = 0.05
        began = time.monotonic()
        end = time.monotonic() + _CATCH_UP_S
        with must_raise("no block within the timeout", DeviceTimeout):
            # blocks that are there already come at once, on a busy machine several
            while time.monotonic() < end:
                began = time.monotonic()
                device.read(buffer, timeout_s)
        took = time.monotonic() - began
        require(
            0.5 * timeout_s <= took <= TOLERANCE * timeout_s, f"a timeout of {timeout_s} s took {took:.3f} s"
        )
        require(device.read(buffer, 10.0).n > 0, "no samples after a timeout")


def check_close(case: Case) -> None:
    """close is idempotent and leaves neither descriptors nor threads, also with the stream running."""
    _open_and_close(case, streaming=True)
    files, threads = _resources()
    for k in range(case.n_reopen):
        _open_and_close(case, streaming=k % 25 == 0)
    deadline = time.monotonic() + 5.0
    while _resources() > (files, threads) and time.monotonic() < deadline:
        gc.collect()
    now = _resources()
    require(
        now[0] <= files and now[1] <= threads,
        f"{case.n_reopen} times open and close: {files} -> {now[0]} descriptors, {threads} -> {now[1]} threads",
    )


def _open_and_close(case: Case, streaming: bool) -> None:
    device = case.open()
    if streaming:
        stream = device.configure(RxConfig())
        device.start()
        device.read(wire_buffer_for(device, stream), 5.0)
    device.close()
    device.close()


def _resources() -> tuple[int, int]:
    """Open descriptors (0 where the system does not list them) and threads."""
    folder = "/proc/self/fd"
    return (len(os.listdir(folder)) if os.path.isdir(folder) else 0), threading.active_count()  # noqa: PTH112, PTH208


# ---- events -----------------------------------------------------------------------------------------------


def check_retune(case: Case) -> None:
    """After configure on a running stream no sample comes under the old settings or epoch."""
    with running(case) as (device, stream, buffer):
        first = device.read(buffer, 5.0)
        caps = device.caps
        fc_hz = stream.config.fc_hz or 0.0
        other = fc_hz + 1e7 if caps.fc_hz.contains(fc_hz + 1e7) else fc_hz - 1e7
        try:
            tuned = device.configure(RxConfig(fc_hz=other))
        except UnsupportedSetting:
            require(case.finite, "a carrier within caps was refused")
            return
        require(tuned.epoch != stream.epoch, "a retune did not start a new epoch")
        seen = first.first_sample + first.n
        for k in range(5):
            result = device.read(buffer, 5.0)
            require(result.stream == tuned, f"read {k} after the retune carries the old StreamInfo")
            require(result.first_sample >= seen, "first_sample went back after the retune")
            retuned = bool(result.flags & FrameFlag.RETUNED)
            require(retuned == (k == 0), f"read {k} after the retune: RETUNED is {retuned}")
            seen = result.first_sample + result.n


def check_no_stale_samples(case: Case) -> None:
    """The very first samples after a gain step have the new level: nothing from the old buffers."""
    with running(case) as (device, _stream, buffer):
        limits = device.caps.gain_db
        try:
            high = min(limits.maximum, limits.minimum + 40.0)
            device.configure(RxConfig(gain_db=high))
            device.read(buffer, 5.0)
            device.configure(RxConfig(gain_db=limits.minimum))
        except UnsupportedSetting:
            require(case.finite, "a gain within caps was refused")
            return
        levels = []
        for _ in range(3):
            n = device.read(buffer, 5.0).n
            levels.append(float(np.mean(np.square(buffer[: max(n // 4, 1)].astype(float)))) + 1.0)
        ratio_db = 10 * math.log10(levels[0] / levels[-1])
        require(abs(ratio_db) < 6.0, f"the first samples after a gain step are {ratio_db:.1f} dB off")


def check_slow_reader(case: Case) -> None:
    """A reader that pauses longer than the buffers hold is told of the loss, unless caps say it cannot be."""
    if not case.real_time:
        return
    with running(case) as (device, stream, buffer):
        device.read(buffer, 5.0)
        threading.Event().wait(2.0)  # the pause under test
        fs_hz = stream.config.fs_hz or 1.0
        seen, deadline = 0, time.monotonic() + 20.0
        while seen < 2.5 * fs_hz and time.monotonic() < deadline:
            result = device.read(buffer, 5.0)
            seen += result.n
            if result.flags & FrameFlag.OVERFLOW:
                require(bool(result.flags & FrameFlag.GAP_BEFORE), "OVERFLOW without GAP_BEFORE comes first")
                require(result.lost_before != 0, "GAP_BEFORE with lost_before 0")
                return
        require(not device.caps.reports_overflow, "2 s without reading: no overflow was reported")


def check_disconnect(case: Case) -> None:
    """A connection that is cut ends a read with ConnectionLost, every later read too, and close still works."""
    if case.disconnect is None:
        return
    with running(case) as (device, _stream, buffer):
        device.read(buffer, 5.0)
        case.disconnect()
        for k in range(2):
            with must_raise(f"read {k} without connection", ConnectionLost):
                deadline = time.monotonic() + 10.0
                while time.monotonic() < deadline:
                    device.read(buffer, 10.0)
        began = time.monotonic()
        device.close()
        require(time.monotonic() - began < 10.0, "close without connection took more than 10 s")


def check_missing_library(case: Case) -> None:
    """Without its library the driver raises DriverUnavailable with a hint."""
    if not case.library:
        return
    hidden: dict[str, Any] = {
        name: module
        for name, module in sys.modules.items()
        if name == case.library or name.startswith(case.library + ".")
    }
    sys.modules.update(dict.fromkeys([case.library, *hidden]))  # pyright: ignore[reportArgumentType, reportCallIssue]
    try:
        case.open().close()
    except DriverUnavailable as err:
        require(bool(err.hint), "DriverUnavailable without a hint")
    else:
        raise NonConformance(f"opened without the module {case.library}")
    finally:
        sys.modules.pop(case.library)
        sys.modules.update(hidden)
