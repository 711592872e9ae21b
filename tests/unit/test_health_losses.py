"""Losses that go on: told once, summed up, and never as nothing where their number is not known."""

from __future__ import annotations

import numpy as np

from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.health.transport import TransportWatch

FS_HZ = 1e6
DEVICE = DeviceInfo("sim:", "sim", "test", "s1", "", ((0, 1), (2, 3)), WireFormat.CI16, 12)
CONFIG = RxConfig(2.4e9, FS_HZ, FS_HZ, (30.0,) * 4, GainMode.MANUAL, (0, 1, 2, 3), 4096)
STREAM = StreamInfo(CONFIG, DEVICE, new_epoch("s1"))


def frame(x: np.ndarray, first: int, seq: int, flags: FrameFlag = FrameFlag.NONE) -> Frame:
    t_ns = round((first + x.shape[1]) / FS_HZ * 1e9)
    return Frame(x, first, seq, t_ns, t_ns, flags, STREAM)


def test_losses_that_go_on_are_told_once_and_summed_up() -> None:
    x, n = np.zeros((4, 10000), np.complex64), 10000
    watch = TransportWatch()
    assert [e for k in range(50) for e in watch.frame(frame(x, k * n, k))] == []
    told, at = [], 50 * n
    for k in range(6):
        at += 1000
        told += watch.frame(frame(x, at, 50 + k, FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW))
        at += n
        lasting = [(e.kind, e.value) for e in watch.lasting()]
        assert lasting == ([("overflow", 1000.0 * (k + 1))] if k else [])
    assert [(e.kind, e.value) for e in told] == [("overflow", 1000.0)]
    assert (watch.lost, watch.lost_unknown) == (6000, 0)
    assert watch.frame(frame(x, at, 56, FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW)) == []  # of unknown length
    (last,) = watch.lasting()
    assert (last.value, "an unknown number of" in last.cause) == (None, True)
    assert (watch.lost, watch.lost_unknown) == (6001, 1)
    assert [e.kind for k in range(250) for e in watch.frame(frame(x, at + (1 + k) * n, 57 + k))] == []
    assert watch.lasting() == []
