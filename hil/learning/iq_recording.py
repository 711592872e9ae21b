"""IQ image and DC offset of the receivers from a recording that carries a known waveform."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording
from hil.core.errors import NotIdentifiable
from hil.core.waveform import Waveform
from hil.dsp.iq_balance import IqBalance, combined, iq_balance
from hil.learning.csi_recording import CsiCapture

_STRETCHES = 96
_MOST_PRODUCTS = 12_000_000  # of taps and samples: long channels get fewer stretches
_LEAST_STRETCHES = 12
_LEAST_SAMPLES = 4096
_MOST_SAMPLES = 1 << 16
_SAMPLES_PER_TAP = 24
_LEAST_TAPS, _MOST_TAPS = 4, 96
_PIECES = 16
#: An image or DC known no better than this (real and imaginary part) is not worth storing.
_MOST_SIGMA = 0.03


def iq_of_recording(
    recording: Recording, waveform: Waveform, capture: CsiCapture, start: int, end: int, *, own: bool
) -> IqBalance:
    """Image and DC of every channel, the mean over up to 96 stretches of samples start..end (places in the file).

    Within a stretch the channel from the transmitter counts as constant. capture : of the same samples; its timing
    and carrier offset are used. own : the transmitter shares the receiver's clock, there is no offset.

    Raises
    ------
    NotIdentifiable : the waveform does not tell them, or too few samples do.
    """
    layout = waveform.layout
    assert layout is not None
    assert capture.begin_samples is not None
    period = len(waveform.samples)
    room = max(period // 8, _LEAST_TAPS)
    early = int(np.clip(layout.cp_samples // 4, _LEAST_TAPS, room))
    late = int(np.clip(layout.cp_samples + 4, _LEAST_TAPS, min(_MOST_TAPS, 2 * room)))
    width = early + late + 1
    n = int(np.ceil(max(_LEAST_SAMPLES, _SAMPLES_PER_TAP * width) / period)) * period
    n = min(n + early + late, _MOST_SAMPLES, end - start)
    most = int(np.clip(_MOST_PRODUCTS // (n * width), _LEAST_STRETCHES, _STRETCHES))
    sent = _Reference(waveform)
    parts: list[IqBalance] = []
    problem: NotIdentifiable | None = None
    for samples, first in _stretches(recording, capture, start, end, n, most):
        group = max(int(np.searchsorted(capture.first_sample, first, side="right")) - 1, 0)
        reference = sent.at(first - float(capture.begin_samples[group]), n)
        turn_rad = 0.0
        if not own:
            turn_rad = 2 * np.pi * capture.carrier_offset_hz / capture.stream.fs_hz
            reference = reference * np.exp(1j * turn_rad * np.arange(n))
            rest_rad = _turning(samples, reference)
            reference = reference * np.exp(1j * rest_rad * np.arange(n))
            turn_rad += rest_rad
        try:
            parts.append(
                iq_balance(samples, reference, taps=(-early, late), period=period, turn_rad=turn_rad)
            )
        except NotIdentifiable as err:
            problem = err
    if not parts:
        raise problem or NotIdentifiable(
            "too few samples to tell IQ image and DC", parameters=("iq_image", "dc_offset")
        )
    found = combined(parts)
    worst = float(max(found.iq_sigma.max(), found.dc_sigma.max()))
    if not worst < _MOST_SIGMA:
        raise NotIdentifiable(
            f"IQ image and DC would be known to {20 * np.log10(worst):.0f} dB only",
            parameters=("iq_image", "dc_offset"),
            hint="capture for longer, or raise the transmit level",
        )
    return found


class _Reference:
    """The waveform at any fractional place of its period."""

    def __init__(self, waveform: Waveform) -> None:
        self._spectrum = np.fft.fft(waveform.samples.astype(np.complex128))
        self._f = np.fft.fftfreq(len(waveform.samples))
        self._late = np.nan
        self._period = waveform.samples.astype(np.complex128)

    def at(self, place: float, n: int) -> NDArray[np.complex128]:
        """n samples from `place` on."""
        whole = int(np.floor(place))
        late = place - whole
        if late != self._late:
            self._period = np.fft.ifft(self._spectrum * np.exp(2j * np.pi * self._f * late))
            self._late = late
        return self._period[(whole + np.arange(n)) % len(self._period)]


def _stretches(
    recording: Recording, capture: CsiCapture, start: int, end: int, n: int, most: int
) -> Iterator[tuple[NDArray[np.complex64], int]]:
    """(samples (M, n), absolute index) evenly over the capture, none across a gap."""
    stream = capture.stream
    count = int(np.clip((end - start) // n, 1, most))
    places = np.linspace(start, end - n, count).astype(int)
    for segment in recording.segments:
        if (segment.stream.epoch.id, segment.stream.config) != (stream.epoch.id, stream.config):
            continue
        last = segment.start + segment.n - n
        for place in places[(places >= segment.start) & (places <= last)].tolist():
            samples, _ = wire_to_complex(recording.read(place, n), stream.device.full_scale_bits)
            yield samples, segment.global_index + place - segment.start


def _turning(samples: NDArray[np.complex64], reference: NDArray[np.complex128]) -> float:
    """Radians per sample that the waveform turns faster than the reference."""
    n = samples.shape[1] // _PIECES * _PIECES
    product = (samples[:, :n] * reference[:n].conj()).reshape(len(samples), _PIECES, -1).sum(axis=2)
    cross = np.sum(product[:, 1:] * product[:, :-1].conj())
    return float(np.angle(cross)) / (n // _PIECES)
