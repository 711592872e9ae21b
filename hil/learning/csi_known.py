"""Receiver errors that are known already, divided out of channel responses before a method learns the rest.

    Y' = C^-1 diag(1 / (g H(f))) Y

g and the phases in it hold for one coherence epoch only: a calibration of another one is refused, because what it is
wrong by would be learned as something else (over a narrow sector a phase error and a displaced element look alike).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calib.csi import ChannelResponses
from calib.result import LearnResult
from hil import store
from hil.core.calibration import Calibration, Sigma
from hil.core.errors import CalibrationError, CalibrationMismatch
from hil.core.frame import StreamInfo
from hil.core.gauge import canonical
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.dsp.angle_delay import subcarrier_frequencies
from hil.dsp.angle_delay_channel import known_channel
from hil.learning.csi_recording import CsiCapture
from hil.store.status import check


def known_receivers(path: Path, stream: StreamInfo, stale_ok: str | None) -> Calibration:
    """The calibration of a file, whose gains hold in the stream's own epoch.

    stale_ok : the user's reason to use it although that is not so; stored in it.

    Raises
    ------
    CalibrationError : not a calibration. CalibrationMismatch : of another epoch, device, carrier, gain or array.
    """
    calibration = store.load(path)
    status = check(calibration, stream)
    if status.status == "valid":
        return calibration
    if stale_ok and stale_ok.strip() and status.field != "n_elements":
        return replace(calibration, stale_reason=stale_ok.strip())
    hint = status.hint
    if status.status == "unverified":
        hint = (
            "learn the gains from the same recording, or from one that was made without a retune in the same "
            "session; --stale-ok REASON uses them all the same"
        )
    raise CalibrationMismatch(
        f"{path}: its gains are not those of this epoch: {status.reason}",
        field=status.field or "epoch",
        hint=hint,
    )


def without_receivers(capture: CsiCapture, known: Calibration) -> CsiCapture:
    """The capture (B, M, S) as ideal receivers would have heard it. Raises CalibrationError."""
    f = capture.frequency_hz + capture.carrier_offset_hz
    return replace(capture, csi=_divided(capture.csi, known, f).astype(np.complex64))


def responses_without_receivers(csi: ChannelResponses, known: Calibration) -> ChannelResponses:
    """The same for responses of a file, whose middle is the carrier. Raises CalibrationError."""
    f = subcarrier_frequencies(csi.n_subcarriers, csi.subcarrier_spacing_hz)
    return replace(csi, csi=_divided(csi.csi, known, f))


def with_receivers(result: LearnResult, known: Calibration) -> LearnResult:
    """The result with the known errors in it again, beside what was learned; their sigmas count for it, too."""
    wavelength_m = SPEED_OF_LIGHT_M_S / known.fc_hz
    have, new = known.impairments, result.impairments
    result.impairments = canonical(
        replace(
            have,
            gain=have.gain * new.gain,
            position_error_m=new.position_error_m,
            angle_table_deg=None,
            angle_response=None,
        )
    )
    before, after = known.sigma, result.sigma
    result.sigma = Sigma(
        np.hypot(before.gain_db, after.gain_db),
        np.hypot(before.phase_deg, after.phase_deg),
        _with_phase_errors(after.position_m, before.phase_deg, result, wavelength_m),
        before.delay_s,
        before.iq_image,
        before.dc_offset,
        before.frequency_response,
    )
    stale = f"; used although it may be stale: {known.stale_reason}" if known.stale_reason else ""
    result.notes.append(f"gains and delays are those of calibration {known.id[:8]} ({known.method}){stale}")
    return result


def _with_phase_errors(
    sigma_m: NDArray[np.float64], phase_deg: NDArray[np.float64], result: LearnResult, wavelength_m: float
) -> NDArray[np.float64]:
    """(M, 3) with what a wrong phase does to a learned place: phase / (2 pi u), u about the rms of what was seen."""
    seen = result.peaks_deg[np.isfinite(result.peaks_deg)]
    u = float(np.sqrt(np.mean(np.sin(np.deg2rad(seen)) ** 2))) if len(seen) else 1.0
    shift_m = np.nan_to_num(np.deg2rad(phase_deg)) / (2 * np.pi * max(u, 0.05)) * wavelength_m
    out = sigma_m.copy()
    learned = sigma_m[:, 0] > 0
    out[learned, 0] = np.hypot(sigma_m[learned, 0], shift_m[learned])
    return out


def _divided(
    csi: NDArray[np.complexfloating], known: Calibration, f_hz: NDArray[np.float64]
) -> NDArray[np.complex128]:
    imp = known.impairments
    flat = csi / (imp.gain[:, None] * known_channel(known, f_hz))
    if np.array_equal(imp.coupling, np.eye(imp.n_elements)):
        return flat
    try:
        return np.einsum("mn,bns->bms", np.linalg.inv(imp.coupling), flat)
    except np.linalg.LinAlgError as err:
        raise CalibrationError("coupling: the matrix is singular") from err
