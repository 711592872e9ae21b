"""Element positions of a line from OFDM echoes, in closed form and without labels.

Model of Mateos-Ramos et al. 2025 (end-to-end multi-target ISAC), all gains 1: every block holds echoes from inside a known
sector. Learned array and transmit beam go hand in hand: each round captures with the beams of the array learned so
far. What is kept of a block (`echoes`) does not depend on the array, so the echoes of all rounds count at the end.

    grow (`growth`) -> settle (`scan`) -> scale from the edges of the sectors (`scale`) -> next capture

A sector whose two limits are alike is a label: then the angles are known and so is the scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.gpi.delay import Reduced
from calib.gpi.search import TWO_PI, abs2
from calib.isac.echoes import strongest_echoes
from calib.isac.growth import grow
from calib.isac.scale import filled, scale_posterior
from calib.isac.scan import Fit, find_angles, fit_positions
from hil.core.errors import ConfigError, ShapeError

#: capture(x (K,) wavelengths, blocks) -> channel responses with N0 = 1 lit by the beams of x, sectors (B, 2) of u.
Capture = Callable[[NDArray[np.float64], int], tuple[Reduced, NDArray[np.float64]]]

MAX_FIELD_LOSS = 1e-3
_MAX_SCALE_ERROR = 0.15  # sigma of the scale in beams at endfire
_MAX_GAIN_MISFIT = 2e-3
_MAX_RESIDUAL = 0.02
_SIGMAS = 5.0
_FIRST_WINDOW, _LATER_WINDOW = 0.06, 0.02
_GROWN_FROM = 2048
_STRONG, _CLEAN = 14.0, 1.8
_LABEL_WIDTH_U = 1e-9
_WIDE_U = 0.7
_STARTS = (1, 4, 8)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round ended with. echoes : used so far. residual : of the fit. position_sigma : median, wavelengths."""

    echoes: int
    residual: float
    position_sigma: float
    scale_sigma: float


@dataclass(frozen=True, slots=True)
class PositionsFound:
    """Learned positions and what the data say about them.

    Attributes
    ----------
    x : (K,) wavelengths, in the order of x0 and with its mean. sigma : (K,) of x but for scale and shift.
    scale_sigma : relative, of the common scale. residual : median part of an echo's energy that a wave on this array does
    not explain, noise taken out. gain_misfit : mean |gain - 1|^2 of the elements, noise taken out. n_echoes, n_blocks.
    rounds : captures. starts : tried. history : one per round. reason : why x must not be used, or "".
    """

    x: NDArray[np.float64]
    sigma: NDArray[np.float64]
    scale_sigma: float
    residual: float
    gain_misfit: float
    n_echoes: int
    n_blocks: int
    rounds: int
    starts: int
    history: tuple[Round, ...]
    reason: str

    @property
    def converged(self) -> bool:
        """No test speaks against x."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class _Estimate:
    fit: Fit
    scale_sigma: float
    residual: float
    open_scale: str


def learn_positions(
    capture: Capture,
    x0: NDArray[np.float64],
    *,
    blocks: int = 2048,
    rounds: int = 4,
    reach: float = 6.0,
    stop: Callable[[], bool] | None = None,
    on_round: Callable[[Round], None] | None = None,
) -> PositionsFound:
    """Learn the positions of a line.

    Parameters
    ----------
    capture : gives blocks for an array; one that returns the same data again ends the rounds (a recording).
    x0 : (K,) nominal positions in wavelengths, order of the elements as in the data. blocks : per round.
    rounds : captures at most. reach : how far from x0 an element may be, wavelengths. stop : asked between rounds.
    on_round : told after each round.

    Raises
    ------
    ShapeError : data, sectors and x0 do not match. ConfigError : fewer than 3 elements, blocks or rounds below 1.
    """
    x0 = np.asarray(x0, float)
    if x0.ndim != 1 or len(x0) < 3:
        raise ConfigError(f"positions of shape {x0.shape}: a line of at least 3 elements is needed")
    if blocks < 1 or rounds < 1 or not reach > 0:
        raise ConfigError(f"{blocks} blocks, {rounds} rounds, reach {reach}: all must be positive")
    x = x0
    echoes: list[NDArray[np.complex64]] = []
    sectors: list[NDArray[np.float64]] = []
    history: list[Round] = []
    estimate, last, starts = None, None, 0
    while len(history) < rounds:
        data, sector_u = capture(x, blocks)
        if data is last:
            break
        last = data
        echoes.append(_checked(data, sector_u, len(x0)))
        sectors.append(np.asarray(sector_u, float))
        z, limits = np.concatenate(echoes), np.concatenate(sectors)
        if estimate is None or _speaks_against(estimate, len(x0)):
            estimate, starts = _from_start(z, limits, x0, reach)
        else:
            window = float(np.clip(_SIGMAS * estimate.scale_sigma, _LATER_WINDOW, _FIRST_WINDOW))
            estimate = _settle(z, limits, x, window, len(echoes[0]))
        x = estimate.fit.x
        history.append(
            Round(
                len(estimate.fit.u),
                estimate.residual,
                float(np.median(estimate.fit.sigma)),
                estimate.scale_sigma,
            )
        )
        if on_round is not None:
            on_round(history[-1])
        if stop is not None and stop():
            break
    assert estimate is not None
    fit = estimate.fit
    return PositionsFound(
        x - x.mean() + x0.mean(), fit.sigma, estimate.scale_sigma, estimate.residual, _gain_misfit(fit)[0], len(fit.u),
        sum(len(z) for z in echoes), len(history), starts, tuple(history), _why_not(estimate, len(x0)),
    )  # fmt: skip


def _checked(data: Reduced, sector_u: NDArray[np.float64], n_elements: int) -> NDArray[np.complex64]:
    if data.n_elements != n_elements:
        raise ShapeError(f"blocks of {data.n_elements} elements for {n_elements} positions")
    if np.shape(sector_u) != (data.n_blocks, 2) or not np.all(sector_u[:, 0] <= sector_u[:, 1]):
        raise ShapeError(
            f"sectors of shape {np.shape(sector_u)} for {data.n_blocks} blocks: need (low, high) of each"
        )
    return strongest_echoes(data)


def _from_start(
    z: NDArray[np.complex64], sector_u: NDArray[np.float64], x0: NDArray[np.float64], reach: float
) -> tuple[_Estimate, int]:
    """Grown from the nominal middle; again with more of it trusted while the data speak against the outcome."""
    strongest = np.argsort(-np.sum(abs2(z), axis=1))[:_GROWN_FROM]
    wide = float(np.median(sector_u[:, 1] - sector_u[:, 0])) > _WIDE_U
    best, tried = None, 0
    for trusted in _STARTS[1:] if wide else _STARTS:
        x = grow(z[strongest], sector_u[strongest], x0, reach, min(trusted, len(x0) - 1))
        estimate = _settle(z, sector_u, x, _FIRST_WINDOW)
        tried += 1
        if best is None or estimate.residual < best.residual:
            best = estimate
        if not _speaks_against(best, len(x0)):
            break
    assert best is not None
    return best, tried


def _settle(
    z: NDArray[np.complex64],
    sector_u: NDArray[np.float64],
    x: NDArray[np.float64],
    window: float,
    n_nominal: int = 0,
) -> _Estimate:
    """Fit and scale; echoes that stand out and look like one wave are used.

    n_nominal : so many first blocks were lit by the beams of the nominal array and say nothing of the scale; 0: all
    were, and have to.
    """
    n = len(x)
    beam_u = 1 / max(float(np.ptp(x)), 0.5)
    labelled = bool(np.all(sector_u[:, 1] - sector_u[:, 0] < _LABEL_WIDTH_U))
    if labelled:
        u = sector_u[:, 0]
    else:
        # wider than the sectors: an edge that cuts angles off could not tell the scale
        margin = window * np.max(np.abs(sector_u), axis=1, keepdims=True) + beam_u
        u = find_angles(z, x, sector_u + margin * np.array([-1.0, 1.0]))
    rough = fit_positions(z, u, x, angles_known=labelled)
    strong = rough.statistic > _STRONG
    # the delay of a faint echo was chosen by its noise, too; only the stronger half tells about the model
    clear = strong & (rough.statistic >= _median(rough.statistic[strong]))
    residual = _median(((rough.residual - 1) * (n - 1.5) / rough.statistic)[clear])
    used = strong & (rough.residual < _CLEAN)
    if np.count_nonzero(used) < n:
        return _Estimate(rough, float("inf"), residual, "")
    fit = fit_positions(z[used], rough.u[used], rough.x, angles_known=labelled)
    if labelled:
        spread = float(np.sum((fit.x - fit.x.mean()) ** 2))
        return _Estimate(fit, float(np.max(fit.sigma)) / np.sqrt(spread), residual, "")
    told = np.flatnonzero(used) >= n_nominal
    sectors = sector_u[used][told]
    posterior = scale_posterior(
        fit.u[told], fit.sigma_u[told], sectors, beam_u, window, beams_fit=n_nominal > 0
    )
    open_scale = ""
    if posterior.at_edge:
        open_scale = f"the angles ask for a scale more than {100 * window:.0f} % from the one assumed"
    elif not filled(fit.u[told] * posterior.scale, sectors):
        open_scale = (
            "the angles do not reach both edges of their sectors, which would tell the scale of the positions"
        )
    return _Estimate(fit.scaled(posterior.scale), posterior.sigma, residual, open_scale)


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values)) if len(values) else float("inf")


def _gain_misfit(fit: Fit) -> tuple[float, float]:
    """(mean |gain - 1|^2 without noise, its standard error)."""
    noise = 2 * float(fit.gain_sigma**2)
    return float(np.mean(abs2(fit.gain - 1))) - noise, noise / np.sqrt(len(fit.gain))


def _speaks_against(estimate: _Estimate, n: int) -> str:
    """What the residual says against these positions, or ""."""
    fit = estimate.fit
    misfit, sigma = _gain_misfit(fit)
    if estimate.residual > _MAX_RESIDUAL + _SIGMAS / np.sqrt(n * max(len(fit.u), 1)):
        return (
            f"one wave on this array leaves {100 * estimate.residual:.2g} % of an echo unexplained: gains that are not 1, "
            "coupling, delays between the channels, or several targets at one distance"
        )
    if misfit > _MAX_GAIN_MISFIT + _SIGMAS * sigma:
        worst = int(np.argmax(np.abs(fit.gain - 1)))
        return (
            f"element {worst} shows a gain of {abs(fit.gain[worst]):.2f} at {np.rad2deg(np.angle(fit.gain[worst])):.0f} "
            "degrees instead of 1: divide the gains out first"
        )
    return "" if fit.settled else "the positions did not settle"


def _why_not(estimate: _Estimate, n: int) -> str:
    fit = estimate.fit
    if not np.isfinite(estimate.scale_sigma) or len(fit.u) < 2 * n:
        count = int(np.count_nonzero(fit.statistic > _STRONG))
        return f"an echo stands out of the noise in only {count} blocks; at least {2 * n} are needed"
    against = _speaks_against(estimate, n)
    if against:
        return against
    loss = 0.5 * TWO_PI**2 * float(np.mean(fit.sigma**2) * np.mean(fit.u**2))
    if loss > MAX_FIELD_LOSS:
        return (
            f"the noise leaves the positions open by {float(np.median(fit.sigma)):.2g} wavelengths: about "
            f"{loss / MAX_FIELD_LOSS:.1f} times as many blocks are needed"
        )
    if estimate.open_scale:
        return estimate.open_scale
    if estimate.scale_sigma * float(np.ptp(fit.x)) > _MAX_SCALE_ERROR:
        return (
            f"the edges of the sectors leave the scale of the positions open by {100 * estimate.scale_sigma:.2g} %: more "
            "blocks, or sectors further from broadside"
        )
    return ""
