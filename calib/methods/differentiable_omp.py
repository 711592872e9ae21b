"""Element positions of a line from unlabelled OFDM echoes (Mateos-Ramos et al., end-to-end ISAC, receiver side).

The gains are known, the places are not: a_k(u) = exp(+j 2 pi x_k u). Blocks hold one target each or several, of which
the strongest counts; nobody says where they stand. The paper learns by the gradient of an orthogonal matching pursuit;
here the closed-form scan of `calib.isac.learn` does it, which needs no labels, no channel gradient and does not stick in
phase wraps. Signs: the paper's positions are ours with the other sign, so nothing is mapped here.
What stays open is one factor of all positions (u' = al u, x' = x / al).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.csi import ChannelResponses
from calib.gpi.delay import Reduced, reduce
from calib.gpi.noise import noise_levels, whitened
from calib.gpi.search import Peaks, PeakSearch
from calib.gpi.threshold import detection_threshold
from calib.gpi.verdict import MAX_FIELD_LOSS, Verdict, judge
from calib.isac.echoes import strongest_echoes
from calib.isac.learn import PositionsFound, Round, learn_positions
from calib.isac.polish import polish
from calib.isac.scale_gauge import ScaleFixed, fix_scale, peaks_near_sectors
from calib.isac.scan import fit_positions
from calib.isac.strongest import strongest_alone
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import Sigma
from hil.core.errors import ConfigError, NotIdentifiable, ShapeError
from hil.core.gauge import canonical
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal
from hil.core.units import SPEED_OF_LIGHT_M_S

LossChoice = Literal["scan", "max-map"]
_STEPS = 200
_RATE = 3e-3
_DEFAULT_STD = 0.1
#: Elements are looked for within so many standard deviations.
_REACH = 5.0
_SIGMAS = 5.0
#: Energy beside one wave, of what noise leaves and of the wave's own, from which a block counts as crowded.
_CLEAN, _ALLOWED = 1.8, 4e-3
_MOST_CROWDED = 0.5
_SETTLINGS, _BESIDE = 3, 0.1


def learn_element_positions(
    csi: ChannelResponses,
    geometry: ArrayGeometry,
    fc_hz: float,
    gauge: GaugeRequest,
    *,
    prior: Prior | None = None,
    seed: int = 0,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    loss: LossChoice = "scan",
) -> LearnResult:
    """Learn where the elements of a line are, without labels.

    Parameters
    ----------
    csi : channel responses of receivers whose gains and delays have been divided out. Without sectors in it those of
        `gauge.support_deg` are used, or the whole field of view. geometry : nominal line on x. fc_hz : carrier.
    gauge : sets the factor: "support": the targets fill their sectors up to the edges; "anchor": known angles, not at
        broadside; "prior", "none": the mean size of the nominal array, as well as the prior says; "oracle".
    prior : spread of the position errors, must not be 0. seed : of the batches of the gradient. time_limit_s : what is best by then is
        judged. progress : excess is what one wave leaves unexplained. stop : asked often, True ends it.
    loss : "scan" closed form; "max-map" adds 200 steps of Adam on the published loss without labels.

    Returns
    -------
    LearnResult with gains 1; `converged` False with `reason` unless tests that need no truth are passed: gains that are
    not 1 do not pass them. score : log of the residual per degree of freedom, predicted_score 0.

    Raises
    ------
    ConfigError : not a line on x, positions not to be learned, unknown loss. ShapeError : elements do not match. NotIdentifiable : no
    echo, or an anchor that the data do not show.
    """
    begin = time.monotonic()
    if loss not in ("scan", "max-map"):
        raise ConfigError(f"loss {loss!r} is not one of scan, max-map")
    x0, std = _nominal(csi, geometry, fc_hz, prior)
    data = reduce(csi)
    data = data.scaled(np.full(len(x0), 1 / np.sqrt(float(np.mean(noise_levels(data))))))
    sector_deg = _sectors(csi, gauge)
    sector_u = np.sin(np.deg2rad(sector_deg))
    history: list[tuple[float, float]] = []

    def expired() -> bool:
        return bool(stop is not None and stop()) or time.monotonic() - begin > time_limit_s

    def report(stage: str, excess: float) -> None:
        history.append((time.monotonic() - begin, excess))
        if progress is not None:
            progress(Progress(stage, excess, history[-1][0]))

    found = _scan(data, sector_u, x0, std, expired, report)
    alone, others = strongest_alone(data, found.x, sector_u, _RATE)
    if others and not expired():
        data = alone
        found = _scan(data, sector_u, x0, std, expired, report)
    found = _settled(data, found, sector_u, crowded=bool(others))
    if loss == "max-map" and not expired():

        def on_step(step: int, value: float) -> bool:
            if step % 10 == 0:
                report(f"max-map step {step}", value)
            return expired()

        moved = polish(data, sector_u, found.x, steps=_STEPS, seed=seed, on_step=on_step)
        found = replace(found, x=moved)
    fixed = fix_scale(data, found, gauge, sector_u, x0, std, csi.time_s, _truth(gauge, geometry, fc_hz))
    x = found.x / fixed.al
    x = x - x.mean()
    limits = sector_u if gauge.kind == "support" else np.clip(sector_u * max(fixed.al, 1.0), -1.0, 1.0)
    clean, factor = whitened(data)
    own = factor / np.sqrt(np.mean(factor**2)) + 0j
    peaks = PeakSearch(clean, x, limits)(own)
    used = peaks.statistic > _threshold(clean, x, limits)
    if not used.any():
        raise NotIdentifiable(
            "no echo stands out of the noise", parameters=["positions"],
            hint="capture longer, with more power or with targets in view",
        )  # fmt: skip
    crowded = _crowded(own, peaks, clean.n_subcarriers) & used if others else np.zeros(len(used), bool)
    if np.count_nonzero(crowded) < _MOST_CROWDED * np.count_nonzero(used):
        used &= ~crowded
    verdict = judge(own, peaks.select(used), clean.n_subcarriers)
    result = _describe(found, fixed, x, x0, peaks, used, verdict, SPEED_OF_LIGHT_M_S / fc_hz)
    result.notes.append(
        f"an echo stands out in {np.count_nonzero(used)} of {len(peaks)} blocks"
        + (f"; in {others} weaker ones were taken out" if others else "")
        + (
            f"; {np.count_nonzero(crowded)} with targets too close in range were left out"
            if crowded.any()
            else ""
        )
    )
    result.history, result.steps = history, found.rounds
    result.seconds = time.monotonic() - begin
    return result


def _scan(
    data: Reduced,
    sector_u: NDArray[np.float64],
    x0: NDArray[np.float64],
    std: float,
    expired: Callable[[], bool],
    report: Callable[[str, float], None],
) -> PositionsFound:
    """The closed-form scan of one fixed set of blocks."""
    taken = 0

    def on_round(done: Round) -> None:
        nonlocal taken
        taken += 1
        report(f"round {taken}", done.residual)

    return learn_positions(
        lambda x, count: (data, sector_u), x0, blocks=data.n_blocks, reach=_REACH * std, stop=expired, on_round=on_round
    )  # fmt: skip


def _settled(
    data: Reduced, found: PositionsFound, sector_u: NDArray[np.float64], *, crowded: bool
) -> PositionsFound:
    """Settled once more on all blocks with an echo: the scan leaves out those that do not fit what it had so far."""
    z, x = strongest_echoes(data), found.x
    sigma = found.sigma
    for _ in range(_SETTLINGS):
        own = np.ones(len(x), complex)
        peaks, limits = peaks_near_sectors(data, x, sector_u, _BESIDE)
        used = peaks.statistic > _threshold(data, x, limits)
        if crowded:
            used &= ~_crowded(own, peaks, data.n_subcarriers)
        if np.count_nonzero(used) < 2 * len(x):
            return found
        fit = fit_positions(z[used], peaks.u[used], x)
        x, sigma = fit.x - fit.x.mean() + found.x.mean(), fit.sigma
    return replace(found, x=x, sigma=sigma)


def _crowded(kappa: NDArray[np.complex128], peaks: Peaks, n_subcarriers: int) -> NDArray[np.bool_]:
    """(B,) blocks in which more than one wave is left: targets too close in delay to be parted."""
    n = len(kappa)
    z = peaks.z.astype(np.complex128)
    power = np.abs(z @ kappa.conj()) ** 2 / (n * n_subcarriers)
    rest = np.sum(np.abs(z) ** 2, axis=1) / n_subcarriers - power
    return rest > _CLEAN * (n - 1.5) + _ALLOWED * power


def _nominal(
    csi: ChannelResponses, geometry: ArrayGeometry, fc_hz: float, prior: Prior | None
) -> tuple[NDArray[np.float64], float]:
    """(K,) wavelengths of mean 0, and the prior spread in wavelengths."""
    if csi.n_elements != geometry.n_elements:
        raise ShapeError(
            f"channel responses of {csi.n_elements} elements for an array of {geometry.n_elements}"
        )
    if not fc_hz > 0:
        raise ConfigError("fc_hz: must be positive")
    if geometry.kind != "line":
        raise ConfigError(
            "differentiable-omp learns lines along x", where="array",
            hint="for other arrays use --method cold-start or planar-2d",
        )  # fmt: skip
    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    std = _DEFAULT_STD
    if prior is not None and prior.position_std_m is not None:
        std = prior.position_std_m / wavelength_m
    if not std > 0:
        raise ConfigError(
            "differentiable-omp learns positions: they cannot be exact", where="--position-std",
            hint="leave the option out, or use --method gain-phase-isac",
        )  # fmt: skip
    x = geometry.positions_m[:, 0] / wavelength_m
    return x - x.mean(), std


def _truth(gauge: GaugeRequest, geometry: ArrayGeometry, fc_hz: float) -> NDArray[np.float64] | None:
    if gauge.kind != "oracle" or gauge.truth is None:
        return None
    x = (geometry.positions_m + gauge.truth.position_error_m)[:, 0] * fc_hz / SPEED_OF_LIGHT_M_S
    return x - x.mean()


def _sectors(csi: ChannelResponses, gauge: GaugeRequest) -> NDArray[np.float64]:
    if csi.sector_deg is not None:
        return np.asarray(csi.sector_deg)
    sector = gauge.support_deg or (-90.0, 90.0)
    if sector[0] < -90 or sector[1] > 90:
        raise ConfigError("support: broadside angles of a line lie in -90..90 degrees")
    return np.tile(np.asarray(sector, float), (csi.n_blocks, 1))


def _threshold(data: Reduced, x: NDArray[np.float64], limits: NDArray[np.float64]) -> float:
    return detection_threshold(_RATE, x, limits, data.n_subcarriers, data.spacing_hz, data.window_s)


def _describe(
    found: PositionsFound,
    fixed: ScaleFixed,
    x: NDArray[np.float64],
    x0: NDArray[np.float64],
    peaks: Peaks,
    used: NDArray[np.bool_],
    verdict: Verdict,
    wavelength_m: float,
) -> LearnResult:
    n = len(x)
    degrees = np.rad2deg(np.arcsin(np.clip(peaks.u, -1, 1)))
    seen = degrees[used]
    # what noise alone does not explain makes places less sure, too
    own = found.sigma / fixed.al * float(np.sqrt(max(np.exp(verdict.excess), 1.0)))
    error, sigma = np.zeros((n, 3)), np.zeros((n, 3))
    error[:, 0] = (x - x0) * wavelength_m
    sigma[:, 0] = np.hypot(own, np.abs(x) * fixed.sigma) * wavelength_m
    # what wrong places make of a wave, mean over the angles that were seen
    loss = 0.5 * float(np.mean((2 * np.pi * own) ** 2)) * float(np.mean(np.square(peaks.u[used])))
    reason = _why_not(verdict, loss, float(own.max())) or fixed.reason
    zero = np.zeros(n)
    return LearnResult(
        impairments=canonical(replace(ideal(n), position_error_m=error)),
        sigma=Sigma(zero, zero, sigma, zero),
        gauge=fixed.gauge,
        converged=not reason,
        reason=reason,
        score=verdict.excess,
        predicted_score=0.0,
        excess=verdict.excess,
        excess_threshold=verdict.threshold,
        outlier_fraction=0.0,
        lit_deg=(float(seen.min()), float(seen.max())),
        lit_coverage=1.0,
        field_loss=loss + 0.5 * max(float(verdict.region_misfit.max(initial=0.0)), 0.0),
        n_sources=1,
        n_angles=int(np.count_nonzero(used)),
        n_dwells=int(np.count_nonzero(used)),
        not_identifiable=[fixed.open],
        peaks_deg=np.where(used, degrees, np.nan)[:, None],
    )


def _why_not(v: Verdict, loss: float, sigma: float) -> str:
    """What the residual says against these positions with gains of 1, or ""."""
    n = len(v.element_z)
    if v.n_used < 2 * n:
        return f"an echo stands out of the noise in only {v.n_used} blocks; at least {2 * n} are needed"
    if v.misfit > 2e-3 + _SIGMAS * v.misfit_sigma:
        return (
            f"no positions explain the echoes: {100 * v.misfit:.2g} % of their energy is left over (noise: "
            f"{100 * v.misfit_sigma:.2g} %): the gains of the receivers are not those that were divided out, several "
            "targets at one distance, or delays between the channels"
        )
    worst = int(np.argmax(v.element_z))
    error = float(v.element_z[worst]) * np.sqrt(v.n_used) * n / max(v.total_power, 1e-12)
    if v.element_z[worst] > _SIGMAS + 1 and error > 0.02:
        return f"element {worst} does not fit any place (error {np.sqrt(error):.2g} of its amplitude): its gain is another"
    if len(v.region_misfit):
        over = v.region_misfit - 2e-3 - _SIGMAS * v.region_sigma
        at = int(np.argmax(over))
        if over[at] > 0:
            return (
                f"in one part of the angles {100 * v.region_misfit[at]:.2g} % of the signal follow another array: the "
                "gains of the receivers are not those that were divided out"
            )
    if loss > MAX_FIELD_LOSS:
        return (
            f"the noise leaves the positions open by {sigma:.2g} wavelengths: about {loss / MAX_FIELD_LOSS:.1f} times as "
            "many blocks are needed"
        )
    return ""
