"""Channel responses over a gap of unknown length, as IIO boards have them: the index goes on, the samples do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import Epoch
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.core.waveform import ofdm, srs
from hil.learning.csi_recording import CsiTap
from tests.unit.ofdm_signals import received

WAVES = {
    "ofdm": ofdm(n_subcarriers=64, spacing_hz=15e3, cp_samples=16, n_symbols=10),
    "srs": srs(n_subcarriers=96, spacing_hz=15e3, cp_samples=16),
}


def _stream(fs_hz: float) -> StreamInfo:
    config = RxConfig(fc_hz=1e9, fs_hz=fs_hz, bandwidth_hz=fs_hz, gain_db=(0.0,) * 4, channels=(0, 1, 2, 3))
    device = DeviceInfo("x:", "x", "x", "", "", ((0, 1, 2, 3),), WireFormat.CI16, 12)
    return StreamInfo(config, device, Epoch("", "s"))


def _frames(x: np.ndarray, stream: StreamInfo, cut: int, lost: int) -> Any:
    """Pieces of 3000 samples; `lost` of them vanish at `cut` without a trace in the index."""
    kept = np.delete(x, slice(cut, cut + lost), axis=1)
    for k, at in enumerate(range(0, kept.shape[1] - 3000, 3000)):
        flags = FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW if at == cut else FrameFlag.NONE
        yield Frame(np.ascontiguousarray(kept[:, at : at + 3000]), at, k, 0, 0, flags, stream)


@pytest.mark.parametrize("kind", ["ofdm", "srs"])
@pytest.mark.parametrize("lost", [37, 4001])
def test_delays_do_not_take_part_in_the_gap(kind: str, lost: int) -> None:
    wave = WAVES[kind]
    stream = _stream(wave.fs_hz)
    x, _ = received(wave, 120_000, paths=((0.0, 1.0), (4.0, 0.3)), snr_db=20.0)
    tap = CsiTap(wave, 120_000, most_groups=40, own=True)
    for frame in _frames(x, stream, 60_000, lost):
        tap(frame, np.zeros(4, np.int64))
    capture = tap.result()
    # one path at 0, a weaker one at 4 samples, in every group: the mean phase slope stays put
    step = np.angle(np.sum(capture.csi[:, :, 1:] * capture.csi[:, :, :-1].conj(), axis=(1, 2)))
    spacing_hz = capture.spacing_hz
    delay = -step / (2 * np.pi * spacing_hz) * wave.fs_hz
    assert np.ptp(delay) < 0.3
