"""Known waveforms end to end: hidden scenes behind real protocols, found by commands alone.

    python tests/bars/ofdm_chain.py --scenes 12

Each scene is drawn from its seed: 4, 8 or 16 elements with random gains and phases, three targets (spread, 1.5 range
bins apart, or in one bin at different angles), leakage of 20 to 30 dB. A first server shows another set of targets, or
one that hops: from its recording `hil learn --method gain-phase-isac` makes the calibration. A second server of the same
array shows the hidden targets: `hil capture --transmit`, then `hil angle-delay` in a process that knows nothing else.
About ten minutes on one core. Writes docs/reproduced/ofdm-chain/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

from hil.core.waveform import load_waveform  # noqa: E402
from hil.sim_server import SimServer, serve  # noqa: E402

RESULTS = ROOT / "docs" / "reproduced" / "ofdm-chain"
C = 299_792_458.0
FC_HZ = 2.45e9
SNR_DB = 15.0
#: Digital power of the transmission over the -12 dBFS that scenes count from: room for leakage of 30 dB.
LEVEL_DB = -30.0
LAYOUTS = ("spread", "close", "same bin")


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

    def scene(self, targets: Iterable[Target], snr_db: float) -> str:
        """The scene file. The noise is set so that a target of rcs 0 has snr_db in one symbol."""
        per_sample = snr_db - 10 * np.log10(self.n_elements * self.n_fft) - LEVEL_DB
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
    teaching = "hop" if seed % 4 == 3 else "static"
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


@dataclass(slots=True)
class Outcome:
    """What came out; errors (3,) of the targets in their order, NaN for one that was not found."""

    case: Case
    transport: str
    teaching: str = ""
    learned: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    angle_error_deg: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    range_error_bins: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    angle_sigma_deg: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    ghosts: int = 0
    problem: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """All three within half a degree and half a range bin, and nothing else listed."""
        good = np.all(np.abs(self.angle_error_deg) < 0.5) and np.all(np.abs(self.range_error_bins) < 0.5)
        return bool(good and not self.problem)


def hil(folder: Path, *args: object, good: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run `hil` as a user does; its JSON object. Raises RuntimeError with its own words."""
    env = os.environ | {"HIL_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "hil.cli", *map(str, args), "--json", "-"]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    lines = done.stdout.splitlines()
    out: dict[str, Any] = json.loads(lines[-1]) if lines else {"reason": done.stderr[-500:]}
    if done.returncode not in good:
        raise RuntimeError(f"{args[0]}: exit {done.returncode}: {out.get('reason')} ({out.get('hint')})")
    return out


def capture(folder: Path, server: SimServer, case: Case, transport: str, name: str) -> Path:
    """Record while the array transmits w.toml, at LEVEL_DB over -12 dBFS."""
    attenuation = 4 * (load_waveform(folder / "w.toml").rms_dbfs + 12 - LEVEL_DB) // 1 / 4
    uri = server.device_uris[transport]
    hil(folder, "capture", uri, f"{name}.sigmf-meta", "--seconds", case.seconds if name == "teach" else 0.5, "--array",
        f"ula:{case.n_elements}:0.5", "--transmit", "w.toml", "--tx-attenuation", attenuation, "--gaps")  # fmt: skip
    return folder / f"{name}.sigmf-meta"


def run_case(case: Case, transport: str, folder: Path, address: str) -> Outcome:
    """The whole chain over one transport ("iio" or "soapy")."""
    begin = time.monotonic()
    outcome = Outcome(case, transport)
    where = {"iio": address} if transport == "iio" else {"iio": None, "soapy": f"{address}:0"}
    hil(folder, "waveform", "new", "ofdm", "w.toml", "--force", "--subcarriers", case.subcarriers, "--spacing",
        case.fs_hz / case.n_fft, "--fs", case.fs_hz, "--cp", case.cp, "--seed", case.seed)  # fmt: skip
    try:
        for name, targets, snr_db in (
            ("teach", case.teachers, case.teaching_snr_db), ("hidden", case.targets, case.snr_db),
        ):  # fmt: skip
            scene = folder / f"{name}.toml"
            scene.write_text(case.scene(targets, snr_db), encoding="utf-8")
            if (folder / f"{name}.sigmf-meta").exists():
                continue  # --keep, run again
            with serve(folder, scene=scene, free_running=True, **where) as server:
                capture(folder, server, case, transport, name)
        known = (
            ("--anchor", case.teachers[0].angle_deg, "--anchor-range", case.teachers[0].range_m)
            if case.teaching == "static"
            else ("--support", "-60:60")
        )
        outcome.learned = hil(folder, "learn", "teach.sigmf-meta", "--method", "gain-phase-isac", "--waveform", "w.toml",
                              *known, "--out", "array.h5", good=(0, 4))  # fmt: skip
        if outcome.learned["exit_code"]:
            raise RuntimeError(f"learn: {outcome.learned['reason']}")
        outcome.found = hil(
            folder, "angle-delay", "hidden.sigmf-meta", "--calibration", "array.h5", "--seconds", case.seconds
        )
        _compare(outcome)
    except RuntimeError as err:
        outcome.problem = str(err)
    outcome.seconds = time.monotonic() - begin
    return outcome


def _compare(outcome: Outcome) -> None:
    """Assign paths to targets; what is left over are ghosts."""
    case, paths = outcome.case, outcome.found["paths"]
    angle = np.array([[p["angle_deg"] - t.angle_deg for p in paths] for t in case.targets]).reshape(3, -1)
    late = np.array([[p["range_m"] - t.range_m for p in paths] for t in case.targets]).reshape(3, -1)
    late /= case.range_bin_m
    cost = np.minimum((angle / 0.5) ** 2 + (late / 0.5) ** 2, 1e4)
    for i, k in zip(*linear_sum_assignment(cost), strict=True):
        if cost[i, k] < 400:
            outcome.angle_error_deg[i], outcome.range_error_bins[i] = angle[i, k], late[i, k]
            outcome.angle_sigma_deg[i] = paths[k]["angle_sigma_deg"]
    outcome.ghosts = len(paths) - int(np.isfinite(outcome.angle_error_deg).sum())


def line(outcome: Outcome) -> str:
    """One line for the terminal."""
    c = outcome.case
    return (
        f"seed {c.seed} {outcome.transport} {c.n_elements} el {c.layout} {c.teaching} leak {c.leakage_db:.0f} "
        f"{'PASS' if outcome.passed else 'FAIL'} angle {np.round(outcome.angle_error_deg, 2)} sigma "
        f"{np.round(outcome.angle_sigma_deg, 2)} bins {np.round(outcome.range_error_bins, 2)} ghosts {outcome.ghosts} "
        f"{outcome.found.get('calibration_status', '')} {outcome.seconds:.0f} s {outcome.problem}"
    )


def main() -> None:
    """Run all cases over both transports."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--first", type=int, default=100)
    parser.add_argument("--transport", default="iio,soapy")
    parser.add_argument("--address", default="127.0.9.2")
    parser.add_argument(
        "--keep", type=Path, default=None, help="keep recordings here, and use those that are there"
    )
    given = parser.parse_args()
    outcomes: list[Outcome] = []
    for seed in range(given.first, given.first + given.scenes):
        for transport in given.transport.split(","):
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                if given.keep is not None:
                    folder = given.keep / f"{seed}-{transport}"
                    folder.mkdir(parents=True, exist_ok=True)
                outcomes.append(run_case(draw_case(seed), transport, folder, given.address))
            print(line(outcomes[-1]), flush=True)


if __name__ == "__main__":
    main()
