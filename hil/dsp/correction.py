"""Undo a calibration's errors in samples.

Forward model, in the order of the signal path (receiver after antennas, mixer after receiver, ADC last):

    y = C A s            antennas: positions inside A, mutual coupling C
    z_m = g_m h_m * y_m  receiver: gain and LO phase g, H_m(f) = exp(-j 2 pi f delay_m) R_m(f), f from fc
    w = z + iq_image z*  mixer: IQ image
    x = w + dc_offset    ADC

`apply` undoes it backwards: DC, image, delay, gain, coupling. Position errors and angle-dependent responses
cannot be undone in samples; they act through the steering vectors (`remaining`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, CalibrationMismatch, ShapeError
from hil.core.frame import Frame
from hil.core.impairments import Impairments, ideal

#: Rounding that a carrier passes through files and registers.
_FC_TOLERANCE_HZ = 1.0


def apply(frame: Frame, calibration: Calibration) -> Frame:
    """Samples of an array without gain, phase, coupling, delay, IQ and DC errors.

    Parameters
    ----------
    frame : samples (M, N) complex64. calibration : of the same channels, valid at the frame's carrier
        (not asked of a calibration whose use was forced: `stale_reason`).

    Returns
    -------
    Frame with the same header. Its array is the one of `remaining(calibration)`: pass that, or
    `calibration.positions_m` without a calibration, to the DoA functions; not `calibration` again.

    Raises
    ------
    CalibrationMismatch : other number of channels or carrier. CalibrationError : a coupling or an image
        that cannot be inverted.
    """
    m, have = frame.samples.shape[0], calibration.geometry.n_elements
    if m != have:
        raise CalibrationMismatch(
            f"the calibration has {have} elements, the frame {m} channels",
            field="geometry",
            hint="capture the channels that were calibrated, in the same order",
        )
    fc_hz, valid = frame.stream.fc_hz, calibration.valid
    inside = valid.fc_min_hz - _FC_TOLERANCE_HZ <= fc_hz <= valid.fc_max_hz + _FC_TOLERANCE_HZ
    if not inside and not calibration.stale_reason:
        raise CalibrationMismatch(
            f"the calibration holds from {valid.fc_min_hz:g} to {valid.fc_max_hz:g} Hz, the frame is at {fc_hz:g} Hz",
            field="fc_hz",
            hint="calibrate at this carrier, or force the use with --stale-ok REASON",
        )
    return replace(frame, samples=correct_samples(frame.samples, calibration.impairments, frame.stream.fs_hz))


def correct_samples(
    samples: NDArray[np.complexfloating], impairments: Impairments, fs_hz: float
) -> NDArray[np.complex64]:
    """`apply` on bare samples (M, N), complex64 out; see there.

    Delays and frequency responses are undone in the block's DFT, for every f within +-fs/2. That takes the block
    as periodic: with a delay of d samples the outermost samples carry an error of about d / (pi n) times the
    step from the block's end to its start, n samples from the edge. Use long blocks for large delays.
    """
    imp = impairments
    x = np.asarray(samples)
    if x.ndim != 2 or x.shape[0] != imp.n_elements or not np.iscomplexobj(x):
        raise ShapeError(f"samples: {x.dtype} {x.shape}, expected complex (M, N) with M = {imp.n_elements}")
    inverse = _inverse_chain(imp)
    dispersive = np.any(imp.delay_s) or imp.frequency_response is not None
    if not (np.any(imp.dc_offset) or np.any(imp.iq_image) or dispersive):
        return (inverse.astype(np.complex64) @ x).astype(np.complex64, copy=False)
    work = x.astype(np.complex128)
    work -= imp.dc_offset[:, None]
    if np.any(imp.iq_image):
        image = imp.iq_image[:, None]
        strength = np.abs(image) ** 2
        if np.any(strength >= 1):
            raise CalibrationError("iq_image: an image as strong as the signal cannot be undone")
        work = (work - image * work.conj()) / (1 - strength)
    if dispersive:
        response = imp.channel_response(np.fft.fftfreq(x.shape[1], 1 / fs_hz))
        work = np.fft.ifft(np.fft.fft(work) / response)
    return (inverse @ work).astype(np.complex64)


def converter_errors(impairments: Impairments) -> Impairments:
    """IQ images and DC alone: what has to be undone in samples before a waveform is demodulated."""
    nothing = ideal(impairments.n_elements)
    return replace(nothing, iq_image=impairments.iq_image, dc_offset=impairments.dc_offset)


def receiver_errors(impairments: Impairments) -> Impairments:
    """All that steering vectors of a calibration do not hold: IQ images, DC, delays, frequency responses."""
    return replace(
        converter_errors(impairments),
        delay_s=impairments.delay_s,
        frequency_hz=impairments.frequency_hz,
        frequency_response=impairments.frequency_response,
    )


def is_ideal(impairments: Impairments) -> bool:
    """True if there is nothing that `correct_samples` would undo."""
    imp = impairments
    zero = not (np.any(imp.delay_s) or np.any(imp.iq_image) or np.any(imp.dc_offset))
    alone = bool(np.all(imp.coupling == np.eye(imp.n_elements)) and np.all(imp.gain == 1))
    return zero and alone and imp.frequency_response is None


def remaining(calibration: Calibration) -> Calibration:
    """What `apply` leaves: position errors and the angle-dependent response, everything else ideal."""
    imp = calibration.impairments
    return replace(
        calibration,
        impairments=replace(
            ideal(imp.n_elements),
            position_error_m=imp.position_error_m,
            angle_table_deg=imp.angle_table_deg,
            angle_response=imp.angle_response,
        ),
    )


def _inverse_chain(imp: Impairments) -> NDArray[np.complex128]:
    """C^-1 diag(1 / g), (M, M)."""
    try:
        inverse = np.linalg.inv(imp.coupling)
    except np.linalg.LinAlgError as err:
        raise CalibrationError("coupling: the matrix is singular") from err
    return inverse / imp.gain[None, :]
