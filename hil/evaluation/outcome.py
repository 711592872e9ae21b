"""What learning achieved on held-out samples: before, after and with the true array, with pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.metrics import manifold_error, steering_of
from hil.core.calibration import Calibration
from hil.core.gauge import canonical
from hil.core.geometry import ArrayGeometry
from hil.dsp.doa import DoaFinder
from hil.evaluation.scoring import Score, field_of_view_deg, score_directions, single_direction_blocks
from hil.evaluation.truth_match import known_array, true_directions
from hil.learning.observe import CovarianceBatch
from hil.reporting import plots
from hil.reporting.page import ReportContent
from sim_backend.truth import Truth

_PICTURE_BLOCKS = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """Scores of three descriptions of one array on the same held-out blocks.

    before, after, known : {"doa_rmspe_deg", "manifold_error"}. batch, true_deg : the blocks used. arrays, scores : by name, "nominal", "calibrated", "known".
    """

    before: dict[str, float]
    after: dict[str, float]
    known: dict[str, float]
    scores: dict[str, Score]
    batch: CovarianceBatch
    true_deg: NDArray[np.float64]
    arrays: dict[str, ArrayGeometry | Calibration]

    @property
    def true_array(self) -> Calibration:
        """The yardstick."""
        known = self.arrays["known"]
        assert isinstance(known, Calibration)
        return known

    def as_dict(self) -> dict[str, Any]:
        """Members of the JSON object of `hil demo`."""
        return {
            "before": self.before,
            "after": self.after,
            "known": self.known,
            "held_out_blocks": len(self.batch),
        }


def evaluate(
    batch: CovarianceBatch,
    truth: Truth,
    offset: int,
    geometry: ArrayGeometry,
    fc_hz: float,
    learned: Calibration | None,
    support_deg: tuple[float, float] | None,
) -> Outcome:
    """Score nominal, learned and true array on held-out blocks (contract.md, definitions)."""
    steady, true_deg = single_direction_blocks(
        batch, lambda samples: true_directions(truth, samples, 0, batch.fs_hz), offset
    )
    middle = int(steady.first_sample[len(steady) // 2]) + offset
    known = known_array(truth, geometry, fc_hz, middle)
    field_deg = field_of_view_deg(geometry, support_deg)
    arrays: dict[str, ArrayGeometry | Calibration] = {"nominal": geometry, "known": known}
    if learned is not None:
        arrays["calibrated"] = learned
    scores = {name: score_directions(steady, true_deg, array, fc_hz) for name, array in arrays.items()}

    def row(name: str) -> dict[str, float]:
        compared = manifold_error(
            _manifold(known, fc_hz),
            _manifold(arrays[name], fc_hz),
            is_line=geometry.kind == "line",
            field_deg=field_deg,
        )
        return {"doa_rmspe_deg": scores[name].doa_rmspe_deg, "manifold_error": compared.error}

    nan = {"doa_rmspe_deg": float("nan"), "manifold_error": float("nan")}
    return Outcome(
        before=row("nominal"),
        after=row("calibrated") if learned is not None else nan,
        known=row("known"),
        scores=scores,
        batch=steady,
        true_deg=true_deg,
        arrays=arrays,
    )


def _manifold(
    array: ArrayGeometry | Calibration, fc_hz: float
) -> Callable[[NDArray[np.float64]], NDArray[np.complex128]]:
    """Steering as a function of radians; in closed form where gains and positions are all, so that a gauge
    fit may follow a line beyond endfire."""
    if not isinstance(array, Calibration):
        return steering_of(np.ones(array.n_elements), array.positions_m, fc_hz)
    imp = array.impairments
    if imp.angle_table_deg is None and np.array_equal(imp.coupling, np.eye(imp.n_elements)):
        return steering_of(imp.gain, array.positions_m, fc_hz)
    return lambda rad: array.steering(np.rad2deg(rad), fc_hz)


def report_content(outcome: Outcome, title: str, fc_hz: float) -> ReportContent:
    """Rows and pictures of an outcome for the report."""
    batch, geometry = outcome.batch, outcome.true_array.geometry
    planar = geometry.kind != "line"
    seconds = batch.time_s - batch.time_s[0]
    pick = np.unique(np.linspace(0, len(batch) - 1, _PICTURE_BLOCKS).astype(int))
    estimates = {n: s.estimates_deg[pick] for n, s in outcome.scores.items() if n != "known"}
    spectra = spectrum_picture(outcome, 0, fc_hz)
    return ReportContent(
        title=title,
        figures=[
            ("MUSIC on one held-out block: with the nominal array it is wrong, with the learned one it is right.", spectra),
            (
                "Directions on held-out blocks." + (" Azimuth." if planar else ""),
                plots.doa_figure(seconds[pick], estimates, outcome.true_deg[pick]),
            ),
        ],
        rows=[
            _row(outcome, "MUSIC direction error on held-out blocks / degrees rms", "doa_rmspe_deg"),
            _row(outcome, "manifold error (1 - worst correlation over the field of view)", "manifold_error"),
        ],
        truth_gain=canonical(outcome.true_array.impairments).gain,
    )  # fmt: skip


def _row(outcome: Outcome, label: str, key: str) -> tuple[str, float, float, float]:
    return label, outcome.before[key], outcome.after[key], outcome.known[key]


def spectrum_picture(outcome: Outcome, block: int, fc_hz: float) -> Any:
    """MUSIC spectra of one held-out block with nominal and learned array, normalised to their peaks."""
    geometry = outcome.true_array.geometry
    planar = geometry.kind != "line"
    grid = np.linspace(-180, 180, 1441) if planar else np.linspace(-90, 90, 1441)
    spectra: dict[str, NDArray[np.float64]] = {}
    for name in ("nominal", "calibrated"):
        if name in outcome.scores:
            values = DoaFinder(outcome.arrays[name], fc_hz, grid).spectrum(
                outcome.batch.covariance[block], outcome.true_deg.shape[1]
            )
            spectra[name] = 10 * np.log10(values)
    return plots.spectrum_figure(grid, spectra, list(outcome.true_deg[block]), planar=planar)
