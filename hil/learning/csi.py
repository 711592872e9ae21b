"""OFDM channel responses from a file as the input of a learner: what a recording says, said by the user."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from calib.csi import ChannelResponses, load
from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import Epoch
from hil.core.errors import ConfigError, ShapeError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.learning.observe import CovarianceBatch

_DEFAULT_BLOCK_S = 1e-3
_MOST_SAMPLES = 2.0**62


def is_csi(path: Path) -> bool:
    """True for files of channel responses."""
    return path.suffix == ".npz"


def read_csi(path: Path, array: str | None, fc_hz: float | None) -> tuple[ChannelResponses, StreamInfo, str]:
    """Channel responses, the stream that they stand for, SHA-256 of the file.

    Raises ConfigError if array or carrier are not given, CalibrationError if the file is not what it should be.
    """
    if array is None:
        raise ConfigError(
            "channel responses do not say what the array is", where="--array", hint="--array ula:8:0.5"
        )
    if fc_hz is None:
        raise ConfigError("channel responses do not say their carrier", where="--fc", hint="--fc 2.45G")
    csi = load(path)
    peak = float(np.abs(csi.csi).max())
    if not 0 < peak < np.inf:
        raise ConfigError(
            "all channel responses are zero" if peak == 0 else "values are too large", where=str(path)
        )
    csi = replace(csi, csi=csi.csi / peak)  # their scale has no meaning; squares must not overflow
    geometry = parse_array(array, fc_hz)
    m = csi.n_elements
    if geometry.n_elements != m:
        raise ShapeError(
            f"--array: {geometry.n_elements} elements, the channel responses have {m}",
            hint="give an array with as many elements as the responses",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    band_hz = csi.subcarrier_spacing_hz * csi.n_subcarriers
    config = RxConfig(
        fc_hz=fc_hz, fs_hz=band_hz, bandwidth_hz=band_hz, gain_db=(0.0,) * m, channels=tuple(range(m))
    )
    device = DeviceInfo(
        str(path), "file", "channel responses", "", "", tuple((i,) for i in range(m)), WireFormat.CF32, 16
    )
    return csi, StreamInfo(config, device, Epoch("", digest[:32], cause="file"), geometry), digest


def batch_of(csi: ChannelResponses, stream: StreamInfo) -> CovarianceBatch:
    """Covariances over the subcarriers, one block per response."""
    if csi.n_subcarriers <= csi.n_elements:
        raise ShapeError(
            f"csi: {csi.n_subcarriers} subcarriers are too few for {csi.n_elements} elements",
            hint="more subcarriers than elements are needed",
        )
    obs = csi.covariances()
    b = csi.n_blocks
    time_s = csi.time_s if csi.time_s is not None else _DEFAULT_BLOCK_S * np.arange(b)
    if not (time_s[-1] - time_s[0]) * stream.fs_hz < _MOST_SAMPLES:
        raise ConfigError(
            f"time_s: {time_s[-1] - time_s[0]:.3g} s at {stream.fs_hz:.3g} Hz bandwidth is no capture",
            hint="time_s in seconds, subcarrier_spacing_hz in Hz",
        )
    first = np.round((time_s - time_s[0]) * stream.fs_hz).astype(np.int64)
    return CovarianceBatch(obs.covariance, first, obs.n_snapshots, stream.fs_hz, stream.epoch.counter)
