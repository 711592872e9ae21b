"""Streams of simulated arrays, clean or with a fault, with the calibration of the truth, for the health watch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivers.convert import convert, to_block, wire_buffer
from drivers.sim import SimDevice
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.device import RxConfig
from hil.core.frame import Frame, StreamInfo
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.truth import Truth, read_truth


def calibration_of(
    truth: Truth, stream: StreamInfo, *, scene_sample: int = 0, error_deg: float = 0.0, seed: int = 0
) -> Calibration:
    """What is true at a scene sample, with an error of the phases."""
    m = len(truth.positions_m)
    fc_hz = stream.fc_hz
    rng = np.random.default_rng(seed)
    gain = truth.gain_at(scene_sample) * np.exp(1j * np.deg2rad(error_deg) * rng.standard_normal(m))
    zeros = np.zeros(m, complex)
    return Calibration(
        ArrayGeometry(truth.positions_m),
        Impairments(gain, truth.coupling, truth.position_error_m, truth.delay_s, zeros, zeros),
        unknown_sigma(m), Gauge("none"), fc_hz, Validity(fc_hz / 2, 2 * fc_hz), "truth",
        epoch=stream.epoch, coherent_groups=stream.device.coherent_groups,
    )  # fmt: skip


class SimStream:
    """Frames of a scene (TOML text) as fast as they are made, and the calibration that holds at its start."""

    def __init__(self, text: str, *, error_deg: float = 0.0, seed: int = 0) -> None:
        scene = parse_scene(text)
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "truth.jsonl"
        self.engine = ArrayEngine(scene, free_running=True, truth=path)
        truth = read_truth(path)
        m = len(truth.positions_m)
        geometry = ArrayGeometry(truth.positions_m)
        self.device = SimDevice(self.engine, free_running=True, geometry=geometry)
        self.stream = self.device.configure(RxConfig(channels=tuple(range(m))))
        self.calibration = calibration_of(truth, self.stream, error_deg=error_deg, seed=seed)
        self.device.start()
        self._seq = 0

    def frames(self, seconds: float) -> Iterator[tuple[Frame, NDArray[np.int64]]]:
        """Frames and clip counts of the next seconds."""
        n = self.stream.config.block_samples or 16384
        buffer = wire_buffer(n, self.stream.n_channels, self.stream.device.wire)
        out = np.empty((self.stream.n_channels, n), np.complex64)
        left = round(seconds * self.stream.fs_hz)
        while left > 0:
            result = self.device.read(buffer[: min(n, left)], 1.0)
            # the scene's own clock: how fast it is made says nothing
            clock = round((result.first_sample + result.n) / self.stream.fs_hz * 1e9)
            block = replace(to_block(buffer, result, self._seq), t_mono_ns=clock)
            self._seq += 1
            left -= result.n
            target = out if result.n == n else np.empty((self.stream.n_channels, result.n), np.complex64)
            yield convert(block, target)

    def retune(self) -> None:
        """Write the carrier again: a new coherence epoch."""
        config = self.device.configure(replace(self.stream.config, fc_hz=self.stream.fc_hz + 1e6)).config
        self.stream = self.device.configure(replace(config, fc_hz=self.stream.fc_hz))

    def close(self) -> None:
        """Release the scene."""
        self.device.close()
        self.engine.close()
        self._folder.cleanup()
