"""Paths in channel responses: found one by one, estimated together, with the standard deviations of the bound.

The strongest place of the residual's matched filter over (angle, delay, Doppler) proposes a path; all paths and the
direct path are then estimated together by Gauss-Newton steps on the least-squares misfit (Levenberg 1944), and the
path stays if the misfit falls by more than the threshold of the stated false-alarm rate: the generalised likelihood
ratio test. What the direct path lights is projected out exactly, whatever its strength and shape over the elements.
Standard deviations are those of the Cramer-Rao bound at the estimate, the direct path and all amplitudes unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.calibration import Calibration
from hil.core.checks import array
from hil.core.errors import ConfigError, ShapeError
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import checked_csi
from hil.dsp.angle_delay_channel import known_channel, mistrust
from hil.dsp.angle_delay_comb import step_of
from hil.dsp.angle_delay_direct import (
    DirectChoice,
    direct_at,
    find_direct,
    frequency_period,
    noise_deviation,
    refine_delay,
)
from hil.dsp.angle_delay_doppler import averaging_loss_db, folded
from hil.dsp.angle_delay_fit import Effort, fit, path_gains, sigmas
from hil.dsp.angle_delay_foreign import whitener_of
from hil.dsp.angle_delay_model import Complex, DirectPath, PathModel, Paths, Real
from hil.dsp.angle_delay_search import CyclicPrefix, Search
from hil.dsp.response import calibrated_response

#: The stated errors of a calibration count with this factor in power.
_SAFETY = 2.0
_MIN_SUBCARRIERS = 8
#: Two paths closer than this part of a resolution cell in every direction cannot be told apart.
_SAME_CELL = 0.25
#: The direct path and the paths are estimated in turn until the former moves no more than that.
_MOST_ROUNDS, _SETTLED_BINS = 8, 1e-4
#: Values times paths that the steps of one search may cost: about half a minute; and paths listed or not.
_MOST_EFFORT, _MOST_PATHS = 1.5e9, 256


@dataclass(frozen=True, slots=True)
class Path:
    """One path. sigma fields are one standard deviation.

    angle_deg, angle_sigma_deg : broadside angle or azimuth. delay_s, delay_sigma_s : after the reference.
    range_m, range_sigma_m : c delay/2, of an echo whose transmitter stands beside the array. power_db : |gamma|^2 against
    a channel of 1, per element. snr_db : integrated over elements, band and time. doppler_hz, range_rate_m_s (positive:
    it moves away), range_rate_sigma_m_s : NaN with a single block.
    """

    angle_deg: float
    delay_s: float
    range_m: float
    power_db: float
    snr_db: float
    doppler_hz: float
    range_rate_m_s: float
    range_rate_sigma_m_s: float
    angle_sigma_deg: float
    delay_sigma_s: float
    range_sigma_m: float


@dataclass(frozen=True, slots=True, eq=False)
class PathEstimate:
    """All paths, strongest first.

    delay_reference : "direct path", "strongest path" or "given"; reference_s : its delay in the data's own time.
    direct_db : power of the direct path per element as power_db, NaN if there is none. noise_db : (M,) noise power per subcarrier
    and block. snr_db : mean over the elements of signal over noise per subcarrier and block. threshold : of the test.
    residual : misfit over its expectation, 1 if the paths explain everything. complete : False if something stopped it before
    the threshold did: max_paths, or (exhausted) the bound on its work.
    foreign_db : by how much other transmitters in the band raise the noise, 0 if nothing shows them.
    """

    paths: tuple[Path, ...]
    delay_reference: str
    reference_s: float
    direct_db: float
    noise_db: Real
    snr_db: float
    threshold: float
    residual: float
    complete: bool
    range_bin_m: float
    foreign_db: float = 0.0
    exhausted: bool = False


def find_paths(
    csi: ArrayLike,
    positions_m: ArrayLike,
    fc_hz: float,
    frequency_hz: ArrayLike,
    *,
    time_s: ArrayLike | None = None,
    calibration: Calibration | None = None,
    direct: DirectChoice = "auto",
    reference_s: float | None = None,
    max_delay_s: float | None = None,
    angles_deg: tuple[float, float] | None = None,
    max_paths: int = 16,
    false_alarm: float = 1e-3,
    prefix: CyclicPrefix | None = None,
    block_s: float = 0.0,
) -> PathEstimate:
    """Find and estimate the paths in channel responses.

    Parameters
    ----------
    csi : (M, S) or (B, M, S) complex, one carrier phase for all blocks. positions_m : (M, 3). fc_hz : Hz.
    frequency_hz : (S,) Hz from the carrier, ascending. time_s : (B,) seconds; None: no Doppler is estimated and the
        blocks are averaged.
    calibration : gains, coupling, positions, element delays, and how far to trust them. None: nominal array.
    direct : whether a direct path is looked for ("auto": what is not a plane wave), taken for granted, or not.
    reference_s : delay counted as zero, if it is known. max_delay_s : paths up to that much after the reference are
        listed; None: all that can be told apart. Those beyond are found as well: what they leave would look like paths.
    angles_deg : (low, high) searched; None: all. false_alarm : probability of any path where there is none.
    prefix : of the OFDM receiver; weak ghosts of strong paths beyond it are then not taken for paths.
    block_s : over which each block is a mean: what moves loses sinc(Doppler block_s) by that, and power_db is without it.

    Raises
    ------
    ShapeError : shapes that do not fit. ConfigError : wrong settings. CalibrationMismatch : of another array.
    """
    blocks = checked_csi(csi, len(np.atleast_2d(np.asarray(positions_m)))).astype(np.complex128)
    f = array("frequency_hz", frequency_hz, np.float64, (blocks.shape[2],))
    if len(f) < _MIN_SUBCARRIERS or np.any(np.diff(f) <= 0):
        raise ShapeError(f"frequency_hz: at least {_MIN_SUBCARRIERS} ascending subcarriers are needed")
    if not 1 <= max_paths <= _MOST_PATHS:
        raise ConfigError(f"max_paths {max_paths} does not lie in 1..{_MOST_PATHS}")
    if time_s is None or len(blocks) == 1:
        blocks, t = blocks.mean(axis=0, keepdims=True), np.zeros(1)
    else:
        t = array("time_s", time_s, np.float64, (len(blocks),))
        t = t - t.mean()
    response = calibrated_response(positions_m, fc_hz, calibration)
    if angles_deg is not None:
        low, high = response.limits_deg
        limits = max(low, angles_deg[0]), min(high, angles_deg[1])
        if not limits[0] < limits[1]:
            raise ConfigError(f"angles {angles_deg[0]:g}:{angles_deg[1]:g} lie outside {low:g}:{high:g}")
        response = replace(response, limits_deg=limits)
    positions = np.asarray(positions_m, float)
    if calibration is not None:
        positions = calibration.positions_m
        blocks = blocks / known_channel(calibration, f)
    scale = float(np.max(np.abs(blocks)))
    if not scale > 0:
        raise ShapeError("csi: all values are zero")
    deviation = noise_deviation(blocks)
    others, foreign_db = whitener_of(blocks / deviation[:, None])
    model = PathModel(response, positions, others / deviation, f, t)
    data = model.whitener @ blocks
    period = frequency_period(f)
    found, strongest = find_direct(data, model, period, direct)
    zero, named = _reference(found, strongest, reference_s)
    if max_delay_s is not None and not max_delay_s > 0:
        raise ConfigError("the largest delay must be positive", where="--max-range")
    window = _window(f, zero, period, named)
    latest_s = np.inf if max_delay_s is None else max_delay_s
    estimate = _Successive(model, data, found, Search(model, window, prefix), mistrust(calibration))
    estimate.run(max_paths, false_alarm, zero + latest_s)
    if named == "strongest path" and len(estimate.paths):
        zero = float(estimate.paths.delay_s[int(np.argmax(estimate.power()))])
    return _describe(estimate, zero, named, deviation, fc_hz, blocks, block_s, foreign_db, latest_s)


def _reference(found: DirectPath | None, strongest: float, given: float | None) -> tuple[float, str]:
    if given is not None:
        return given, "given"
    return (found.delay_s, "direct path") if found is not None else (strongest, "strongest path")


def _window(f: Real, zero: float, period: float, named: str) -> tuple[float, float]:
    """Delays searched. Nothing arrives before the direct path; before the strongest path something may."""
    bin_s = 1 / max(float(np.ptp(f)), 1e-9)
    early = 1.5 * bin_s if named != "strongest path" else period / 4
    return zero - early, zero + period - early


class _Successive:
    """Paths so far, and the search for the next one."""

    def __init__(
        self,
        model: PathModel,
        data: Complex,
        direct: DirectPath | None,
        search: Search,
        mistrust: float,
    ) -> None:
        self.model, self.direct, self.mistrust = model, direct, mistrust
        self.data = data if direct is None else direct.remove(data)
        self.raw = data
        self.search = search
        self.paths = Paths()
        self.misfit = float(np.sum(np.abs(self.data) ** 2))
        self.eta = 0.0
        self.complete = True
        self.effort = Effort(_MOST_EFFORT)

    def run(self, max_paths: int, false_alarm: float, latest_s: float) -> None:
        """Add paths while the data ask for them, up to max_paths that are not later than latest_s."""
        self.eta = self.search.threshold(false_alarm)
        while True:
            residual = self.residual()
            self.effort.left -= self.search.times.work * self.data.size
            proposal = self.search.strongest(residual, self.direct, self._expected_error())
            if proposal.statistic < 0.7 * self.eta * self._noise(self.misfit, len(self.paths)):
                break
            if self.effort.left <= 0:
                self.complete = False
                break
            inside = int(np.count_nonzero(self.paths.delay_s <= latest_s))
            if (inside >= max_paths and proposal.delay_s <= latest_s) or len(self.paths) >= _MOST_PATHS:
                self.complete = proposal.statistic < self.eta
                break
            trial = self.paths.with_path(proposal.angle_deg, proposal.delay_s, proposal.doppler_hz)
            trial, misfit = fit(self.model, trial, self.data, self.direct, self.search.window_s, self.effort)
            raised = self._raised(trial) * self._noise(misfit, len(trial))
            if self.misfit - misfit < self.eta * raised or not bool(_apart(trial, self.search)[-1]):
                break
            self.paths, self.misfit = trial, misfit
            self._follow_direct()
        self._prune()
        for _ in range(_MOST_ROUNDS):
            if self._follow_direct() < _SETTLED_BINS:
                break

    def residual(self) -> Complex:
        """What the paths leave of the data, without the direct path."""
        rest = self.data - self.model.sum(self.paths)
        return rest if self.direct is None else self.direct.remove(rest)

    def _noise(self, misfit: float, n_paths: int) -> float:
        """Noise power against the first estimate, which paths and their side lobes can only have raised."""
        b, m, s = self.data.shape
        free = b * m * s - (0 if self.direct is None else m * self.direct.basis.shape[1]) - 2.5 * n_paths
        return min(misfit / max(free, 1.0), 1.0)

    def power(self) -> Real:
        """(K,) |gamma|^2 ||a||^2: what sets the strongest."""
        a = self.model.steering(self.paths.angle_deg)
        return np.abs(self.paths.gamma) ** 2 * np.sum(np.abs(a) ** 2, axis=0)

    def _follow_direct(self) -> float:
        """The direct path again, now that the paths found no longer pull at it; by how many delay bins it moved."""
        if self.direct is None:
            return 0.0
        rest = (self.raw - self.model.sum(self.paths)).mean(axis=0)
        f, before, blocks = self.model.frequency_hz, self.direct.delay_s, len(self.raw)
        delay = refine_delay(rest, f, before)
        self.direct = direct_at(rest * np.sqrt(blocks), self.model, delay, blocks)
        self.data = self.direct.remove(self.raw)
        self.paths, self.misfit = fit(
            self.model, self.paths, self.data, self.direct, self.search.window_s, self.effort, steps=4
        )
        return abs(delay - before) * float(np.ptp(f))

    def _expected_error(self) -> tuple[Paths, float]:
        """Paths and the part of their power that the calibration may misplace in angle."""
        return self.paths, _SAFETY * self.mistrust / len(self.model.whitener)

    def _raised(self, trial: Paths) -> float:
        """How much the newest path's threshold rises by what the others may leave there."""
        rest, share = trial.select(np.arange(len(trial) - 1)), _SAFETY * self.mistrust
        if not len(rest):
            return 1.0
        level = self.search.spilled(rest, share / len(self.model.whitener))
        return 1.0 + float(level(trial.delay_s[-1:], trial.doppler_hz[-1:])[0])

    def _prune(self) -> None:
        """Leave out what a later path has explained better."""
        while len(self.paths) > 1:
            worth = path_gains(self.model, self.paths, self.direct)
            worth[~_apart(self.paths, self.search)] = 0.0
            weakest = int(np.argmin(worth))
            if worth[weakest] >= self.eta * self._noise(self.misfit, len(self.paths)):
                return
            keep = np.arange(len(self.paths)) != weakest
            self.paths, self.misfit = fit(
                self.model, self.paths.select(keep), self.data, self.direct, self.search.window_s, self.effort
            )


def _apart(paths: Paths, search: Search) -> NDArray[np.bool_]:
    """(K,) False for a path on top of an earlier one: the two share what is one path."""
    cells = search.cells(paths)
    distance = np.max(np.abs(cells[:, None] - cells[None]), axis=2)
    return ~np.any(np.tril(distance < _SAME_CELL, -1), axis=1)


def _describe(
    estimate: _Successive,
    zero: float,
    named: str,
    deviation: Real,
    fc_hz: float,
    blocks: Complex,
    block_s: float,
    foreign_db: float,
    latest_s: float,
) -> PathEstimate:
    model, paths, direct = estimate.model, estimate.paths, estimate.direct
    if named == "direct path" and direct is not None:
        zero = direct.delay_s
    b, m, s = estimate.data.shape
    free = b * m * s - (0 if direct is None else m * direct.basis.shape[1])
    free -= len(paths) * (5 if b > 1 else 4) / 2
    residual = estimate.misfit / max(free, 1)
    noise = max(residual, 1e-12)
    angle, delay, doppler = (sigma * np.sqrt(noise) for sigma in sigmas(model, paths, direct))
    # what a path itself smears over all delays moves its own, too: the bound of a signal so much over it
    turns_s = 2 * np.pi * float(np.std(model.frequency_hz))
    delay = np.sqrt(delay**2 + estimate.search.smeared(paths) / 2 / turns_s**2)
    period_hz = 1 / step_of(model.time_s) if b > 1 else np.inf
    gains = path_gains(model, paths, direct) / noise
    bin_s = 1 / _occupied_hz(model.frequency_hz)
    out: list[Path] = []
    for k in np.argsort(-estimate.power(), kind="stable"):
        a = model.response.steering(paths.angle_deg[k : k + 1])[:, 0]
        power = float(abs(paths.gamma[k]) ** 2 * np.mean(np.abs(a) ** 2))
        late = float(paths.delay_s[k]) - zero
        if late > latest_s:
            continue
        nu = float(folded(paths.doppler_hz[k], period_hz)) if b > 1 else float("nan")
        out.append(
            Path(
                angle_deg=float(paths.angle_deg[k]),
                delay_s=late,
                range_m=late * SPEED_OF_LIGHT_M_S / 2,
                power_db=_db(power) + averaging_loss_db(nu, block_s),
                snr_db=_db(float(gains[k])),
                doppler_hz=nu,
                range_rate_m_s=-nu * SPEED_OF_LIGHT_M_S / fc_hz / 2,
                range_rate_sigma_m_s=float(doppler[k]) * SPEED_OF_LIGHT_M_S / fc_hz / 2,
                angle_sigma_deg=float(np.rad2deg(angle[k])),
                delay_sigma_s=float(delay[k]),
                range_sigma_m=float(delay[k]) * SPEED_OF_LIGHT_M_S / 2,
            )
        )
    strength = (
        float("nan")
        if direct is None
        else _db(float(np.mean(np.abs(np.linalg.solve(model.whitener, direct.vector)) ** 2) / s))
    )
    level = np.mean(np.abs(blocks) ** 2, axis=(0, 2)) / (deviation**2 * noise)
    return PathEstimate(
        tuple(out), named, zero, strength, 20 * np.log10(deviation) + _db(noise), _db(max(float(np.mean(level)) - 1, 1e-12)),
        estimate.eta, residual, estimate.complete, bin_s * SPEED_OF_LIGHT_M_S / 2,
        foreign_db, estimate.effort.left <= 0,
    )  # fmt: skip


def _occupied_hz(f: NDArray[np.float64]) -> float:
    """Occupied bandwidth: S subcarriers are S spacings wide."""
    return float(np.ptp(f)) * len(f) / max(len(f) - 1, 1)


def _db(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-300)))
