"""Table of docs/methods.md: delays, IQ images and DC learned on random simulated arrays, against what was drawn.

    python tests/bars/channel_table.py --arrays 10

A few minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from accuracy_page import insert_table  # noqa: E402

from tests.physics.channel_scenes import Learned, capture, capture_hops, learn, learn_hops  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "methods.md"
ROWS: dict[str, dict[str, Any] | None] = {
    "echoes, FMComms5, 2.5 MS/s": {"n_samples": 200_000},
    "echoes, ADRV9009-ZU11EG, 3.84 MS/s": {"n_samples": 200_000, "board": "adrv9009-zu11eg", "fs_hz": 3.84e6},
    "echoes, FMComms5, 30.72 MS/s": {"n_samples": 200_000, "fs_hz": 30.72e6},
    "hopping emitter, carrier 100 kHz off, 2.5 MS/s": None,
}


def arrays(options: dict[str, Any] | None, seeds: range, folder: Path) -> list[Learned]:
    """What was learned on one random array for each seed."""
    out = []
    for seed in seeds:
        if options is None:
            capture_hops(folder, seed)
            out.append(learn_hops(folder))
        else:
            out.append(learn(folder, capture(folder, seed, **options)))
    return out


def row(name: str, found: list[Learned]) -> str:
    """A line of the table."""
    told = [x for x in found if not x.json["channels"]["left_out"]]
    delay = np.concatenate([x.delay_errors for x in told])
    iq = np.concatenate([x.iq_errors for x in told])
    dc = np.concatenate([x.dc_errors for x in told])
    sigma_ps = 1e12 * np.concatenate([x.calibration.sigma.delay_s[1:] for x in told])
    image = np.concatenate(
        [x.calibration.sigma.iq_image for x in told if x.calibration.sigma.iq_image is not None]
    )
    offset = np.concatenate(
        [x.calibration.sigma.dc_offset for x in told if x.calibration.sigma.dc_offset is not None]
    )
    cells = [
        name, f"{len(told)} of {len(found)}", f"{np.median(sigma_ps):.0f}", f"{_rms(delay):.2f}",
        f"{20 * np.log10(np.median(image)):.0f}", f"{_rms(iq):.2f}", f"{20 * np.log10(np.median(offset)):.0f}",
        f"{_rms(dc):.2f}", f"{np.median([x.phase_error_deg for x in found]):.3f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def main() -> None:
    """Run all rows and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    args = parser.parse_args()
    lines = [
        "| scene | learned | delay σ / ps | error / σ | IQ image σ / dB | error / σ | DC σ / dBFS | error / σ | "
        "phase error / degrees |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, options in ROWS.items():
            seeds = range(args.first_seed, args.first_seed + args.arrays)
            lines.append(row(name, arrays(options, seeds, Path(folder))))
            print(lines[-1], flush=True)
    insert_table("channels", "\n".join(lines), PAGE)


if __name__ == "__main__":
    main()
