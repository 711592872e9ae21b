"""Calibrations for the tests of the window."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from hil.core.calibration import Calibration, Sigma, Validity
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import StreamInfo
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ula
from hil.core.impairments import ideal


def make_stream(m: int = 4) -> StreamInfo:
    """Two boards of two channels."""
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), WireFormat.CI16, 12)
    config = RxConfig(2.45e9, 2.5e6, 2e6, (10.0,) * m, GainMode.MANUAL, tuple(range(m)), 1024)
    return StreamInfo(config, device, new_epoch("S1"), ula(m, 0.06))


def make_calibration(stream: StreamInfo, seed: int = 0, **more: object) -> Calibration:
    """One that fits the stream, learned now."""
    rng, m = np.random.default_rng(seed), stream.n_channels
    assert stream.geometry is not None
    gain = 1 + 0.3 * (rng.normal(size=m) + 1j * rng.normal(size=m))
    error_m = 0.005 * rng.normal(size=(m, 3)) * [1, 0, 0]
    fc_hz = stream.fc_hz
    settled: dict[str, object] = {
        "geometry": stream.geometry,
        "impairments": canonical(replace(ideal(m), gain=gain, position_error_m=error_m)),
        "sigma": Sigma(np.full(m, 0.05), np.full(m, 0.4), np.full((m, 3), 2e-5), np.zeros(m)),
        "gauge": Gauge("support", "even", angle_sigma_deg=0.1), "fc_hz": fc_hz,
        "valid": Validity(fc_hz - 1e6, fc_hz + 1e6), "method": "diffmusic", "epoch": stream.epoch,
        "device_model": stream.device.model, "device_serial": stream.device.serial, "converged": True,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    return Calibration(**(settled | more))  # type: ignore[arg-type]


def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Look until it is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
