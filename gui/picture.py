"""What the plots show, computed from the newest samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.lobes import LobeMap, lobe_map
from gui.doa_apart import Apart
from gui.doa_sources import NOTHING, Look, Setup, Solver, check_needs, get_source, make_solver
from hil.core.calibration import Calibration
from hil.core.errors import HilError
from hil.core.frame import Frame, StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments
from hil.dsp.correction import correct_samples, is_ideal, receiver_errors
from hil.dsp.covariance import sample_covariance
from hil.dsp.psd import power_spectrum
from hil.dsp.response import ArrayResponse, array_response
from hil.dsp.source_count import mdl
from hil.jobs.directions import without_signal
from hil.pipeline.latest import Latest

if TYPE_CHECKING:
    from gui.echoes import Echoes
    from gui.networks import Networks

#: Pictures a second at most.
PICTURES_HZ = 32.0
#: Newest samples that a picture is made of.
SNAPSHOTS = 4096
_N_FFT = 1024
_SHARE_S = 1.0
_GRID_DEG = 0.1
_FLOOR = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One moment of the stream.

    Attributes
    ----------
    t_mono_ns, first_sample, stream : of the newest samples. level_dbfs (M,) : mean power of each channel.
    clipped (M,) : share of samples at full scale in the last second. frequency_hz (F,), psd_dbfs (M, F) : averaged
        spectra. angles_deg (G,) and nominal_db, calibrated_db (G,) : direction spectra, peak 0 dB, the latter None
        without a calibration; both None without an array. beside_db (G,) : MUSIC's, on the array that the method uses, where
        the method works apart and has one spectrum only.
    doa_deg, sigma_deg (K,) : with the calibration if there is one. n_sources : K. snr_db : of the strongest signal, in
        one channel. phase_deg (M,) : of each channel against the first one, towards the strongest signal, the array's own
        phases for its direction taken out; NaN where there is no signal or no array.
    method : of `gui.doa_sources`; problem : why it has no answer now, or "". calibration : in use, if it is of this array.
    lobes : which directions the array confuses and which it measures badly, None without an array.
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
    method: str = "music"
    problem: str = ""
    calibration: Calibration | None = None
    lobes: LobeMap | None = None
    beside_db: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What is wanted. method : of `gui.doa_sources`. n_sources : None counts them. grid_deg : (low, high, step), None: all
    that the array can tell apart, in steps of 0.1 degrees or finer."""

    method: str = "music"
    n_sources: int | None = None
    grid_deg: tuple[float, float, float] | None = None


@dataclass(slots=True)
class _Solvers:
    """What is made once for settings, an array and the calibration that was given; kept : channels that say something."""

    settings: tuple[object, ...]
    geometry: ArrayGeometry
    given: Calibration | None
    kept: tuple[int, ...]
    angles_deg: NDArray[np.float64]
    response: ArrayResponse
    lobes: LobeMap
    nominal: Solver | None = None
    calibrated: Solver | None = None
    beside: Solver | None = None
    calibration: Calibration | None = None
    receivers: Impairments | None = None
    problem: str = ""


class Painter:
    """`count` every frame, `paint` when a picture is wanted, in a thread each; `use` and `take` belong to any.

    echoes : what is heard of a known waveform, networks : that are loaded, for methods that need them; None: they say so.
    """

    def __init__(self, echoes: Echoes | None = None, networks: Networks | None = None) -> None:
        self._echoes, self._networks = echoes, networks
        self._apart = Apart()
        self._latest: Latest[Picture] = Latest("dsp -> display")
        self._lock = threading.Lock()
        self._view = View()
        self._calibration: Calibration | None = None
        self._solvers: _Solvers | None = None
        self._since = 0
        self._share_began = 0.0
        self._counts: NDArray[np.int64] | None = None
        self._clipped: NDArray[np.float64] | None = None

    def use(
        self, view: View | None = None, *, calibration: Calibration | None = None, clear: bool = False
    ) -> None:
        """Another view or calibration from the next picture on; clear : no calibration.

        Raises ConfigError for a method that is not in the list.
        """
        if view is not None:
            get_source(view.method)
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

    def close(self) -> bool:
        """End the thread of methods that work apart; True if it has ended. Idempotent."""
        return self._apart.close()

    def count(self, clipped: NDArray[np.int64], n: int) -> None:
        """Of a frame of n samples `clipped` (M,) are at full scale: the share over the last second; a new one shows at once."""
        now = time.monotonic()
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

    def paint(self, frame: Frame, silent: Collection[int] = ()) -> None:
        """Make a picture. silent : channels that are known to hear nothing; directions are found without them."""
        self._latest.put(self._paint(frame, silent), frame.samples.shape[1])

    def _paint(self, frame: Frame, silent: Collection[int]) -> Picture:
        stream, samples = frame.stream, frame.samples[:, -SNAPSHOTS:]
        m, n = samples.shape
        left_out = without_signal(samples, silent)
        if left_out:
            samples = np.nan_to_num(samples, posinf=0.0, neginf=0.0)
        with np.errstate(over="ignore"):
            power = np.mean(np.abs(samples) ** 2, axis=1)
            psd = power_spectrum(samples, stream.fs_hz, min(_N_FFT, n))
        with self._lock:
            view, calibration = self._view, self._calibration
        angles = nominal = calibrated = beside = lobes = used = None
        (doa, sigma), k, snr_db, phase, problem = NOTHING, 0, float("nan"), np.full(m, np.nan), ""
        kept = tuple(c for c in range(m) if c not in left_out)
        solvers = self._solvers_for(stream, view, calibration, kept)
        if solvers is not None and n > m:
            raw, mended = self._covariances(samples, solvers, stream.fs_hz)
            wanted = view.n_sources
            k = min(int(mdl(np.linalg.eigvalsh(raw), n)) if wanted is None else wanted, len(kept) - 1)
            angles, lobes, used, problem = (
                solvers.angles_deg,
                solvers.lobes,
                solvers.calibration,
                solvers.problem,
            )
            try:
                if solvers.beside is not None:
                    beside = solvers.beside.spectrum_db(Look(frame, mended, n, k))
                if solvers.nominal is not None:
                    nominal = solvers.nominal.spectrum_db(Look(frame, raw, n, k))
                if solvers.calibrated is not None:
                    calibrated = solvers.calibrated.spectrum_db(Look(frame, mended, n, k))
                best = solvers.calibrated or solvers.nominal
                if best is not None:
                    doa, sigma = best.find(Look(frame, mended, n, k))
            except HilError as err:  # of this method: the stream and all other plots go on
                problem = _in_words(err)
            if k:
                snr_db, phase[list(kept)] = _strongest(mended, solvers.response, doa, k)
        problem = "; ".join(filter(None, [problem, *left_out.values()]))
        return Picture(
            frame.t_mono_ns, frame.first_sample + frame.samples.shape[1] - n, stream,
            10 * np.log10(np.maximum(power, _FLOOR)), self._clipped_of(m), psd.frequency_hz, psd.level_dbfs,
            angles, nominal, calibrated, doa, sigma, k, snr_db, phase, view.method, problem, used, lobes, beside,
        )  # fmt: skip

    def _clipped_of(self, m: int) -> NDArray[np.float64]:
        """(M,), 0 before the first frame was counted."""
        clipped = self._clipped
        return clipped if clipped is not None and len(clipped) == m else np.zeros(m)

    @staticmethod
    def _covariances(
        samples: NDArray[np.complex64], solvers: _Solvers, fs_hz: float
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        """Of the channels that are kept: as received, and without what the calibration knows of the receivers."""
        kept = list(solvers.kept)
        raw = sample_covariance(samples if len(kept) == len(samples) else samples[kept])
        if solvers.receivers is None:
            return raw, raw
        return raw, sample_covariance(correct_samples(samples, solvers.receivers, fs_hz)[kept])

    def _solvers_for(
        self, stream: StreamInfo, view: View, calibration: Calibration | None, kept: tuple[int, ...]
    ) -> _Solvers | None:
        geometry = stream.geometry
        if geometry is None or len(kept) < 2:
            return None
        known = self._echoes is not None and self._echoes.waveform
        loaded = None if self._networks is None else self._networks.get(view.method)
        settings = (stream.fc_hz, stream.fs_hz, stream.epoch.id, view, kept, known, loaded)
        made = self._solvers
        if (
            made is None
            or made.settings != settings
            or made.geometry is not geometry
            or made.given is not calibration
        ):
            made = self._made(settings, stream, geometry, view, calibration, kept)
            self._solvers = made
        return made

    def _made(
        self,
        settings: tuple[object, ...],
        stream: StreamInfo,
        geometry: ArrayGeometry,
        view: View,
        given: Calibration | None,
        kept: tuple[int, ...],
    ) -> _Solvers:
        made = _prepared(settings, stream, geometry, view, given, kept)
        calibration, source = made.calibration, get_source(view.method)

        def setup(response: ArrayResponse, known: Calibration | None) -> Setup:
            return Setup(stream, response, made.angles_deg, known, self._echoes, self._networks, kept)

        plain = _part(array_response(geometry, stream.fc_hz), kept)
        try:
            if source.apart:
                here = setup(made.response, calibration)
                made.beside = make_solver("music", here)
                check_needs(source, here)
                key = (*settings, calibration is None, id(geometry))
                solver = self._apart.solver(
                    source.label,
                    key,
                    lambda: source.make(here),
                    self._echoes.heard if self._echoes and "waveform" in source.needs else None,
                )
                made.nominal, made.calibrated = (solver, None) if calibration is None else (None, solver)
                return made
            if calibration is not None:
                made.calibrated = make_solver(view.method, setup(made.response, calibration))
            if calibration is None or "calibration" not in source.needs:
                made.nominal = make_solver(view.method, setup(plain, None))
        except HilError as err:
            made.problem = _in_words(err)
        return made


def _prepared(
    settings: tuple[object, ...],
    stream: StreamInfo,
    geometry: ArrayGeometry,
    view: View,
    given: Calibration | None,
    kept: tuple[int, ...],
) -> _Solvers:
    """Everything but the solvers themselves."""
    calibration = given if given is not None and given.geometry.n_elements == geometry.n_elements else None
    known = _part(array_response(calibration or geometry, stream.fc_hz), kept)
    angles = _grid_deg(known, view)
    positions = (geometry.positions_m if calibration is None else calibration.positions_m)[list(kept)]
    made = _Solvers(
        settings, geometry, given, kept, angles, known, lobe_map(positions, stream.fc_hz), calibration=calibration
    )  # fmt: skip
    if calibration is not None:
        errors = receiver_errors(calibration.impairments)
        made.receivers = None if is_ideal(errors) else errors
    return made


def _part(response: ArrayResponse, kept: tuple[int, ...]) -> ArrayResponse:
    """Of these channels alone."""
    rows = list(kept)
    return replace(response, steering=lambda angles_deg: response.steering(angles_deg)[rows])


def _in_words(err: HilError) -> str:
    return f"{err}. {err.hint}" if err.hint else str(err)


def _grid_deg(response: ArrayResponse, view: View) -> NDArray[np.float64]:
    """(G,) degrees: what was asked for as far as the array answers there, else all of it."""
    low, high = response.limits_deg
    step = _GRID_DEG if response.beamwidth_deg is None else min(_GRID_DEG, response.beamwidth_deg / 20)
    if view.grid_deg is not None:
        low, high, step = max(low, view.grid_deg[0]), min(high, view.grid_deg[1]), view.grid_deg[2]
    return np.linspace(low, high, max(round((high - low) / step), 2) + 1)


def _strongest(
    covariance: NDArray[np.complex128], response: ArrayResponse, doa_deg: NDArray[np.float64], k: int
) -> tuple[float, NDArray[np.float64]]:
    """(SNR in one channel, phases of the channels without those of the array in that direction)."""
    values, vectors = np.linalg.eigh(covariance)
    m = len(values)
    noise = float(np.mean(values[: m - k]))
    snr_db = 10 * np.log10(max(float(values[-1]) - noise, 1e-300) / max(noise * m, 1e-300))
    phase = np.full(m, np.nan)
    if k == 1 and len(doa_deg):
        turn = vectors[:, -1] * response.steering(doa_deg[:1])[:, 0].conj()
        phase = np.rad2deg(np.angle(turn * np.conj(turn[0])))
    return float(snr_db), phase
