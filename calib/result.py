"""What a learner is asked and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Sigma
from hil.core.errors import ConfigError
from hil.core.gauge import Gauge
from hil.core.impairments import Impairments

GaugeKind = Literal["support", "anchor", "rotation", "prior", "none", "oracle"]
_KINDS = ("support", "anchor", "rotation", "prior", "none", "oracle")


@dataclass(frozen=True, slots=True)
class GaugeRequest:
    """What may be assumed about absolute angles, which unlabelled data cannot show.

    Attributes
    ----------
    kind : "support": the emitters' angles fill `support_deg` and reach its edges; "anchor": known angles at
        known times; "rotation": the array stood on a table at the angles `rotations`, emitters did not move in
        the room meanwhile, nobody knows an absolute angle; "prior": position errors are small and all sources
        are in front; "none": no claim on absolute angles (fixed as "prior"); "oracle": `truth` tells (diagnosis
        only, no usable calibration).
    support_deg : (low, high) broadside angle or azimuth, degrees. Also centres the search.
    anchors_deg : (angle in degrees, t0_s or None, t1_s or None): a source stands at the angle from t0 to t1.
    truth : the true impairments, for "oracle".
    rotations : (heading in degrees, t0_s, t1_s): from t0 to t1 the table stood at this heading, counted from an
        arbitrary zero, clockwise seen from above. On a line theta = theta_source - heading.
    anchor_elevations_deg : one per anchor, or empty for 0; only where elevation is learned.
    """

    kind: GaugeKind = "none"
    support_deg: tuple[float, float] | None = None
    anchors_deg: tuple[tuple[float, float | None, float | None], ...] = ()
    truth: Impairments | None = None
    rotations: tuple[tuple[float, float, float], ...] = ()
    anchor_elevations_deg: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "anchors_deg", tuple(tuple(a) for a in self.anchors_deg))
        object.__setattr__(self, "rotations", tuple(tuple(r) for r in self.rotations))
        if self.kind not in _KINDS:
            raise ConfigError(f"gauge {self.kind!r} is not one of {', '.join(_KINDS)}")
        if self.kind == "support" and self.support_deg is None:
            raise ConfigError("gauge support: needs the range of angles", hint="--support -60:60")
        if self.kind == "anchor" and not self.anchors_deg:
            raise ConfigError("gauge anchor: needs at least one known angle", hint="--anchor 20@0:1")
        if self.anchor_elevations_deg and len(self.anchor_elevations_deg) != len(self.anchors_deg):
            raise ConfigError("anchor_elevations_deg: one for each anchor, or none")
        if self.kind == "rotation" and len({r[0] for r in self.rotations}) < 2:
            raise ConfigError(
                "gauge rotation: needs at least two different table positions", hint="--rotations table.csv"
            )
        if self.kind == "oracle" and self.truth is None:
            raise ConfigError("gauge oracle: needs the true impairments")
        if self.support_deg is not None and not self.support_deg[0] < self.support_deg[1]:
            raise ConfigError(f"support {self.support_deg[0]:g}:{self.support_deg[1]:g} is empty")


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known before any data.

    position_std_m : standard deviation of each coordinate of an element's position in metres; None: 0.1
    wavelengths; 0: the nominal positions are exact and only gains are learned.
    """

    position_std_m: float | None = None

    def __post_init__(self) -> None:
        if self.position_std_m is not None and not self.position_std_m >= 0:
            raise ConfigError("position_std_m must not be negative")


@dataclass(frozen=True, slots=True)
class Progress:
    """One report while learning. excess: median misfit so far (0 = explained by noise); seconds so far."""

    stage: str
    excess: float
    seconds: float


class LearnOptions(TypedDict, total=False):
    """What every learning method takes by name; the defaults are those of `calib.learn.learn`.

    prior : size of the position errors. seed : of randomised restarts. time_limit_s : of the search.
    progress : called now and then. stop : asked often, True ends the search.
    """

    prior: Prior | None
    seed: int
    time_limit_s: float
    progress: Callable[[Progress], None] | None
    stop: Callable[[], bool] | None


@dataclass(slots=True)
class LearnResult:
    """Outcome of learning. Use `impairments` only if `converged`.

    Attributes
    ----------
    impairments, sigma, gauge : as they go into a calibration file (hil.core.gauge.canonical).
        gauge.angle_sigma_deg: the rms angle error over the support, from the gauge alone, stays below it in
        90 % of cases. gauge.offset_sigma_deg, gauge.scale_sigma: standard deviations.
    converged : the manifold is right up to the gauge, by tests that need no truth. reason : why not.
    score, predicted_score : median log null depth and what noise alone predicts. excess = difference,
        corrected for the median; excess_threshold : what chance explains. outlier_fraction : share of
        nulls more than ten times shallower than predicted.
    lit_deg : (low, high) angles that the data covered; holes_deg : ranges inside without data;
        lit_coverage : share of lit_deg outside holes. field_loss : bound on 1 - manifold correlation over
        the field of view, from the data's own information.
    n_sources : K. n_angles : independent angles (dwells x sources, static sources once). n_dwells.
    not_identifiable : in words, what these data could not determine.
    seconds, steps, attempts (models tried by the search) : effort. history : (seconds, excess). peaks_deg : (B, K) per block, NaN where unusable.
    notes : remarks for the user that change nothing.
    """

    impairments: Impairments
    sigma: Sigma
    gauge: Gauge
    converged: bool
    reason: str = ""
    score: float = float("nan")
    predicted_score: float = float("nan")
    excess: float = float("nan")
    excess_threshold: float = float("nan")
    outlier_fraction: float = float("nan")
    lit_deg: tuple[float, float] | None = None
    holes_deg: list[tuple[float, float]] = field(default_factory=list)
    lit_coverage: float = 0.0
    field_loss: float = float("nan")
    n_sources: int = 0
    n_angles: int = 0
    n_dwells: int = 0
    not_identifiable: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: int = 0
    attempts: int = 0
    history: list[tuple[float, float]] = field(default_factory=list)
    peaks_deg: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    notes: list[str] = field(default_factory=list)
