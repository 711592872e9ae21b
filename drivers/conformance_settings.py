"""Conformance checks: identity, settings, order of calls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from drivers.conformance_case import (
    Case,
    must_raise,
    require,
    running,
    wire_buffer_for,
)
from hil.core.device import RxConfig, RxDevice
from hil.core.errors import (
    DeviceStateError,
    HilError,
    StreamStopped,
    UnsupportedSetting,
)

# ---- identity and settings --------------------------------------------------------------------------------


def check_identity(case: Case) -> None:
    """info and caps are valid from opening on and agree."""
    with case.open() as device:
        info, caps = device.info, device.caps
        require(isinstance(device, RxDevice), "the device lacks a method of RxDevice")
        require(caps.n_channels >= 1, "caps.n_channels < 1")
        grouped = sorted(c for group in info.coherent_groups for c in group)
        require(
            grouped == list(range(caps.n_channels)),
            f"coherent_groups {info.coherent_groups} are no partition",
        )
        require(info.full_scale_bits == caps.full_scale_bits, "info and caps differ in full_scale_bits")
        named = info.uri and info.driver and (case.finite or (info.model and info.serial))
        require(bool(named), "an empty field in info")
        for field in ("fc_hz", "fs_hz", "gain_db"):
            limits = getattr(caps, field)
            require(limits.minimum <= limits.maximum, f"caps.{field} is empty: {limits}")


def check_read_back(case: Case) -> None:
    """configure returns complete settings, and the same ones when asked again."""
    with case.open() as device:
        stream = device.configure(RxConfig())
        config = stream.config
        for field in ("fc_hz", "fs_hz", "bandwidth_hz", "gain_db", "channels", "block_samples"):
            require(getattr(config, field) is not None, f"{field} is None in the read-back")
        require(len(config.channels or ()) == device.caps.n_channels, "not all channels by default")
        require(
            len(np.atleast_1d(np.asarray(config.gain_db))) == stream.n_channels, "not one gain per channel"
        )
        require(stream.device == device.info, "StreamInfo.device is not the device's info")
        again = device.configure(RxConfig())
        require(again.config == config, f"asking again changed the settings: {again.config}")
        require(again.epoch == stream.epoch, "asking again started a new epoch")


def check_taken_or_refused(case: Case) -> None:
    """A setting is read back as asked, or UnsupportedSetting names it."""
    with case.open() as device:
        base = device.configure(RxConfig()).config
        caps = device.caps
        fc, gain = caps.fc_hz, caps.gain_db
        wishes: list[tuple[str, float, float]] = [
            ("fc_hz", round((fc.minimum + fc.maximum) / 2e6) * 1e6, 1000.0),
            ("gain_db", math.floor((gain.minimum + gain.maximum) / 2), 0.5 * max(gain.step, 1.0)),
            ("fs_hz", base.fs_hz or 1.0, 10.0),
        ]
        for field, value, tolerance in wishes:
            try:
                taken = getattr(device.configure(replace(RxConfig(), **{field: value})).config, field)
            except UnsupportedSetting as err:
                require(err.field == field, f"refusing {field} names {err.field}")
                continue
            worst = max(abs(np.atleast_1d(np.asarray(taken, float)) - value))
            require(bool(worst <= tolerance), f"{field} = {value}: read back {taken}")


def check_range_edges(case: Case) -> None:
    """The ends of a range are taken or refused, what lies beyond is refused and changes nothing."""
    with case.open() as device:
        before = device.configure(RxConfig()).config
        for field in ("fc_hz", "gain_db", "fs_hz"):
            limits = getattr(device.caps, field)
            reach = max(limits.maximum - limits.minimum, 1.0)
            beyond = (limits.minimum - 0.5 * reach - 10.0, limits.maximum + 0.5 * reach + 10.0, math.nan)
            for value in beyond:
                with must_raise(f"{field} = {value} (allowed {limits})", UnsupportedSetting):
                    device.configure(replace(RxConfig(), **{field: value}))
            after = device.configure(RxConfig()).config
            require(after == before, f"a refused {field} changed the settings: {after}")
        for field in ("fc_hz", "gain_db"):
            limits = getattr(device.caps, field)
            for value in (limits.minimum, limits.maximum):
                try:
                    taken = getattr(device.configure(replace(RxConfig(), **{field: value})).config, field)
                except UnsupportedSetting:
                    require(case.finite, f"{field} = {value} is within caps and was refused")
                    continue
                step = max(limits.step, 1.0)
                require(
                    bool(np.all(np.abs(np.atleast_1d(taken) - value) <= step)), f"{field} = {value}: {taken}"
                )
            if before.fc_hz is not None:
                device.configure(RxConfig(fc_hz=before.fc_hz, gain_db=before.gain_db))


def check_channels(case: Case) -> None:
    """Any selection and order of channels; nonsense is refused."""
    with case.open() as device:
        n = device.caps.n_channels
        for bad in ((), (0, 0), (n,), (-1,)):
            with must_raise(f"channels = {bad}", UnsupportedSetting):
                device.configure(RxConfig(channels=bad))
        stream = device.configure(RxConfig(channels=tuple(reversed(range(n)))))
        require(stream.config.channels == tuple(reversed(range(n))), "channels in another order than asked")
        stream = device.configure(RxConfig(channels=(n - 1,)))
        require(stream.n_channels == 1, "one channel asked, others came")
        device.start()
        result = device.read(wire_buffer_for(device, stream), 5.0)
        require(result.n > 0, "no samples of a single channel")


# ---- order of calls ---------------------------------------------------------------------------------------


def check_illegal_order(case: Case) -> None:
    """read before start, start twice and anything after close are DeviceStateError."""
    device = case.open()
    try:
        stream = device.configure(RxConfig())
        buffer = wire_buffer_for(device, stream)
        with must_raise("read before start", DeviceStateError):
            device.read(buffer, 0.1)
        device.stop()  # of an idle device: nothing happens
        device.start()
        with must_raise("start twice", DeviceStateError):
            device.start()
        require(device.read(buffer, 5.0).n > 0, "no samples after a refused start")
        device.stop()
        device.stop()
        with must_raise("read after stop", DeviceStateError, StreamStopped):
            device.read(buffer, 0.1)
        device.start()
        device.stop()
        device.start()  # also with no read in between
        require(device.read(buffer, 5.0).first_sample == 0, "a restarted stream does not begin at 0")
    finally:
        device.close()
    device.close()
    device.stop()
    for name, call in (
        ("configure", lambda: device.configure(RxConfig())),
        ("start", device.start),
        ("read", lambda: device.read(buffer, 0.1)),
    ):
        with must_raise(f"{name} after close", DeviceStateError):
            call()


def check_wrong_buffer(case: Case) -> None:
    """A buffer of another shape or dtype is refused, and the stream goes on."""
    with running(case) as (device, stream, buffer):
        wrong = (
            buffer[:, :, :1],
            np.zeros((64, stream.n_channels + 1, 2), buffer.dtype),
            np.zeros((64, stream.n_channels, 2), np.float64),
        )
        for bad in wrong:
            with must_raise(f"read into {bad.dtype} {bad.shape}", HilError):
                device.read(bad, 1.0)
        require(device.read(buffer, 5.0).n > 0, "no samples after a refused buffer")
