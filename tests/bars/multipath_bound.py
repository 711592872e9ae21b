"""Table of docs/faults.md: how close to its emitter a coherent copy may be and still be seen.

    python tests/bars/multipath_bound.py

Exact null depths and the watch's own limit; no simulation. Separations in beams of 2/M in sin(angle).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hil.health.blocks import SNAPSHOTS
from hil.health.nulls import ALLOWANCE, bad_limit, freedom


def least_separation(m: int, snr_db: float, copy_db: float, phase_deg: float) -> float:
    """Beams from which on half of the windows of one emitter with a copy are bad (half-wavelength line)."""
    n = np.arange(m) - (m - 1) / 2
    waves = np.exp(1j * np.pi * np.outer(n, np.linspace(-1, 1, 8001))) / np.sqrt(m)
    for beams in np.linspace(0.005, 1.0, 200):
        copy = 10 ** (copy_db / 20) * np.exp(1j * (np.deg2rad(phase_deg) + np.pi * n * beams * 2 / m))
        a = 1 + copy
        power = float(np.linalg.norm(a) ** 2)
        depth = 1 - float(np.max(np.abs(a.conj() @ waves) ** 2)) / power
        strength = power * 10 ** (snr_db / 10) + 1
        expected = freedom(m, 1) * strength / (strength - 1) ** 2 / (2 * SNAPSHOTS)
        if depth + expected > bad_limit(m, 1) * (expected + ALLOWANCE):
            return float(beams)
    return float("nan")


def main() -> None:
    """Print the table."""
    print("| level of the copy | median over the phase | worst phase |")
    print("|---|---|---|")
    for copy_db in (-3.0, -10.0, -20.0):
        found = np.array([
            [least_separation(m, snr_db, copy_db, phase) for phase in range(0, 360, 15)]
            for m in (4, 8, 16) for snr_db in (10.0, 20.0, 30.0)
        ])  # fmt: skip
        median, worst = np.median(found, axis=1), found.max(axis=1)
        print(
            f"| {copy_db:.0f} dB | {median.min():.2f} to {median.max():.2f} | {worst.min():.2f} to {worst.max():.2f} |"
        )


if __name__ == "__main__":
    main()
