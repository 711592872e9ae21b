"""Gain-phase learning from unlabelled OFDM channel responses (Mateos-Ramos et al., ICASSP 2025).

Gains and phases of a line of known positions, from echoes or signals whose angle is known only to lie in a
sector. Signs: the paper's steering is exp(-j), ours exp(+j); with positions negated the two agree, so nothing
is mapped here. The default is closed form (`calib.gpi.eigen`); the paper's losses (14) and (15) are choices.
Unlike the paper, whose start is kappa = 1, any phases are found, and absolute angles are set by the edges of the
sectors or by a known angle.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calib.csi import ChannelResponses
from calib.gpi.delay import reduce
from calib.gpi.fit import Problem, find_kappa, independent_share, polish, settle_ramp
from calib.gpi.gauge import GaugeFixed, by_anchors, by_edges, by_truth, left_open
from calib.gpi.losses import AdamPlan
from calib.gpi.noise import fading, whitened
from calib.gpi.ramp import shifted
from calib.gpi.search import Peaks, any_ramp
from calib.gpi.verdict import Verdict, judge
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import Sigma
from hil.core.errors import ConfigError, ShapeError
from hil.core.gauge import canonical
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import ideal
from hil.core.units import SPEED_OF_LIGHT_M_S

LossChoice = Literal["eigen", "max-map", "reconstruction"]
_DB_PER_NEPER = 20 / np.log(10)
_FIELD_U = 0.995


def learn_gain_phase(
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
    loss: LossChoice = "eigen",
) -> LearnResult:
    """Learn the gain and phase of every element of a line without labels.

    Parameters
    ----------
    csi : channel responses; one source per block at most, blocks without any allowed. Without sectors in it
        those of `gauge.support_deg` are used, or the whole field of view. geometry : line on x, exact.
    fc_hz : carrier. gauge : "support": angles are uniform in their sectors, whose edges set the ramp; "anchor":
        known angles; "prior" and "none": the ramp stays open; "oracle": the ramp of the given truth.
    prior : must not free the positions. seed : of the batches of the gradient losses. time_limit_s : what is
        best by then is judged. progress : excess is 1 - coherent gain. stop : asked often, True ends it.
    loss : "eigen" closed form; "max-map" (14) and "reconstruction" (15) add 200 steps of Adam.

    Returns
    -------
    LearnResult; `converged` False with `reason` unless tests that need no truth are passed
    (`calib.gpi.verdict`). score : log of the residual per degree of freedom, predicted_score 0.

    Raises
    ------
    ConfigError : not a line on x, positions to be learned, unknown loss. ShapeError : elements do not match.
    NotIdentifiable : an anchor that the data do not show.
    """
    begin = time.monotonic()
    if loss not in ("eigen", "max-map", "reconstruction"):
        raise ConfigError(f"loss {loss!r} is not one of eigen, max-map, reconstruction")
    x = _positions(csi, geometry, fc_hz, prior)
    sector_deg = _sectors(csi, gauge)
    data, factor = whitened(reduce(csi))
    limits = np.clip(np.sin(np.deg2rad(sector_deg)), -_FIELD_U, _FIELD_U)
    known = csi.sector_deg is not None or gauge.support_deg is not None
    # while the ramp is free, angles lie anywhere: limits would bend kappa where they cut a source off
    problem = Problem(data, x, limits if known else np.tile(any_ramp(x), (data.n_blocks, 1)))
    history: list[tuple[float, float]] = []
    steps = 0

    def expired() -> bool:
        return bool(stop is not None and stop()) or time.monotonic() - begin > time_limit_s

    def report(stage: str, peaks: Peaks | None, value: float = float("nan")) -> None:
        if peaks is not None:
            strong = peaks.z[peaks.statistic > np.median(peaks.statistic)]
            energy = np.sum(np.abs(strong) ** 2, axis=1).sum() / data.n_subcarriers - len(strong) * len(x)
            gain = peaks.statistic[peaks.statistic > np.median(peaks.statistic)].sum()
            value = 1 - float(gain) / max(float(energy), 1e-9)
        seconds = time.monotonic() - begin
        history.append((seconds, value))
        if progress is not None:
            progress(Progress(stage, value, seconds))

    def on_round(rounds: int, peaks: Peaks) -> None:
        nonlocal steps
        steps += 1
        report(f"eigen round {rounds}", peaks)

    found = find_kappa(problem, stop=expired, on_round=on_round)
    kappa = found.kappa
    if loss != "eigen" and not expired():
        eta = problem.eta(problem.search())
        snr = fading(found.peaks.statistic, eta, 3e-3).snr
        plan = AdamPlan(loss, lr=1e-2, tangent=loss == "max-map")

        def on_step(step: int, value: float) -> None:
            nonlocal steps
            steps += 1
            if step % 10 == 0:
                report(f"{loss} step {step}", None, value)

        kappa = polish(problem, kappa, plan, snr=snr, seed=seed, stop=expired, on_step=on_step)
    kappa, fixed = _fix(problem, kappa, gauge, csi, sector_deg, factor, known, expired)
    problem = Problem(data, x, limits)
    report("gauge", None, history[-1][1] if history else float("nan"))
    search = problem.search()
    peaks = search(kappa)
    used = peaks.statistic > problem.eta(search)
    verdict = judge(kappa, peaks.select(used), data.n_subcarriers)
    result = _describe(kappa, factor, peaks, used, verdict, fixed, x)
    result.notes += _remarks(problem, peaks, used, gauge)
    result.history, result.steps = history, steps
    result.seconds = time.monotonic() - begin
    return result


def _positions(
    csi: ChannelResponses, geometry: ArrayGeometry, fc_hz: float, prior: Prior | None
) -> NDArray[np.float64]:
    """(N,) wavelengths."""
    if csi.n_elements != geometry.n_elements:
        raise ShapeError(
            f"channel responses of {csi.n_elements} elements for an array of {geometry.n_elements}"
        )
    if not fc_hz > 0:
        raise ConfigError("fc_hz: must be positive")
    if geometry.kind != "line":
        raise ConfigError(
            "gain-phase-isac learns lines along x",
            where="array",
            hint="for other arrays use cold-start on ChannelResponses.covariances()",
        )
    if prior is not None and prior.position_std_m:
        raise ConfigError(
            "gain-phase-isac takes the positions as exact",
            hint="cold-start on ChannelResponses.covariances() learns positions too",
        )
    x = geometry.positions_m[:, 0] * fc_hz / SPEED_OF_LIGHT_M_S
    x = x - x.mean()
    if float(np.diff(np.sort(x)).min()) < 1e-3:
        raise ConfigError("two elements have the same nominal place", where="array")
    return x


def _sectors(csi: ChannelResponses, gauge: GaugeRequest) -> NDArray[np.float64]:
    if csi.sector_deg is not None:
        return np.asarray(csi.sector_deg)
    sector = gauge.support_deg or (-90.0, 90.0)
    if sector[0] < -90 or sector[1] > 90:
        raise ConfigError("support: broadside angles of a line lie in -90..90 degrees")
    return np.tile(np.asarray(sector, float), (csi.n_blocks, 1))


def _fix(
    problem: Problem,
    kappa: NDArray[np.complex128],
    gauge: GaugeRequest,
    csi: ChannelResponses,
    sector_deg: NDArray[np.float64],
    factor: NDArray[np.float64],
    known: bool,
    expired: Callable[[], bool],
) -> tuple[NDArray[np.complex128], GaugeFixed]:
    if known:
        # whatever fixes the ramp in the end: angles that the edges clip would be taken for errors of kappa
        settled = settle_ramp(problem, kappa, stop=expired)
        kappa = settled.kappa
        if gauge.kind == "support":
            return kappa, by_edges(settled.posterior, sector_deg, gauge.support_deg)
    if gauge.kind == "anchor":
        fixed = by_anchors(problem, kappa, gauge, csi.time_s)
    elif gauge.kind == "oracle" and gauge.truth is not None:
        fixed = by_truth(kappa, gauge.truth.gain * factor, problem.x, gauge.support_deg)
    else:
        return kappa, left_open(gauge, sector_deg if known else None)
    return shifted(kappa, problem.x, -fixed.delta), fixed


def _describe(
    kappa: NDArray[np.complex128],
    factor: NDArray[np.float64],
    peaks: Peaks,
    used: NDArray[np.bool_],
    verdict: Verdict,
    fixed: GaugeFixed,
    x: NDArray[np.float64],
) -> LearnResult:
    n = len(kappa)
    degrees = np.rad2deg(np.arcsin(np.clip(peaks.u, -1, 1)))
    seen = degrees[used]
    # each real component of an element's relative error
    relative = np.sqrt(n / (2 * max(verdict.total_power, 1e-9))) / np.maximum(np.abs(kappa), 1e-6)
    ramp = 2 * np.pi * (x - x[0]) * fixed.sigma_u
    phase = np.sqrt(relative**2 + relative[0] ** 2 + ramp**2)
    phase[0] = 0.0
    zero = np.zeros(n)
    return LearnResult(
        impairments=canonical(replace(ideal(n), gain=kappa / factor)),
        sigma=Sigma(_DB_PER_NEPER * relative, np.rad2deg(phase), np.zeros((n, 3)), zero),
        gauge=fixed.gauge,
        converged=not verdict.reason,
        reason=verdict.reason,
        score=verdict.excess,
        predicted_score=0.0,
        excess=verdict.excess,
        excess_threshold=verdict.threshold,
        outlier_fraction=0.0,
        lit_deg=(float(seen.min()), float(seen.max())) if len(seen) else None,
        lit_coverage=1.0 if len(seen) else 0.0,
        field_loss=verdict.statistical_loss + 0.5 * max(float(verdict.region_misfit.max(initial=0.0)), 0.0),
        n_sources=1,
        n_angles=int(np.count_nonzero(used)),
        n_dwells=int(np.count_nonzero(used)),
        not_identifiable=[fixed.open],
        peaks_deg=np.where(used, degrees, np.nan)[:, None],
    )


def _remarks(problem: Problem, peaks: Peaks, used: NDArray[np.bool_], gauge: GaugeRequest) -> list[str]:
    notes = []
    count = int(np.count_nonzero(used))
    state = fading(peaks.statistic, problem.eta(problem.search()), 3e-3)
    notes.append(
        f"a source stands out in {count} of {len(peaks)} blocks; SNR after summing over the array and the band "
        f"{10 * np.log10(max(state.snr, 1e-3)):.1f} dB"
    )
    if gauge.kind == "support" and count:
        share = independent_share(peaks.u[used], problem.sector_u[used])
        if share < 0.5:
            notes.append(
                f"the angles follow each other: {count} blocks count as {max(int(share * count), 1)} angles"
            )
    return notes
