"""Boards without a common start and a waveform that repeats: aligned by noise that is sent in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.array_intake import ArrayIntake
from drivers.board_blocks import Source, WireBlock, columns_of
from drivers.registry import open_device
from drivers.sounding import PERIOD_SAMPLES, noise_like, sounding
from hil.core.device import RxConfig, TxConfig
from hil.sim_scene import scene_file
from hil.sim_server import free_address, serve

SCENE = """
seed = 12
emitter = []
[array]
n_elements = 8
[receiver]
fs_hz = 1.0e6
snr_db = 20.0
[[target]]
angle_deg = 20.0
range_m = 300.0
"""


class _Held:
    """A board's stream whose blocks are there already."""

    uri, failed = "held", False

    def __init__(self, wire: np.ndarray, block: int) -> None:
        self._blocks = [
            WireBlock(wire[k : k + block], False, False, 0, 0) for k in range(0, len(wire), block)
        ]

    @property
    def waiting(self) -> bool:
        return False

    @property
    def queued_samples(self) -> int:
        return 0

    def head(self, timeout_s: float, interrupted: Any, room: Any = None) -> WireBlock:
        return self._blocks[0]

    def pop(self) -> None:
        self._blocks.pop(0)

    def hold_everything(self, on: bool) -> None: ...
    def wake(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("shift", [100.0, 137.37, -20.25])
def test_parts_of_a_sample_are_measured_and_corrected(shift: float) -> None:
    """Two boards hear the same noise; the second started `shift` samples later."""
    rng = np.random.default_rng(4)
    n = 600_000
    spectrum = np.fft.fft(rng.standard_normal(n) + 1j * rng.standard_normal(n))
    f = np.fft.fftfreq(n)
    spectrum[np.abs(f) > 0.35] = 0
    first = np.fft.ifft(spectrum)
    second = np.fft.ifft(spectrum * np.exp(2j * np.pi * f * shift))
    wires = []
    for z in (first, second):
        both = np.stack((z, z * 1j), axis=1) * 3000 + rng.normal(0, 20, (n, 2))
        wires.append(np.round(np.stack((both.real, both.imag), axis=-1)).astype(np.int16))
    config = RxConfig(fc_hz=1e9, fs_hz=1e6, channels=(0, 1, 2, 3), gain_db=(0.0,) * 4, block_samples=16384)
    sources = [Source(b, _Held(w, 16384), columns_of([2 * b, 2 * b + 1])) for b, w in enumerate(wires)]
    intake = ArrayIntake(sources, 2, config, "correlation")
    alignment = intake.align(0, lambda: False)
    assert alignment.offsets[1] + alignment.fractions[1] == pytest.approx(shift, abs=0.01)
    assert alignment.corrected == (False, shift != round(shift))
    assert alignment.skipped[0] == alignment.skipped[1] + alignment.offsets[1]
    out = np.zeros((16384, 4, 2), np.int16)
    assert intake.take(out, 1.0, lambda: False).n == 16384
    z = out[..., 0] + 1j * out[..., 1]
    left = z[:, 2] - z[:, 0]
    assert np.std(left) < 0.03 * np.std(z[:, 0])


def test_noise_has_the_level_of_the_waveform() -> None:
    rows = np.array([[0.5, 0.5j, -0.5, 0.5], [0.1, 0, 0, 0]], np.complex64)
    noise = noise_like(rows)
    assert noise.shape == (2, PERIOD_SAMPLES)
    power = np.mean(np.abs(noise) ** 2, axis=1)
    np.testing.assert_allclose(power, np.mean(np.abs(rows) ** 2, axis=1), rtol=1e-3)
    with sounding(None) as sounded:
        assert not sounded


@pytest.mark.timeout(240)
def test_two_boards_align_on_their_own_short_waveform(tmp_path: Path) -> None:
    """FMComms5 boards start at different times; 288 samples repeat; nobody else transmits."""
    rng = np.random.default_rng(1)
    waveform = np.exp(2j * np.pi * rng.random((1, 288))).astype(np.complex64) * np.float32(0.25)
    with serve(tmp_path, scene=scene_file(SCENE, tmp_path), iio=free_address()) as running:
        uri = "iio:" + ",".join(running.iio)
        with open_device(uri) as device:
            device.configure(RxConfig(channels=tuple(range(8)), block_samples=16384))
            transmitter = device.transmitter()
            transmitter.configure(TxConfig(attenuation_db=0.0))
            transmitter.send_cyclic(waveform)
            device.start()
            assert device.alignment["sounded"]
            buffer = np.zeros((16384, 8, 2), np.int16)
            n = device.read(buffer, 10.0).n
            skipped = device.skipped_samples
            device.stop()
        events = running.events()
    opened = {e["board"]: e["scene_sample"] for e in events if e["event"] == "open"}
    assert opened[0] + skipped[0] == opened[1] + skipped[1]
    # and what arrives by then is the waveform again
    z = buffer[:n, 0, 0] + 1j * buffer[:n, 0, 1]
    again = np.vdot(z[288:], z[:-288]) / np.vdot(z[288:], z[288:])
    assert abs(again) > 0.95
