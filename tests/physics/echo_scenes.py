"""Scenes with targets for the echo tests, and what their receivers must hear, summed tone by tone by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene

C_M_S = 299_792_458.0
FS_HZ, FC_HZ = 2.5e6, 2.45e9
QUIET = "[transmit]\nleakage_db = -300.0\n"
IDEAL = """
[impairments]
gain_std = 0.0
phase_std_deg = 0.0
position_std_wavelengths = 0.0
relock_phase = false
"""


def scene_text(targets: str, *, n: int = 4, board: str = "fmcomms5", receiver: str = "", more: str = IDEAL,
               transmit: str = QUIET, top: str = "") -> str:  # fmt: skip
    """A scene without emitters: 16 bits and 100 dB, so that the converter and the noise stay out of the way."""
    return (
        f"{top}\n[array]\nn_elements = {n}\n[receiver]\nboard = '{board}'\nadc_bits = 16\nsnr_db = 100.0\n{receiver}\n"
        f"{targets}\n{transmit}\n{more}"
    )


def start(text: str) -> ArrayEngine:
    """A free-running engine of a scene."""
    return ArrayEngine(parse_scene(text), free_running=True)


@contextmanager
def logged(text: str, path: Path) -> Iterator[ArrayEngine]:
    """A free-running engine that writes its truth to a file."""
    engine = ArrayEngine(parse_scene(text), free_running=True, truth=path)
    try:
        yield engine
    finally:
        engine.close()


def heard(engine: ArrayEngine, n: int, first: int = 0, board: int = 0) -> NDArray[np.complex128]:
    """(C, n) complex128 relative to full scale."""
    wire = engine.read(board, first, n).astype(float) / 32768
    return (wire[:, 0::2] + 1j * wire[:, 1::2]).T


def tones(n: int, seed: int = 0, share: float = 0.9, power_dbfs: float = -12.0) -> NDArray[np.complex64]:
    """(1, n) one period of QPSK tones over a share of the band."""
    rng = np.random.default_rng(seed)
    spectrum = np.exp(0.5j * np.pi * (rng.integers(4, size=n) + 0.5))
    spectrum[np.abs(np.fft.fftfreq(n)) > share / 2] = 0
    s = np.fft.ifft(spectrum)
    return (s * 10 ** (power_dbfs / 20) / np.sqrt(np.mean(np.abs(s) ** 2)))[None].astype(np.complex64)


@dataclass
class Model:
    """The received baseband from first principles, tone by tone, for any times; nothing of the engine's mixing.

    gain (M,), tx_gain (J,): total complex gains of the chains in use. positions (M, 3). All boards in one.
    """

    engine: ArrayEngine
    waveform: NDArray[np.complex64]
    channels: tuple[int, ...] = (0,)
    fs_hz: float = FS_HZ
    fc_hz: float = FC_HZ
    rx_fc_hz: float | None = None
    origin: int = 0
    rx_phase: NDArray[np.float64] | None = None
    tx_phase: NDArray[np.float64] | None = None
    targets: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        d = self.engine.drawn
        self.at = d.positions_m + d.position_error_m
        self.full = 10 ** (self.engine.scene.receiver.peak_dbfs / 20)
        m = len(d.gain)
        self.g = d.gain * np.exp(1j * (np.zeros(m) if self.rx_phase is None else self.rx_phase))
        self.b = self.engine.tx_drawn.gain * np.exp(
            1j * (np.zeros(m) if self.tx_phase is None else self.tx_phase)
        )
        self.rx_fc_hz = self.fc_hz if self.rx_fc_hz is None else self.rx_fc_hz

    def direction(self, t: dict, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        az, el = np.deg2rad(t["angle_deg"]), np.deg2rad(t.get("elevation_deg", 0.0))
        return np.array([np.sin(az) * np.cos(el), np.cos(az) * np.cos(el), np.sin(el)])

    def __call__(self, sample: NDArray[np.int64]) -> NDArray[np.complex128]:
        """(M, T) at scene samples (T,)."""
        d, t_s = self.engine.drawn, np.asarray(sample) / self.fs_hz
        n = self.waveform.shape[1]
        f_hz = np.fft.fftfreq(n, 1 / self.fs_hz)
        out = np.zeros((len(d.gain), len(t_s)), complex)
        for row, j in enumerate(self.channels):
            spectrum = np.fft.fft(self.waveform[row].astype(complex)) / n * self.b[j]
            used = np.flatnonzero(np.abs(spectrum) > 1e-9)
            for m in range(len(out)):
                after = self.g[m] * np.exp(
                    2j * np.pi * (self.fc_hz - (self.rx_fc_hz or self.fc_hz)) * (t_s - d.delay_s[m])
                )
                for target in self.targets:
                    u = self.direction(target, t_s)
                    span_m = np.abs(target["range_m"] + target.get("speed_m_s", 0.0) * t_s)
                    level = self.full * 10 ** ((target.get("rcs_db", 0.0) + 12) / 20)
                    level = level * np.exp(1j * np.deg2rad(target.get("phase_deg", 0.0)))
                    for i in range(len(out)):
                        for k in range(len(out)):
                            c = d.coupling[m, i] * d.coupling[k, j]
                            if c:
                                tau = 2 * span_m / C_M_S - (self.at[i] + self.at[k]) @ u / C_M_S
                                carrier = np.exp(-2j * np.pi * ((self.fc_hz * tau) % 1.0))
                                out[m] += (
                                    level
                                    * c
                                    * after
                                    * carrier
                                    * self._wave(spectrum, used, f_hz, t_s - tau - d.delay_s[m])
                                )
                leak = self.engine.tx_drawn.leakage[j, m] * self.full * 10 ** (12 / 20)
                if leak:
                    late = self.engine.scene.transmit.leakage_delay_s + d.delay_s[m]
                    out[m] += leak * after * self._wave(spectrum, used, f_hz, t_s - late)
        return out

    def _wave(self, spectrum, used, f_hz, t_s):
        since = t_s - self.origin / self.fs_hz
        return np.exp(2j * np.pi * np.outer(since, f_hz[used])) @ spectrum[used]


def truth_lines(path) -> list[dict]:
    """All lines of a truth file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
