"""Conformance checks of transmitters: quiet until asked, settings, refusals, order of calls."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from drivers.conformance_case import must_raise, require
from drivers.conformance_tx_case import TxCase, levels_of, opened, require_silent, tone
from hil.core.device import Transceiver, TxConfig, TxDevice
from hil.core.errors import DeviceStateError, HilError, ShapeError, UnsupportedSetting


def check_opens_quiet(case: TxCase) -> None:
    """Opening silences whatever was left on, and sets the greatest attenuation on every channel."""
    if case.leave_on is not None:
        case.leave_on()
    with opened(case) as (device, transmitter):
        require(isinstance(device, Transceiver), "the device lacks a method of Transceiver")
        require(isinstance(transmitter, TxDevice), "the transmitter lacks a method of TxDevice")
        require(device.transmitter() is transmitter, "a second call gives another transmitter")
        caps = transmitter.caps
        require(caps.n_channels >= 1 and caps.full_scale_bits >= 1, f"caps {caps}")
        require_silent(case, "after opening", greatest_db=caps.attenuation_db.maximum)
        for channel in range(caps.n_channels):
            levels = levels_of(transmitter.configure(TxConfig(channels=(channel,))))
            require(levels == (caps.attenuation_db.maximum,), f"channel {channel} opens at {levels} dB")
        require_silent(case, "after configure", greatest_db=caps.attenuation_db.maximum)


def check_read_back(case: TxCase) -> None:
    """configure returns complete settings, the same when asked again, one channel by default."""
    with opened(case) as (_, transmitter):
        config = transmitter.configure(TxConfig())
        for field in ("fc_hz", "fs_hz", "attenuation_db", "channels"):
            require(getattr(config, field) is not None, f"{field} is None in the read-back")
        require(config.channels == (0,), f"channels {config.channels} by default")
        require(len(levels_of(config)) == 1, "not one attenuation per channel")
        require(transmitter.configure(TxConfig()) == config, "asking again changed the settings")


def check_taken_or_refused(case: TxCase) -> None:
    """A setting is read back as asked, or UnsupportedSetting names it."""
    with opened(case) as (_, transmitter):
        caps, base = transmitter.caps, transmitter.configure(TxConfig())
        step = caps.attenuation_db.step or 0.25
        middle = round((caps.attenuation_db.minimum + caps.attenuation_db.maximum) / 2 / step) * step
        wishes = (
            ("attenuation_db", middle, 0.5 * step),
            ("fc_hz", round((caps.fc_hz.minimum + caps.fc_hz.maximum) / 2e6) * 1e6, 1000.0),
            ("fs_hz", base.fs_hz or 1.0, 10.0),
        )
        for field, value, tolerance in wishes:
            try:
                taken = getattr(transmitter.configure(replace(TxConfig(), **{field: value})), field)
            except UnsupportedSetting as err:
                require(err.field == field, f"refusing {field} names {err.field}")
                continue
            worst = float(np.max(np.abs(np.atleast_1d(np.asarray(taken, float)) - value)))
            require(worst <= tolerance, f"{field} = {value}: read back {taken}")


def check_range_edges(case: TxCase) -> None:
    """The ends of a range are taken, what lies beyond is refused and changes nothing. Nothing is sent meanwhile."""
    with opened(case) as (_, transmitter):
        limits = transmitter.caps.attenuation_db
        for value in (limits.minimum, limits.maximum):
            taken = levels_of(transmitter.configure(TxConfig(attenuation_db=value)))
            require(taken == (value,), f"attenuation_db = {value}: read back {taken}")
        before = transmitter.configure(TxConfig())
        for field in ("attenuation_db", "fc_hz", "fs_hz"):
            allowed = getattr(transmitter.caps, field)
            reach = max(allowed.maximum - allowed.minimum, 1.0)
            for value in (allowed.minimum - 0.5 * reach - 10, allowed.maximum + 0.5 * reach + 10, math.nan):
                with must_raise(f"{field} = {value} (allowed {allowed})", UnsupportedSetting):
                    transmitter.configure(replace(TxConfig(), **{field: value}))
        with must_raise("two attenuations for one channel", UnsupportedSetting):
            transmitter.configure(TxConfig(attenuation_db=(limits.maximum, limits.maximum)))
        require(transmitter.configure(TxConfig()) == before, "a refused setting changed others")


def check_channels(case: TxCase) -> None:
    """Any selection and order of channels, each with its own attenuation; nonsense is refused."""
    with opened(case) as (_, transmitter):
        n, limits = transmitter.caps.n_channels, transmitter.caps.attenuation_db
        for bad in ((), (0, 0), (n,), (-1,)):
            with must_raise(f"channels = {bad}", UnsupportedSetting):
                transmitter.configure(TxConfig(channels=bad))
        order = tuple(reversed(range(n)))
        step = limits.step or 0.25
        wanted = tuple(round((limits.maximum - (1 + k) * 4 * step) / step) * step for k in range(n))
        config = transmitter.configure(TxConfig(channels=order, attenuation_db=wanted))
        require(config.channels == order, f"channels {config.channels}, asked {order}")
        close = np.abs(np.subtract(levels_of(config), wanted)) <= 0.5 * step
        require(bool(close.all()), f"attenuations {config.attenuation_db}, asked {wanted}")
        kept = transmitter.configure(TxConfig(channels=(order[0],)))
        require(
            abs(levels_of(kept)[0] - wanted[0]) <= 0.5 * step, "a channel that stays lost its attenuation"
        )
        if n > 1:
            again = transmitter.configure(TxConfig(channels=(order[1],)))
            require(levels_of(again) == (limits.maximum,), "a channel that was left comes back with power")


def check_wrong_samples(case: TxCase) -> None:
    """Samples of another shape or kind, over full scale or not finite are refused, and nothing is sent."""
    with opened(case) as (_, transmitter):
        transmitter.configure(TxConfig())
        good = tone(1, 256)
        wrong = {
            "one row too many": np.repeat(good, 2, axis=0),
            "no row axis": good[0],
            "no sample": good[:, :0],
            "real samples": good.real.copy(),
            "over full scale": (2.5 * good).astype(np.complex64),
            "not finite": np.where(np.arange(256) == 9, np.nan, good).astype(np.complex64),
            "infinite": np.where(np.arange(256) == 9, np.inf, good).astype(np.complex64),
            "no array": good.tolist(),
        }
        for what, samples in wrong.items():
            with must_raise(f"send_cyclic: {what}", ShapeError):
                transmitter.send_cyclic(samples)  # pyright: ignore[reportArgumentType]
            with must_raise(f"write: {what}", ShapeError):
                transmitter.write(samples, 1.0)  # pyright: ignore[reportArgumentType]
        require_silent(case, "after refusals", greatest_db=transmitter.caps.attenuation_db.maximum)


def check_order_of_calls(case: TxCase) -> None:
    """stop and close at any time and twice; everything else after close is DeviceStateError."""
    with case.open() as device:
        transmitter = device.transmitter()
        transmitter.stop()
        transmitter.stop()
        transmitter.send_cyclic(tone(1, 2048))
        transmitter.stop()
        transmitter.close()
        transmitter.close()
        transmitter.stop()
        for name, call in (
            ("configure", lambda: transmitter.configure(TxConfig())),
            ("send_cyclic", lambda: transmitter.send_cyclic(tone(1, 2048))),
            ("write", lambda: transmitter.write(tone(1, 2048), 1.0)),
        ):
            with must_raise(f"{name} after close", DeviceStateError):
                call()
    with must_raise("transmitter() of a closed device", HilError):
        device.transmitter()
