"""Frames of arrays whose truth is known, and the pictures that a painter makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gui.picture import Painter, Picture, View
from hil.core.calibration import Calibration, Sigma, Validity
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import parse_array
from hil.core.impairments import ideal

FC_HZ = 2.45e9
WAVELENGTH_M = 299_792_458.0 / FC_HZ
_N = 8192


def stream_of(array: str) -> StreamInfo:
    """Pairs of channels share an oscillator."""
    geometry = parse_array(array, FC_HZ)
    m = geometry.n_elements
    groups = tuple((2 * i, 2 * i + 1) for i in range(m // 2))
    device = DeviceInfo("sim:", "sim", "fmcomms5", "S1", "1", groups, WireFormat.CI16, 12)
    config = RxConfig(FC_HZ, 1e6, 1e6, (10.0,) * m, GainMode.MANUAL, tuple(range(m)), _N)
    return StreamInfo(config, device, new_epoch("S1"), geometry)


def calibration_of(stream: StreamInfo, seed: int = 3) -> Calibration:
    """Gains and phases far from 1, positions some millimetres off."""
    rng, geometry = np.random.default_rng(seed), stream.geometry
    assert geometry is not None
    m = geometry.n_elements
    gain = (1 + 0.1 * rng.standard_normal(m)) * np.exp(1j * rng.uniform(-1, 1, m))
    error_m = 0.003 * rng.standard_normal((m, 3)) * [1, 0 if geometry.kind == "line" else 1, 0]
    sigma_m = np.tile([4e-4, 0.0 if geometry.kind == "line" else 3e-4, 0.0], (m, 1))
    return Calibration(
        geometry, canonical(replace(ideal(m), gain=gain, position_error_m=error_m)),
        Sigma(np.full(m, 0.1), np.full(m, 0.5), sigma_m, np.full(m, np.nan)),
        Gauge("support", angle_sigma_deg=0.03), FC_HZ, Validity(FC_HZ, FC_HZ), "cold-start",
    )  # fmt: skip


def frame_of(
    stream: StreamInfo,
    doa_deg: Sequence[float],
    calibration: Calibration | None = None,
    *,
    snr_db: float = 15.0,
    one_signal: bool = False,
    seed: int = 1,
) -> Frame:
    """Emitters in the plane of the array: x = g exp(j 2 pi (x sin az + y cos az) / lambda) s + n."""
    rng, geometry = np.random.default_rng(seed), stream.geometry
    assert geometry is not None
    positions = geometry.positions_m if calibration is None else calibration.positions_m
    az, k, m = np.deg2rad(doa_deg), len(doa_deg), geometry.n_elements
    way_m = positions[:, :1] * np.sin(az) + positions[:, 1:2] * np.cos(az)
    a = np.exp(2j * np.pi * way_m / WAVELENGTH_M)
    if calibration is not None:
        a = calibration.impairments.gain[:, None] * a

    def noise(n: int) -> np.ndarray:
        return (rng.standard_normal((n, _N)) + 1j * rng.standard_normal((n, _N))) / np.sqrt(2)

    s = noise(1) * np.exp(2j * np.pi * rng.uniform(size=(k, 1))) if one_signal else noise(k)
    x = 0.05 * (a @ s + 10 ** (-snr_db / 20) * noise(m))
    return Frame(x.astype(np.complex64), 0, 0, 0, 0, FrameFlag.NONE, stream)


def paint(painter: Painter, frame: Frame) -> Picture:
    """The picture of a frame."""
    painter.paint(frame)
    picture = painter.take()
    assert picture is not None
    return picture


def picture_of(
    array: str, doa_deg: Sequence[float], *, calibrated: bool = True, view: View | None = None
) -> Picture:
    """Of an array with errors."""
    stream = stream_of(array)
    calibration = calibration_of(stream)
    painter = Painter()
    painter.use(view, calibration=calibration if calibrated else None)
    return paint(painter, frame_of(stream, doa_deg, calibration))
