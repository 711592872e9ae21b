"""Conformance checks of transmitters: samples, silence at every end, what the receiver notices, losses."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drivers.conformance_case import NonConformance, must_raise, require, wire_buffer_for
from drivers.conformance_tx_case import (
    TxCase,
    TxOutside,
    levels_of,
    opened,
    require_sending,
    require_silent,
    tone,
)
from hil.core.device import RxConfig, TxConfig, TxDevice
from hil.core.errors import CaptureError, ConnectionLost, DeviceTimeout, HilError, UnsupportedSetting
from hil.core.frame import FrameFlag

_MODEST = 0.25  # of the attenuator's range, from the quiet end


def _raise_power(transmitter: TxDevice) -> None:
    limits = transmitter.caps.attenuation_db
    step = limits.step or 0.25
    level = round((limits.maximum - _MODEST * (limits.maximum - limits.minimum)) / step) * step
    transmitter.configure(TxConfig(attenuation_db=level))


def check_cyclic(case: TxCase) -> None:
    """A waveform is sent until stop, and replaced by the next; stop closes the attenuator and is idempotent."""
    with opened(case) as (_, transmitter):
        greatest_db = transmitter.caps.attenuation_db.maximum
        _raise_power(transmitter)
        asked = levels_of(transmitter.configure(TxConfig()))
        transmitter.send_cyclic(tone(1, 4096))
        seen = require_sending(case, "a waveform")
        if seen.attenuation_db is not None:
            require(
                abs(seen.attenuation_db[0] - asked[0]) < 1e-3,
                f"attenuation {seen.attenuation_db}, asked {asked}",
            )
        transmitter.send_cyclic(tone(1, 1000, cycles=-3))
        require_sending(case, "another waveform")
        require(
            levels_of(transmitter.configure(TxConfig())) == asked, "a new waveform changed the attenuation"
        )
        transmitter.stop()
        require_silent(case, "after stop", greatest_db=greatest_db)
        require(levels_of(transmitter.configure(TxConfig())) == (greatest_db,), "stop left power configured")
        transmitter.stop()
        transmitter.send_cyclic(tone(1, 4096))
        require(levels_of(transmitter.configure(TxConfig())) == (greatest_db,), "sending raised the power")


def check_any_period(case: TxCase) -> None:
    """Periods of any length are sent or refused by UnsupportedSetting, on any channels."""
    with opened(case) as (_, transmitter):
        n = transmitter.caps.n_channels
        transmitter.configure(TxConfig(channels=tuple(reversed(range(n)))))
        for length in (1, 2, 7, 1001, 30_011):
            try:
                transmitter.send_cyclic(tone(n, length))
            except UnsupportedSetting as err:
                require(bool(str(err.allowed)), f"a period of {length} is refused without the allowed ones")
                continue
            require_sending(case, f"a period of {length}")


def check_full_scale(case: TxCase) -> None:
    """+1 and -1 on I and Q are sent: nothing raises."""
    with opened(case) as (_, transmitter):
        corners = np.array([[1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j]], np.complex64)
        transmitter.send_cyclic(np.tile(corners, (1, 512)))
        require_sending(case, "full scale")


def check_receiver_goes_on(case: TxCase) -> None:
    """Waveforms come, change and go while the receiver streams: no gap, no new epoch, but a flag."""
    with opened(case) as (device, transmitter):
        stream = device.configure(RxConfig())
        transmitter.configure(TxConfig(fc_hz=stream.fc_hz))  # before the start: it may begin a new epoch
        device.start()
        buffer = wire_buffer_for(device, stream)
        first = device.read(buffer, 5.0)
        expected, epoch = first.first_sample + first.n, first.stream.epoch
        require(not first.flags & FrameFlag.TRANSMITTING, "TRANSMITTING before anything was sent")
        for k in range(6):
            if k < 4:
                transmitter.send_cyclic(tone(1, 2048 + 64 * k))
            if k == 4:
                transmitter.stop()
            result = device.read(buffer, 5.0)
            lost = bool(result.flags & (FrameFlag.GAP_BEFORE | FrameFlag.RETUNED))
            require(not lost and result.first_sample == expected, f"read {k}: {result.flags!r}, a gap")
            require(result.stream.epoch == epoch, f"read {k}: a new epoch")
            sending = bool(result.flags & FrameFlag.TRANSMITTING)
            require(sending == (k < 4), f"read {k}: TRANSMITTING is {sending}")
            expected += result.n


def check_rate_change(case: TxCase) -> None:
    """Another rate of the receiver ends what was made for the old one."""
    with opened(case) as (device, transmitter):
        fs_hz = device.configure(RxConfig()).fs_hz
        other = fs_hz * 0.8
        if device.caps.fs_fixed_hz or not device.caps.fs_hz.contains(other):
            return
        _raise_power(transmitter)
        transmitter.send_cyclic(tone(1, 4096))
        device.configure(RxConfig(fs_hz=other))
        try:
            greatest_db = transmitter.caps.attenuation_db.maximum
            require_silent(case, "after a change of the rate", greatest_db=greatest_db)
            taken = transmitter.configure(TxConfig()).fs_hz or 0.0
            require(abs(taken - other) <= 10.0, f"fs_hz {taken}, the receiver has {other}")
        finally:
            device.configure(RxConfig(fs_hz=fs_hz))


def _seconds(seconds: float, fs_hz: float, odd: int = 0) -> NDArray[np.complex64]:
    """(1, n) of so many seconds, made quickly, and a few samples more."""
    period = tone(1, 1000)
    n = int(seconds * fs_hz) + odd
    return np.tile(period, (1, -(-n // 1000)))[:, :n]


def _write_all(
    transmitter: TxDevice, pieces: list[NDArray[np.complex64]], before: Callable[[], None]
) -> None:
    """Stream the pieces. A machine that is busy elsewhere may run a stream dry, which must then be reported: the
    stream that counts is the first of three that is fed in time."""
    for attempt in range(3):
        before()
        try:
            for piece in pieces:
                transmitter.write(piece, 10.0)
        except CaptureError:
            if attempt == 2:
                raise
        else:
            return


def check_stream(case: TxCase) -> None:
    """Pieces of any length follow each other without a seam."""
    with opened(case) as (_, transmitter):
        fs_hz = transmitter.configure(TxConfig()).fs_hz or 1e6
        seen: list[TxOutside] = []

        def begin() -> None:
            _raise_power(transmitter)
            seen[:] = [case.look()] if case.look is not None else []

        # made before: the time between two writes is the kit's
        pieces = [_seconds(s, fs_hz, odd) for s, odd in ((0.5, 1), (0.1, 2), (1e-3, 7), (0.1, 0), (0.1, 5))]
        _write_all(transmitter, pieces, begin)
        after = require_sending(case, "a stream")
        for before in seen:
            if before.starts is not None and after.starts is not None:
                require(
                    after.starts - before.starts == 1,
                    f"{after.starts - before.starts} transmissions, not one",
                )
                require(after.underflows == before.underflows, "the stream ran dry and nobody said so")
        transmitter.send_cyclic(tone(1, 4096))
        require_sending(case, "a waveform after a stream")
        transmitter.stop()
        require_silent(case, "after stop", greatest_db=transmitter.caps.attenuation_db.maximum)


def check_underflow(case: TxCase) -> None:
    """A stream that is not fed is reported by the next write, and ends silent; a new one can begin."""
    if not case.real_time:
        return
    with opened(case) as (_, transmitter):
        fs_hz = transmitter.configure(TxConfig()).fs_hz or 1e6
        piece = _seconds(0.3, fs_hz)
        _write_all(transmitter, [piece], lambda: _raise_power(transmitter))
        threading.Event().wait(0.7)  # the pause under test
        with must_raise("a stream that ran dry", CaptureError):
            transmitter.write(piece, 10.0)
        require_silent(case, "after running dry", greatest_db=transmitter.caps.attenuation_db.maximum)
        _write_all(transmitter, [piece], lambda: None)


def check_write_timeout(case: TxCase) -> None:
    """A write that cannot end in time raises DeviceTimeout about then, and ends silent."""
    if not case.real_time:
        return
    with opened(case) as (_, transmitter):
        fs_hz = transmitter.configure(TxConfig()).fs_hz or 1e6
        samples = _seconds(3.0, fs_hz)
        began = time.monotonic()
        with must_raise("3 s of samples within 0.2 s", DeviceTimeout):
            transmitter.write(samples, 0.2)
        took = time.monotonic() - began
        require(took < 2.5, f"a timeout of 0.2 s took {took:.2f} s")
        require_silent(case, "after a timeout", greatest_db=transmitter.caps.attenuation_db.maximum)


def check_end_of_device(case: TxCase) -> None:
    """Closing the receiver, or leaving its block by an exception, silences its transmitter."""
    for way in ("close", "exception"):
        device = case.open()
        transmitter = device.transmitter()
        greatest_db = transmitter.caps.attenuation_db.maximum
        _raise_power(transmitter)
        transmitter.send_cyclic(tone(1, 4096))
        require_sending(case, "a waveform")
        if way == "close":
            device.close()
        else:
            try:
                with device:
                    raise KeyboardInterrupt
            except KeyboardInterrupt:
                pass
        require_silent(case, f"after {way} of the device", greatest_db=greatest_db)
        with must_raise("configure after the device was closed", HilError):
            transmitter.configure(TxConfig())


def check_leaks(case: TxCase) -> None:
    """Opening, sending and closing leave neither descriptors nor threads."""
    _open_send_close(case)
    files, threads = _resources()
    for _ in range(case.n_reopen):
        _open_send_close(case)
    deadline = time.monotonic() + 5.0
    while _resources() > (files, threads) and time.monotonic() < deadline:
        gc.collect()
    now = _resources()
    require(
        now[0] <= files and now[1] <= threads,
        f"{case.n_reopen} times: {files} -> {now[0]} descriptors, {threads} -> {now[1]} threads",
    )


def _open_send_close(case: TxCase) -> None:
    with opened(case) as (_, transmitter):
        transmitter.send_cyclic(tone(1, 2048))


def _resources() -> tuple[int, int]:
    folder = "/proc/self/fd"
    return (len(os.listdir(folder)) if os.path.isdir(folder) else 0), threading.active_count()  # noqa: PTH112, PTH208


def check_disconnect(case: TxCase) -> None:
    """Without connection nobody knows whether it goes on: ConnectionLost says so, and everything ends in time."""
    if case.disconnect is None:
        return
    device = case.open()
    transmitter = device.transmitter()
    _raise_power(transmitter)
    transmitter.send_cyclic(tone(1, 4096))
    case.disconnect()
    began = time.monotonic()
    try:
        transmitter.send_cyclic(tone(1, 4096))
    except ConnectionLost as err:
        require("transmitting" in err.hint, f"the hint does not say that it may go on: {err.hint!r}")
    else:
        raise NonConformance("send_cyclic without connection did not raise ConnectionLost")
    try:
        device.close()
    except ConnectionLost as err:
        require("transmitting" in err.hint, f"the hint does not say that it may go on: {err.hint!r}")
    device.close()
    took = time.monotonic() - began
    require(took < 20.0, f"the end without connection took {took:.1f} s")
