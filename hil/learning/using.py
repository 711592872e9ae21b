"""Using a calibration on data: its epoch is checked, live data may confirm it, and nothing stale is used silently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from calib.result import GaugeRequest
from hil import store
from hil.core.calibration import Calibration
from hil.core.errors import CalibrationMismatch
from hil.core.frame import StreamInfo
from hil.learning.observe import CovarianceBatch


class Judgement(Protocol):
    """Outcome of a test of a calibration by live data. silent : the data cannot say."""

    @property
    def verified(self) -> bool: ...
    @property
    def silent(self) -> bool: ...
    @property
    def words(self) -> str: ...


#: Fewer blocks than this prove nothing.
_MIN_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class CalibrationInUse:
    """A calibration with what is known about its right to be used.

    status : "valid" (same epoch), "verified" (live data confirm it), "unverified" (too few data to say),
    "relearned" (group phases anew from these data), "stale" (used for the stored reason).
    """

    calibration: Calibration
    status: str
    words: str = ""


def calibration_for(
    path: Path,
    stream: StreamInfo,
    batch: CovarianceBatch,
    n_sources: int | None,
    *,
    relearn_phase: bool = False,
    stale_ok: str | None = None,
    judge: Callable[[Calibration], Judgement] | None = None,
) -> CalibrationInUse:
    """Load a calibration and decide whether it may be used on this stream.

    batch : covariances of the data at hand; they confirm or refute it by the label-free null depth. judge : a better
    test of these data instead.

    Raises
    ------
    CalibrationError : not a calibration. CalibrationMismatch : (exit code 4) of another array, or refuted, or
        expired, with what to do.
    """
    calibration = store.load(path)
    reason = (stale_ok or "").strip()
    found = store.require_usable(calibration, stream, stale_ok=reason, relearn_phase=relearn_phase)
    if found.status == "valid":
        return CalibrationInUse(calibration, "valid")
    if found.status == "mismatch" or found.status == "expired":
        return CalibrationInUse(replace(calibration, stale_reason=reason), "stale", found.reason)
    if judge is None and len(batch) < _MIN_BLOCKS:
        return CalibrationInUse(calibration, "unverified", "too few blocks to confirm it")
    verdict: Judgement = judge(calibration) if judge is not None else _verify(calibration, batch, n_sources)
    if verdict.verified:
        return CalibrationInUse(calibration, "verified", verdict.words)
    if verdict.silent and found.status == "unverified" and not relearn_phase:
        return CalibrationInUse(calibration, "unverified", verdict.words)
    if relearn_phase:
        return _relearned(calibration, stream, batch, n_sources)
    if reason:
        return CalibrationInUse(replace(calibration, stale_reason=reason), "stale", verdict.words)
    raise CalibrationMismatch(
        f"calibration refuted by these data: {verdict.words} ({found.reason})",
        field="epoch",
        hint="relearn the group phases from these data (--relearn-phase), learn again, or give a reason with --stale-ok",
    )


def _verify(calibration: Calibration, batch: CovarianceBatch, n_sources: int | None) -> Judgement:
    from calib.observations import Observations
    from calib.verdict import verify

    observations = Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0])
    return verify(observations, calibration.impairments, calibration.geometry, calibration.fc_hz, n_sources)


def _relearned(
    calibration: Calibration, stream: StreamInfo, batch: CovarianceBatch, n_sources: int | None
) -> CalibrationInUse:
    from calib.learn import relearn_phase
    from calib.observations import Observations

    observations = Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0])
    support = calibration.gauge.support_deg
    request = GaugeRequest("support", support) if support else GaugeRequest("prior")
    result = relearn_phase(observations, calibration, n_sources, request)
    if not result.converged:
        raise CalibrationMismatch(
            f"the group phases could not be relearned: {result.reason}",
            field="epoch",
            hint="learn the whole array again (hil learn)",
        )
    fresh = replace(
        calibration, impairments=result.impairments, sigma=result.sigma, gauge=result.gauge, epoch=stream.epoch,
        score=result.score, predicted_score=result.predicted_score, method=f"{calibration.method}+relearn-phase",
    )  # fmt: skip
    return CalibrationInUse(fresh, "relearned", f"excess {result.excess:+.2f}")
