"""Hidden scenes for ofdm_chain.py, each drawn from its seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

C = 299_792_458.0
SNR_DB = 15.0
#: Digital power of the transmission over the -12 dBFS that scenes count from: room for leakage of 30 dB, and for noise
#: far above weak echoes.
LEVEL_DB = {"teach": -30.0, "hidden": -30.0, "weak": -50.0}
LAYOUTS = ("spread", "close", "same bin")
#: What `hil angle-delay` integrates over: seconds, and symbols of the weak scene.
LOOK_S = 0.25
WEAK_SYMBOLS = 100


@dataclass(frozen=True, slots=True)
class Target:
    """angle_deg, range_m, rcs_db; hop_s : period of a target that takes new angles within +-60 degrees, 0: it stands still."""

    angle_deg: float
    range_m: float
    rcs_db: float = 0.0
    hop_s: float = 0.0

    def toml(self) -> str:
        """Its table."""
        text = f"[[target]]\nangle_deg = {self.angle_deg:.4f}\nrange_m = {self.range_m:.4f}\nrcs_db = {self.rcs_db:.3f}\n"
        if self.hop_s:
            text += f"hop = {{ period_s = {self.hop_s}, min_deg = -60.0, max_deg = 60.0 }}\n"
        return text


@dataclass(frozen=True, slots=True)
class Case:
    """One array, what teaches it, and what it then must find."""

    seed: int
    n_elements: int
    board: str
    fs_hz: float
    n_fft: int
    subcarriers: int
    cp: int
    layout: str
    leakage_db: float
    teaching: str
    targets: tuple[Target, ...]
    teachers: tuple[Target, ...]
    #: Signal to noise of a target of 0 dB, summed over array and band of one symbol.
    snr_db: float = SNR_DB
    teaching_snr_db: float = SNR_DB
    seconds: float = 0.25

    @property
    def range_bin_m(self) -> float:
        """c/(2 occupied bandwidth)."""
        return C / (2 * self.fs_hz / self.n_fft * (self.subcarriers + 1))

    @property
    def weak_snr_db(self) -> float:
        """snr_db that makes SNR_DB over all symbols of a weak look."""
        return SNR_DB - 10 * float(np.log10(WEAK_SYMBOLS))

    @property
    def weak_look_s(self) -> float:
        """Duration of a weak look: the first symbols go into finding the waveform."""
        return 1.4 * WEAK_SYMBOLS * (self.n_fft + self.cp) / self.fs_hz

    @property
    def equal_targets(self) -> tuple[Target, ...]:
        """The hidden targets, all with the echo of the strongest."""
        return tuple(replace(t, rcs_db=0.0) for t in self.targets)

    def scene(self, name: str, targets: Iterable[Target], snr_db: float) -> str:
        """The scene file. The noise is set so that a target of rcs 0 has snr_db in one symbol."""
        per_sample = snr_db - 10 * np.log10(self.n_elements * self.n_fft) - LEVEL_DB[name]
        return f"""seed = {self.seed}
[array]
n_elements = {self.n_elements}
[receiver]
board = "{self.board}"
fs_hz = {self.fs_hz}
snr_db = {per_sample:.3f}
[impairments]
gain_std = 0.3
phase_std_deg = "uniform"
position_std_wavelengths = 0.0
[transmit]
leakage_db = {self.leakage_db:.2f}
""" + "".join(t.toml() for t in targets)


def draw_case(seed: int) -> Case:
    """A random case; everything follows from the seed."""
    rng = np.random.default_rng(seed)
    n, board, fs = ((4, "fmcomms5", 2.5e6), (8, "adrv9009-zu11eg", 3.84e6), (16, "adrv9009-zu11eg", 3.84e6))[
        seed % 3
    ]
    n_fft, used, cp = ((64, 52, 16), (128, 100, 32), (256, 200, 64))[(seed // 3) % 3]
    layout = LAYOUTS[(seed // 2) % 3]
    # four elements know the edges of a sector to 0.54 degrees after 800 directions: refused, an anchor is asked for
    teaching = "hop" if seed % 4 == 3 and n > 4 else "static"
    bin_m = C / (2 * fs / n_fft * (used + 1))
    reach = 0.7 * cp * C / (2 * fs) / bin_m
    case = Case(
        seed, n, board, fs, n_fft, used, cp, layout, float(rng.uniform(20, 30)), teaching,
        _hidden(rng, layout, n, bin_m, reach), _teachers(rng, teaching, bin_m, reach),
    )  # fmt: skip
    return replace(case, seconds=1.0) if teaching == "hop" else case


def _hidden(rng: np.random.Generator, layout: str, n: int, bin_m: float, reach: float) -> tuple[Target, ...]:
    """Three targets; two that share a bin are at least one and a half beamwidths apart."""
    while True:
        u = np.sin(np.deg2rad(rng.uniform(-55, 55, 3)))
        if abs(u[0] - u[1]) > 3.0 / n or layout != "same bin":
            break
    while True:
        bins = np.sort(rng.uniform(2, reach, 3))
        if layout == "close":
            bins[1] = bins[0] + 1.5
        if layout == "same bin":
            bins[1] = bins[0] + rng.uniform(-0.2, 0.2)
        if bins[2] - bins[1] > 2 and (layout != "spread" or bins[1] - bins[0] > 2) and bins.max() < reach:
            break
    level = -rng.uniform(0, 10, 3)
    level[int(rng.integers(3))] = 0.0
    return tuple(
        Target(float(np.rad2deg(np.arcsin(s))), float(b * bin_m), float(r))
        for s, b, r in zip(u, bins, level, strict=True)
    )


def _teachers(rng: np.random.Generator, teaching: str, bin_m: float, reach: float) -> tuple[Target, ...]:
    """One hopping target, or three still ones of which the first one's angle is told."""
    if teaching == "hop":
        return (Target(0.0, float(rng.uniform(3, reach) * bin_m), 0.0, 0.0025),)
    bins = np.array([0.3, 0.6, 0.9]) * reach + rng.uniform(-0.3, 0.3, 3)
    angles = rng.uniform(-50, 50, 3)
    levels = (0.0, -float(rng.uniform(0, 6)), -float(rng.uniform(0, 6)))
    return tuple(Target(float(a), float(b * bin_m), r) for a, b, r in zip(angles, bins, levels, strict=True))
