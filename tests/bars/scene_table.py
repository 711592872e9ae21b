"""Table over scenes: 4, 8 and 16 elements on a line, a circle, two emitters; 20 arrays each, against the CRB.

    python tests/bars/scene_table.py --seeds 20

In-process simulation (free-running), the same learner and scores as the program. About 10 minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from accuracy_page import insert_table
from scene_learning import Trial, line, run_trial

from hil.dsp.doa_accuracy import doa_crb_deg
from hil.jobs.demo import CAPTURE_S, scene_geometry
from hil.learning.observe import BLOCK_SNAPSHOTS
from sim_backend.scene import Scene, load_scene

SCENES = {
    "8 elements, line (default scene)": None,
    "4 elements, line, positions 0.05": "four.toml",
    "16 elements, line": "sixteen.toml",
    "8 elements, two emitters, 0 and -10 dB": "two.toml",
    "8 elements, circle, sector -120:120, positions 0.05": "circle.toml",
}


def bound_deg(scene: Scene) -> float:
    """Mean absolute error of an efficient estimator that knows the array: sqrt(2/pi) CRB, over the emitters' range."""
    low, high = scene.emitters[0].range_deg
    angles = np.linspace(low, high, 61)
    crb = [
        doa_crb_deg(scene_geometry(scene), scene.receiver.fc_hz, [a], scene.receiver.snr_db, BLOCK_SNAPSHOTS)[
            0
        ]
        for a in angles
    ]
    return float(np.sqrt(2 / np.pi) * np.mean(crb))


def aligned_deg(trial: Trial, is_line: bool) -> float:
    """Median absolute direction error after the best gauge (offset and scale of sin, or rotation), degrees."""
    assert trial.outcome is not None
    found, true = trial.outcome.scores["calibrated"].estimates_deg, trial.outcome.true_deg
    found, true = np.sort(found, axis=1), np.sort(true, axis=1)
    good = np.isfinite(found).all(axis=1) & (np.abs(found - true).max(axis=1) < 5)
    if not is_line:
        error = found[good] - true[good]
        return float(np.median(np.abs(error - np.median(error))))
    u, v = np.sin(np.deg2rad(true[good])).ravel(), np.sin(np.deg2rad(found[good])).ravel()
    slope, offset = np.polyfit(v, u, 1)
    back = np.rad2deg(np.arcsin(np.clip(slope * v + offset, -1, 1)))
    return float(np.median(np.abs(back - true[good].ravel())))


def main() -> None:
    """Run all scenes and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    rows = [
        "| scene | converged | exit 4 (sigma) | silent | error / deg: median, 90 %, max | stated sigma covers | known array | bound (CRB) | learned, gauge aligned, median | learned / known, worst but three | compute / s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, file in SCENES.items():
        scene = load_scene(None if file is None else Path(__file__).parent / "scenes" / file)
        trials = []
        for seed in range(args.seeds):
            trials.append(run_trial(scene, seed, CAPTURE_S))
            print(line(trials[-1]), flush=True)
        rows.append(row(name, scene, trials))
    insert_table("scenes", "\n".join(rows))


def row(name: str, scene: Scene, trials: list[Trial]) -> str:
    """One line of the table."""
    good = [t for t in trials if t.result is not None and t.result.converged and t.outcome is not None]
    after = np.array([t.outcome.after["doa_rmspe_deg"] for t in good if t.outcome])
    known = np.array([t.outcome.known["doa_rmspe_deg"] for t in good if t.outcome])
    sigma = np.array([t.result.gauge.angle_sigma_deg for t in good if t.result])
    manifold = np.array([t.outcome.after["manifold_error"] for t in good if t.outcome])
    is_line = scene.array.kind == "ula"
    aligned = np.median([aligned_deg(t, is_line) for t in good])
    ratio = np.sort(after / np.maximum(known, 0.15 / 1.1))[::-1]
    covered = np.mean(np.maximum(after - known, 0) <= sigma)
    seconds = np.array([t.result.seconds for t in good if t.result])
    bound = f"{bound_deg(scene):.4f}" if len(scene.emitters) == 1 else "-"
    return (
        f"| {name} | {len(good)}/{len(trials)} | {int(np.sum(sigma > 0.5))} | {int(np.sum(manifold > 1e-3))} "
        f"| {np.median(after):.3f}, {np.quantile(after, 0.9):.3f}, {after.max():.3f} | {100 * covered:.0f} % "
        f"| {np.median(known):.4f} | {bound} | {aligned:.4f} | {ratio[min(3, len(ratio) - 1)]:.2f} "
        f"| {np.median(seconds):.2f} ({seconds.max():.2f}) |"
    )


if __name__ == "__main__":
    main()
