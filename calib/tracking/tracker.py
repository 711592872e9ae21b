"""Following slow phase drift block by block, with the array's other errors held.

    H = sum_k (Re G_k - q_k q_k^T) / v_k,   dx = -P (I + H P)^-1 b,   P <- P - P (I + H P)^-1 H P

b is the gradient of the null depth, G its Gram matrix, q_k the direction that the source's own angle absorbs, v_k
the noise (cold start 6). The common phase never shows, and on a line neither does a ramp: it moves every u
rigidly. That part is followed only where the emitters' angles reach known edges (`follow_offset`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calib.export import model_of
from calib.layout import layout_of
from calib.model import TWO_PI, Model
from calib.observations import Observations, Subspaces, subspaces
from calib.result import Prior
from calib.tracking.nulls import NullReader, phase_equations
from calib.tracking.phase_filter import OffsetFilter, PhaseFilter, WalkMeter
from hil.core.errors import ConfigError, ShapeError
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments

_GATE = 60.0  # times the noise v (N - K): beyond it a null belongs to a hop or another source
_UNSURE_GATE = 4.0  # times what the phases' own uncertainty makes of a null
_REREAD = (
    1e-3  # rad^2, as after a pause: angles are found again with the phases that the block itself has mended
)
_RATE_WALK_DEG = 0.1  # deg/s per sqrt(s), until it is measured
_START_RATE_DEG_S = 0.5  # 30 degrees a minute
_WALK_BOUNDS_DEG = (0.01, 1.0)
_DEG = 180 / np.pi
_BLOCK_S = 0.01  # where blocks carry no time: 100 a second


@dataclass(frozen=True, slots=True)
class Track:
    """State after one block. phase_deg (M,): drift since the start, in channel order, without the parts
    that cannot be seen. theta_deg (K,) angles of the block. used : nulls that passed the gate.
    offset_sigma_deg : standard deviation of the followed angle offset at broadside; NaN if it is not followed.
    """

    phase_deg: NDArray[np.float64]
    theta_deg: NDArray[np.float64]
    used: int
    offset_sigma_deg: float = float("nan")


class Tracker:
    """Tracks phases from a calibration that held at the start.

    Parameters
    ----------
    calibration_impairments, geometry, fc_hz : the calibration. n_sources : K. n_snapshots : T per block.
    walk_deg : random walk of each phase per block (0.02 follows 30 deg/min at 100 blocks/s); without `rates`.
    start_sigma_deg : of the calibration's phases. support_deg : angles searched, default the whole visible range.
    rates : the state is (phase, rate): steady drift without lag, and a prediction over pauses where blocks carry times.
    rate_walk_deg : random walk of the rates, deg/s per sqrt(s); None: measured from the phases' own bends, between 0.01
        and 1 (`calib.tracking.phase_filter.WalkMeter`).
    start_offset_sigma_deg : of the calibration's absolute angles, for `follow_offset`; default what `start_sigma_deg` makes.
    scale_sigma : of the calibration's scale of sin(angle), for `follow_offset`.
    follow_offset : the emitters' angles fill `support_deg` and reach both edges: the hidden ramp of a line is followed
        by them. Its restlessness is taken from the visible phases.

    Raises
    ------
    ConfigError : K, or `follow_offset` without a support.
    """

    def __init__(
        self,
        calibration_impairments: Impairments,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int,
        n_snapshots: int,
        *,
        walk_deg: float = 0.02,
        start_sigma_deg: float = 0.5,
        support_deg: tuple[float, float] | None = None,
        rates: bool = False,
        rate_walk_deg: float | None = None,
        follow_offset: bool = False,
        start_offset_sigma_deg: float | None = None,
        scale_sigma: float = 0.0,
    ) -> None:
        n = geometry.n_elements
        if not 1 <= n_sources < n:
            raise ConfigError(f"{n_sources} sources: {n} elements separate 1 to {n - 1}")
        probe = Observations(np.eye(n, dtype=complex)[None], max(n_snapshots, n + 1))
        self._layout = layout_of(probe, geometry, fc_hz, Prior())
        model = model_of(calibration_impairments, self._layout)
        self._r, self._g = model.r, model.g
        self._g2 = np.abs(model.g) ** 2
        self._is_line = model.is_line
        self._k, self._t = n_sources, n_snapshots
        self._pick = np.ix_(self._layout.order, self._layout.order)
        hidden = [np.ones(n)]
        if self._is_line:
            hidden.append(model.r[:, 0] - model.r[:, 0].mean())
        visible = np.linalg.svd(np.array(hidden))[2][len(hidden) :].T
        self._rates = rates
        self._walk = None if rates else float(np.deg2rad(walk_deg))
        if rates and rate_walk_deg is not None:
            self._walk = float(np.deg2rad(rate_walk_deg))
        self._filter = PhaseFilter(
            visible, float(np.deg2rad(start_sigma_deg)), float(np.deg2rad(_START_RATE_DEG_S)), rates=rates
        )
        self._drift = np.zeros(n)
        self._time_s: float | None = None
        limit, edges = (-1.0, 1.0), None
        if support_deg is not None and self._is_line:
            edges = tuple(np.sin(np.deg2rad(support_deg)))
            limit = (edges[0] - 0.03, edges[1] + 0.03)
        self._reader = NullReader(Model(model.g, model.r), n_sources, limit)
        self._offset: OffsetFilter | None = None
        self._meter = WalkMeter(np.deg2rad(_RATE_WALK_DEG), *np.deg2rad(_WALK_BOUNDS_DEG))
        if follow_offset and self._is_line:
            if edges is None:
                raise ConfigError("following the offset needs the support", hint="support_deg=(-60, 60)")
            # a phase drift of every element by itself has a ramp of this size
            self._per_phase = 1 / (TWO_PI * float(np.linalg.norm(hidden[1])))
            start = float(np.deg2rad(start_sigma_deg)) * self._per_phase
            if start_offset_sigma_deg is not None:
                start = float(np.deg2rad(start_offset_sigma_deg))
            self._offset = OffsetFilter(
                (float(edges[0]), float(edges[1])),
                start,
                float(np.deg2rad(_START_RATE_DEG_S)) * self._per_phase,
                scale_sigma,
            )

    @property
    def gain(self) -> NDArray[np.complex128]:
        """(M,) current gains in channel order, unit norm."""
        out = np.empty(len(self._g), complex)
        out[self._layout.order] = self._g
        return out

    def update(self, covariance: ArrayLike, time_s: float | None = None) -> Track:
        """Take one block's covariance (M, M) complex128.

        time_s : of the block, ascending; without it blocks are taken as 10 ms apart. Raises ShapeError.
        """
        return self.follow(np.asarray(covariance)[None], None if time_s is None else [time_s])[0]

    def follow(self, covariances: ArrayLike, time_s: ArrayLike | None = None) -> list[Track]:
        """As `update` for one block after the other, covariances (B, M, M), times (B,): exactly the same, in less time."""
        cov = np.asarray(covariances, complex)
        n = len(self._g)
        if cov.ndim != 3 or cov.shape[1:] != (n, n):
            raise ShapeError(f"covariance: shape {cov.shape[1:]}, expected {(n, n)}")
        if not np.isfinite(cov).all():
            raise ShapeError("covariance: contains values that are not finite")
        sub = subspaces(cov[(slice(None), *self._pick)], self._t, self._k)
        times = [None] * len(cov) if time_s is None else [float(t) for t in np.asarray(time_s, float)]
        return [self._take(sub, block, time) for block, time in zip(range(len(cov)), times, strict=True)]

    def _take(self, sub: Subspaces, block: int, time_s: float | None) -> Track:
        n, order = len(self._g), self._layout.order
        self._predict(time_s)
        nulls = self._reader.read(sub, block, self._g)
        # what the phases' own uncertainty adds to a null: after a pause a good null may be shallow
        unsure = self._filter.covariance.trace() / n
        good = nulls.depth < _GATE * (n - self._k) * nulls.variance + _UNSURE_GATE * unsure
        theta = nulls.theta
        if good.any():
            kept = nulls.select(good)
            information, gradient, spread = phase_equations(kept, self._g2, unsure**2)
            self._turn(self._filter.update(information, gradient))
            if unsure > _REREAD:
                theta = self._reader.read(sub, block, self._g).theta
            if self._offset is not None:
                theta = theta - self._follow_edges(kept.theta, spread)
        phase = np.empty(n)
        phase[order] = _DEG * self._drift
        degrees = _DEG * (np.arcsin(np.minimum(np.maximum(theta, -1), 1)) if self._is_line else theta)
        sigma = float("nan") if self._offset is None else float(np.rad2deg(self._offset.sigma))
        return Track(phase, degrees, int(good.sum()), sigma)

    def _predict(self, time_s: float | None) -> None:
        dt = _BLOCK_S
        if time_s is not None:
            dt = 0.0 if self._time_s is None else max(time_s - self._time_s, 0.0)
            self._time_s = time_s
        self._meter.add(dt, self._filter.phase)
        walk = self._meter.walk if self._walk is None else self._walk
        self._turn(self._filter.predict(dt if self._rates else dt / _BLOCK_S, walk))
        if self._offset is not None:
            self._shift(self._offset.predict(dt, self._meter.walk * self._per_phase))

    def _follow_edges(self, u: NDArray[np.float64], variance: NDArray[np.float64]) -> float:
        assert self._offset is not None
        change = 0.0
        for value, spread in zip(u, variance, strict=True):
            change += self._offset.update(float(value) - change, float(np.sqrt(spread)))
        self._shift(change)
        return change

    def _shift(self, offset: float) -> None:
        """Take every u as smaller by `offset`: a ramp of the phases."""
        self._turn(TWO_PI * offset * (self._r[:, 0] - self._r[:, 0].mean()))

    def _turn(self, change: NDArray[np.float64]) -> None:
        self._drift = self._drift + change
        self._g = self._g * np.exp(1j * change)
