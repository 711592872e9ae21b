"""Many arrays through the learner: a Markdown table. `python -m tests.physics.bars_cold_start [ARRAYS] [FIRST_SEED]`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from calib.learn import GaugeRequest
from tests.physics.array_scenes import ArrayScene, circle, make_scene, uniform_line

HEADER = (
    "| array | converged | silent failures | 1 - correlation, largest | angle error deg: median / 90 % / largest "
    "| stated sigma deg, median | covered | CPU s: median / largest | blocks' excess: range |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Case:
    """One row: nominal (N, 2) wavelengths, K, SNR and the angles' limits."""

    name: str
    nominal: np.ndarray
    k: int
    snr_db: float = 20.0
    limits: tuple[float, float] = (-60.0, 60.0)
    position_std: float = 0.1

    def scene(self, seed: int) -> ArrayScene:
        """960 blocks, two to a dwell."""
        return make_scene(
            seed, self.nominal, self.k, 960, limits_deg=self.limits, blocks_per_dwell=2,
            position_std=self.position_std, snr_db=self.snr_db,
        )  # fmt: skip


CASES = (
    Case("line 4, 1 source", uniform_line(4), 1),
    Case("line 4, 2 sources", uniform_line(4), 2),
    Case("line 8, 1 source", uniform_line(8), 1),
    Case("line 8, 2 sources", uniform_line(8), 2),
    Case("line 8, 3 sources", uniform_line(8), 3),
    Case("line 16, 3 sources, 15 dB", uniform_line(16), 3, snr_db=15.0),
    Case("circle 8, all round", circle(), 1, limits=(-180.0, 180.0)),
    Case("circle 8, 2 sources, all round", circle(), 2, limits=(-180.0, 180.0)),
    Case("circle 8, sector of 240 deg", circle(), 1, limits=(-120.0, 120.0), position_std=0.05),
    Case("circle 8, sector of 120 deg", circle(), 1, position_std=0.05),
)


def row(case: Case, seeds: range) -> str:
    """Learn `seeds` and summarise."""
    converged, silent = 0, 0
    errors, angles, sigmas, seconds, excess = [], [], [], [], []
    for seed in seeds:
        scene = case.scene(seed)
        begin = time.process_time()
        result = scene.learn(GaugeRequest("support", case.limits))
        seconds.append(time.process_time() - begin)
        excess.append(result.excess)
        error = scene.compare(result)
        converged += result.converged
        if not result.converged:
            print(f"{case.name}, seed {seed}: {result.reason}", file=sys.stderr)  # noqa: T201
            continue
        silent += error.error > 1e-3
        errors.append(error.error)
        sigmas.append(result.gauge.angle_sigma_deg)
        angles.append(_angle_error_deg(case, error))
    a = np.quantile(angles, [0.5, 0.9, 1.0]) if angles else np.full(3, np.nan)
    covered = np.mean(np.array(angles) <= np.array(sigmas)) if angles else np.nan
    return (
        f"| {case.name} | {converged}/{len(seeds)} | {silent} | {max(errors, default=np.nan):.1e} "
        f"| {a[0]:.3f} / {a[1]:.3f} / {a[2]:.3f} | {np.median(sigmas) if sigmas else np.nan:.3f} "
        f"| {100 * covered:.0f} % | {np.median(seconds):.2f} / {np.max(seconds):.2f} "
        f"| {np.min(excess):.3f}..{np.max(excess):.3f} |"
    )


def _angle_error_deg(case: Case, error) -> float:
    """Rms over the support of what the gauge leaves."""
    if case.name.startswith("circle"):
        return error.gauge_error_deg
    angle = np.deg2rad(np.linspace(*case.limits, 121))
    seen = np.arcsin(np.clip((np.sin(angle) - error.be) / error.al, -1, 1))
    return float(np.rad2deg(np.sqrt(np.mean((seen - angle) ** 2))))


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
    print(HEADER)  # noqa: T201
    for case in CASES:
        print(row(case, range(first, first + count)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
