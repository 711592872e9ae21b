"""Directions of one block of samples, with their deviations and what is wrong with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.frame import StreamInfo
from hil.dsp.correction import correct_samples, is_ideal, receiver_errors
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder
from hil.dsp.doa_accuracy import doa_sigma_deg
from hil.dsp.response import ArrayResponse
from hil.dsp.source_count import mdl
from hil.learning.using import CalibrationInUse

if TYPE_CHECKING:
    from calib.trained.dual_path_vae import TrainedVae
    from hil.jobs.doa_vae import VaeFinder

#: As --method has them.
METHODS = ("music", "capon", "bartlett", "diffmusic", "dual-path-vae")
#: What is larger cannot be squared.
_LARGEST = 1e15
_NO_SIGMA = "deviation not determined: the signal does not stand out of the noise there"


@dataclass(slots=True)
class SpectrumSettings:
    """What is wanted. method : of METHODS; grid_deg : (low, high, step) or None; snapshots : per estimate; at_s : where in a
    recording; network : file of hil train for the method."""

    n_sources: int | None = None
    method: str = "music"
    grid_deg: tuple[float, float, float] | None = None
    snapshots: int = 4096
    at_s: float = 0.0
    calibration: Path | None = None
    relearn_phase: bool = False
    stale_ok: str | None = None
    network: Path | None = None


@dataclass(slots=True)
class Directions:
    """One estimate. spectrum (G,) linear over angles_deg (G,). note : what is wrong with it, "" if nothing.
    determined : False where there are no directions because they cannot be told.
    health : faults told since the last one, and those that last (Watched.report)."""

    stream: StreamInfo
    doa_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    n_sources: int
    used: CalibrationInUse | None
    angles_deg: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    first_sample: int
    note: str = ""
    determined: bool = True
    health: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The JSON object of contract.md."""
        used = self.used
        return {
            "doa_deg": self.doa_deg,
            "doa_sigma_deg": self.sigma_deg,
            "n_sources": self.n_sources,
            "epoch": self.stream.epoch.id,
            "calibration_status": used.status if used else "none",
            "calibration_id": used.calibration.id if used else None,
            "stale_reason": (used.calibration.stale_reason or None) if used else None,
            "first_sample": self.first_sample,
            "time_s": self.first_sample / self.stream.fs_hz,
            "note": self.note or None,
            "health": self.health,
        }


class Estimator:
    """Directions of frames of one stream with one array description."""

    def __init__(self, stream: StreamInfo, settings: SpectrumSettings, used: CalibrationInUse | None) -> None:
        if stream.geometry is None:
            raise ConfigError(
                "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
            )
        m, k = stream.n_channels, settings.n_sources
        if m < 2 or (k is not None and k >= m):
            raise ConfigError(
                f"{k or 1} sources: {m} elements separate at most {m - 1}",
                where="--sources",
                hint="give fewer, or auto",
            )
        self.stream, self.settings, self.used = stream, settings, used
        grid = None
        if settings.grid_deg is not None:
            low, high, step = settings.grid_deg
            grid = np.arange(low, high + step / 2, step)
        array: Any = used.calibration if used is not None else stream.geometry
        self.finder = _finder_of(settings.method, array, stream.fc_hz, grid)
        self._network = _network(settings)
        self._parts: dict[tuple[int, ...], DoaFinder] = {}
        self._likelihoods: dict[tuple[int, ...], VaeFinder] = {}
        self._receivers = None
        if used is not None:
            errors = receiver_errors(used.calibration.impairments)
            self._receivers = None if is_ideal(errors) else errors

    def estimate(
        self,
        samples: NDArray[np.complex64],
        first_sample: int,
        silent: Collection[int] = (),
        *,
        spectrum: bool = True,
    ) -> Directions:
        """From (M, N) samples; delays, responses, images and DC that the calibration knows are undone in them.

        silent : channels that are known to hear nothing. They, and those whose samples say nothing, are left out.
        spectrum : False where directions are all that is wanted; it is flat then.
        """
        left_out = without_signal(samples, silent)
        note = "; ".join(left_out.values())
        if left_out:
            samples = samples.copy()
            samples[list(left_out)] = 0
        if self._receivers is not None:
            samples = correct_samples(samples, self._receivers, self.stream.fs_hz)
        kept = tuple(c for c in range(len(samples)) if c not in left_out)
        n, count = samples.shape[1], self.settings.n_sources
        if len(kept) < max(2, (count or 0) + 1):
            return replace(
                self._nothing(first_sample, f"directions not determined: {note}"), determined=False
            )
        finder = self._finder(kept)
        covariance = sample_covariance(samples[list(kept)])
        if count is None:
            count = min(int(mdl(np.linalg.eigvalsh(covariance), n)), len(covariance) - 1)
        if count < 1:
            return self._nothing(first_sample, note)
        if self.settings.method == "dual-path-vae":
            likely = self._likelihood(kept).look(covariance, n, count)
            found, sigma, seen = likely.doa_deg, likely.sigma_deg, likely.spectrum
        else:
            found = finder.find(covariance, count)
            sigma = doa_sigma_deg(covariance, finder.response, self.stream.fc_hz, found, n, count)
            seen = finder.spectrum(covariance, count) if spectrum else np.ones(len(finder.grid_deg))
        if not np.all(np.isfinite(sigma)):
            note = "; ".join(filter(None, [note, _NO_SIGMA]))
        if self.used is not None:
            sigma = np.hypot(sigma, self.used.calibration.gauge.angle_sigma_deg)
        return Directions(
            self.stream, found, sigma, count, self.used, finder.grid_deg, seen, first_sample, note
        )

    def _finder(self, kept: tuple[int, ...]) -> DoaFinder:
        """Of the array with these channels alone."""
        whole = self.finder
        if len(kept) == whole.n_elements:
            return whole
        if kept not in self._parts:
            rows, full = list(kept), whole.response
            part = ArrayResponse(lambda deg: full.steering(deg)[rows], full.limits_deg, full.beamwidth_deg)
            self._parts = {kept: _finder_of(self.settings.method, part, None, whole.grid_deg)}
        return self._parts[kept]

    def _likelihood(self, kept: tuple[int, ...]) -> VaeFinder:
        """Of the array with these channels alone."""
        from hil.jobs.doa_vae import VaeFinder

        if kept not in self._likelihoods:
            known = None if self.used is None else self.used.calibration
            made = VaeFinder(self.stream, known, self.finder.grid_deg, self._network, kept)
            self._likelihoods = {kept: made}
        return self._likelihoods[kept]

    def _nothing(self, first_sample: int, note: str) -> Directions:
        """No direction."""
        none, grid = np.zeros(0), self.finder.grid_deg
        return Directions(self.stream, none, none, 0, self.used, grid, np.ones(len(grid)), first_sample, note)


def _finder_of(
    method: str, array: Any, fc_hz: float | None, grid_deg: NDArray[np.float64] | None
) -> DoaFinder:
    """Of a method of METHODS; for the dual-path VAE, which searches by itself, only what others need of a finder."""
    if method == "diffmusic":
        from hil.jobs.doa_diffmusic import SoftMusic

        return SoftMusic(array, fc_hz, grid_deg)
    searched: Any = "music" if method == "dual-path-vae" else method
    return DoaFinder(array, fc_hz, grid_deg, method=searched)


def _network(settings: SpectrumSettings) -> TrainedVae | None:
    """The trained network that was asked for."""
    if settings.network is None:
        return None
    from calib.trained.dual_path_vae import TrainedVae
    from calib.trained.load import load_network

    network = load_network(settings.network)
    if settings.method != "dual-path-vae" or not isinstance(network, TrainedVae):
        raise ConfigError(
            f"{settings.network.name} is a network of {network.method}, not of the method {settings.method}",
            where="--network",
            hint="add --method dual-path-vae"
            if isinstance(network, TrainedVae)
            else "MoD-DNN works on channel responses: hil evaluate, or hil gui --network",
        )
    return network


def without_signal(samples: NDArray[np.complex64], silent: Collection[int] = ()) -> dict[int, str]:
    """Channels whose samples (M, N) say nothing of directions, and why. silent : those known to hear nothing."""
    out = {c: f"channel {c} is silent: left out" for c in silent if c < len(samples)}
    size = np.maximum(np.abs(samples.real), np.abs(samples.imag))
    for c in np.flatnonzero(~np.all(size < _LARGEST, axis=1)).tolist():  # not for NaN
        out[c] = f"channel {c} delivers values that are no numbers: left out"
    for c in np.flatnonzero(np.all(samples == samples[:, :1], axis=1)).tolist():
        out[c] = f"channel {c} never changes: left out"
    return dict(sorted(out.items()))
