"""What the plots show: computed in the DSP thread from the newest samples, never faster than it is shown."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.calibration import Calibration
from hil.core.frame import Frame, StreamInfo
from hil.core.impairments import Impairments
from hil.dsp.correction import correct_samples, is_ideal, receiver_errors
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder, Method
from hil.dsp.doa_accuracy import doa_sigma_deg
from hil.dsp.psd import power_spectrum
from hil.dsp.source_count import mdl
from hil.pipeline.latest import Latest

#: Pictures a second at most.
PICTURES_HZ = 30.0
_SNAPSHOTS = 4096
_N_FFT = 1024
_SHARE_S = 1.0
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One moment of the stream.

    Attributes
    ----------
    t_mono_ns, first_sample, stream : of the newest samples. level_dbfs (M,) : mean power of each channel.
    clipped (M,) : share of samples at full scale in the last second. frequency_hz (F,), psd_dbfs (M, F) : averaged
        spectra. angles_deg (G,) and nominal_db, calibrated_db (G,) : direction spectra, peak 0 dB, the latter None
        without a calibration; both None without an array.
    doa_deg, sigma_deg (K,) : with the calibration if there is one. n_sources : K. snr_db : of the strongest signal, in
        one channel. phase_deg (M,) : of each channel against the first one, towards the strongest signal, the array's own
        phases for its direction taken out; NaN where there is no signal or no array.
    """

    t_mono_ns: int
    first_sample: int
    stream: StreamInfo
    level_dbfs: NDArray[np.float64]
    clipped: NDArray[np.float64]
    frequency_hz: NDArray[np.float64]
    psd_dbfs: NDArray[np.float64]
    angles_deg: NDArray[np.float64] | None
    nominal_db: NDArray[np.float64] | None
    calibrated_db: NDArray[np.float64] | None
    doa_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    n_sources: int
    snr_db: float
    phase_deg: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class View:
    """What is wanted. n_sources : None counts them. grid_deg : (low, high, step), None: the array's own."""

    method: Method = "music"
    n_sources: int | None = None
    grid_deg: tuple[float, float, float] | None = None


@dataclass(slots=True)
class _Finders:
    nominal: DoaFinder
    calibrated: DoaFinder | None = None
    receivers: Impairments | None = None
    open_deg: float = 0.0


class Painter:
    """Takes every frame in the DSP thread, makes a picture now and then; `use` and `take` belong to any thread."""

    def __init__(self) -> None:
        self._latest: Latest[Picture] = Latest("dsp -> display")
        self._lock = threading.Lock()
        self._view = View()
        self._calibration: Calibration | None = None
        self._finders: _Finders | None = None
        self._made_for: tuple[object, ...] | None = None
        self._next = 0.0
        self._since = 0
        self._share_began = 0.0
        self._counts: NDArray[np.int64] | None = None
        self._clipped: NDArray[np.float64] | None = None

    def use(
        self, view: View | None = None, *, calibration: Calibration | None = None, clear: bool = False
    ) -> None:
        """Another view or calibration from the next picture on; clear : no calibration."""
        with self._lock:
            self._view = view or self._view
            self._calibration = None if clear else calibration or self._calibration

    @property
    def view(self) -> View:
        """What is shown."""
        return self._view

    @property
    def calibration(self) -> Calibration | None:
        """In use."""
        return self._calibration

    def take(self) -> Picture | None:
        """The newest picture that was not taken yet."""
        return self._latest.take()

    def __call__(self, frame: Frame, clipped: NDArray[np.int64]) -> None:
        """In the DSP thread."""
        now = time.monotonic()
        self._count(clipped, frame.samples.shape[1], now)
        if now < self._next:
            return
        self._next = now + 1 / PICTURES_HZ
        self._latest.put(self._paint(frame), frame.samples.shape[1])

    def _count(self, clipped: NDArray[np.int64], n: int, now: float) -> None:
        """Share at full scale, over the last second; a new one shows at once."""
        if self._counts is None or len(self._counts) != len(clipped):
            self._counts, self._since, self._share_began = np.zeros(len(clipped), np.int64), 0, now
            self._clipped = np.zeros(len(clipped))
        self._counts += clipped
        self._since += n
        share = self._counts / max(self._since, 1)
        if now - self._share_began > _SHARE_S:
            self._clipped = share
            self._counts[:] = 0
            self._since, self._share_began = 0, now
        else:
            assert self._clipped is not None
            self._clipped = np.maximum(self._clipped, share)

    def _paint(self, frame: Frame) -> Picture:
        stream, samples = frame.stream, frame.samples[:, -_SNAPSHOTS:]
        m, n = samples.shape
        power = np.mean(np.abs(samples) ** 2, axis=1)
        psd = power_spectrum(samples, stream.fs_hz, min(_N_FFT, n))
        with self._lock:
            view, calibration = self._view, self._calibration
        nothing = np.zeros(0)
        angles = nominal = calibrated = None
        doa, sigma, k, snr_db, phase = nothing, nothing, 0, float("nan"), np.full(m, np.nan)
        finders = self._finders_for(stream, view, calibration)
        if finders is not None and n > m:
            raw = sample_covariance(samples)
            mended = raw
            if finders.receivers is not None:
                mended = sample_covariance(correct_samples(samples, finders.receivers, stream.fs_hz))
            k = (
                view.n_sources
                if view.n_sources is not None
                else min(int(mdl(np.linalg.eigvalsh(raw), n)), m - 1)
            )
            angles = finders.nominal.grid_deg
            best = finders.calibrated or finders.nominal
            if k:
                nominal = _decibels(finders.nominal.spectrum(raw, k))
                if finders.calibrated is not None:
                    calibrated = _decibels(finders.calibrated.spectrum(mended, k))
                doa = best.find(mended, k)
                sigma = np.hypot(
                    doa_sigma_deg(mended, best.response, stream.fc_hz, doa, n, k), finders.open_deg
                )
                snr_db, phase = _strongest(mended, best, doa, k)
        return Picture(
            frame.t_mono_ns, frame.first_sample + frame.samples.shape[1] - n, stream,
            10 * np.log10(np.maximum(power, _FLOOR)), np.array(self._clipped), psd.frequency_hz, psd.level_dbfs,
            angles, nominal, calibrated, doa, sigma, k, snr_db, phase,
        )  # fmt: skip

    def _finders_for(
        self, stream: StreamInfo, view: View, calibration: Calibration | None
    ) -> _Finders | None:
        geometry = stream.geometry
        if geometry is None or stream.n_channels < 2:
            return None
        key = (id(geometry), stream.fc_hz, view, id(calibration))
        if key == self._made_for:
            return self._finders
        grid = None
        if view.grid_deg is not None:
            low, high, step = view.grid_deg
            grid = np.arange(low, high + step / 2, step)
        made = _Finders(DoaFinder(geometry, stream.fc_hz, grid, method=view.method))
        if calibration is not None and calibration.geometry.n_elements == geometry.n_elements:
            made.calibrated = DoaFinder(calibration, stream.fc_hz, made.nominal.grid_deg, method=view.method)
            errors = receiver_errors(calibration.impairments)
            made.receivers = None if is_ideal(errors) else errors
            made.open_deg = calibration.gauge.angle_sigma_deg
        self._finders, self._made_for = made, key
        return made


def _decibels(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative to the peak."""
    level = 10 * np.log10(np.maximum(spectrum, _FLOOR * float(np.max(spectrum)) + 1e-300))
    return level - float(level.max())


def _strongest(
    covariance: NDArray[np.complex128], finder: DoaFinder, doa_deg: NDArray[np.float64], k: int
) -> tuple[float, NDArray[np.float64]]:
    """(SNR in one channel, phases of the channels without those of the array in that direction)."""
    values, vectors = np.linalg.eigh(covariance)
    m = len(values)
    noise = float(np.mean(values[: m - k]))
    snr_db = 10 * np.log10(max(float(values[-1]) - noise, 1e-300) / max(noise * m, 1e-300))
    phase = np.full(m, np.nan)
    if k == 1 and len(doa_deg):
        turn = vectors[:, -1] * finder.response.steering(doa_deg[:1])[:, 0].conj()
        phase = np.rad2deg(np.angle(turn * np.conj(turn[0])))
    return float(snr_db), phase
