"""The computations on the samples of one point, read in pieces, and the HDF5 file that they become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, open_recording
from hil import store
from hil.core.calibration import Calibration
from hil.core.errors import ConfigError, RecordingError
from hil.core.frame import StreamInfo
from hil.core.geometry import parse_array
from hil.dsp.correction import correct_samples, remaining
from hil.dsp.covariance import block_covariances
from hil.processing.point_file import PointFile
from hil.processing.settings import ProcessSettings
from hil.processing.task import PointTask

#: Samples per channel in memory at a time.
PIECE_SAMPLES = 1 << 16
_MARGIN_SAMPLES = 2048  # read on both sides: undoing a delay disturbs the ends of what it works on
_CSI_GROUPS = 512


@dataclass(slots=True)
class PointSamples:
    """Samples of one point, corrected where there is a calibration. clipped : (M,) samples at full scale so far."""

    recording: Recording
    start: int
    n: int
    stream: StreamInfo
    calibration: Calibration | None
    clipped: NDArray[np.int64]

    @property
    def first_sample(self) -> int:
        """Index of the point's first sample in the original stream."""
        segment = self.recording.segment_at(self.start)
        return segment.global_index + self.start - segment.start

    def read(self, offset: int, n: int) -> NDArray[np.complex64]:
        """Samples offset..offset+n of the point, (M, n) complex64."""
        first = self.start + offset
        margin = 0 if self.calibration is None else _MARGIN_SAMPLES
        low, high = max(first - margin, self.start), min(first + n + margin, self.start + self.n)
        bits = self.stream.device.full_scale_bits
        samples, clipped = wire_to_complex(self.recording.read(low, high - low), bits)
        if len(samples[0]) < high - low:
            raise RecordingError(f"{self.recording.path} ends within the point", exit_code=2)
        self.clipped += clipped
        if self.calibration is None:
            return samples
        mended = correct_samples(samples, self.calibration.impairments, self.stream.fs_hz)
        return np.ascontiguousarray(mended[:, first - low : first - low + n])

    def blocks(
        self, snapshots: int, rows: int | None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.complex64]]]:
        """Offsets (B,) and samples (M, B * snapshots) of neighbouring blocks, a piece at a time."""
        wanted = _spread(self.n // snapshots, rows)
        together = max(1, PIECE_SAMPLES // snapshots)
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1):
            for low in range(0, len(run), together):
                part = run[low : low + together]
                yield part * snapshots, self.read(int(part[0]) * snapshots, len(part) * snapshots)


def measure(task: PointTask, path: Path) -> None:
    """Compute what the task asks for and write it to `path`.

    Raises RecordingError, ConfigError, CalibrationError: these samples cannot be used. OSError: of the disk.
    """
    point, settings = task.point, task.settings
    with open_recording(task.recording) as recording:
        if point.start + point.n > recording.n_samples:
            raise RecordingError(
                f"{task.recording} holds {recording.n_samples} samples, the point ends at {point.start + point.n}",
                exit_code=2,
            )
        stream = recording.segment_at(point.start).stream
        if settings.array is not None:
            stream = replace(stream, geometry=parse_array(settings.array, stream.fc_hz))
        calibration = store.load(task.calibration) if task.calibration else None
        require_fitting(settings, stream, point.n, calibrated=calibration is not None)
        clipped = np.zeros(stream.n_channels, np.int64)
        samples = PointSamples(recording, point.start, point.n, stream, calibration, clipped)
        with PointFile(path, task, stream, calibration) as file:
            {
                "covariances": _covariances, "snapshots": _snapshots, "csi": _csi, "spectra": _spectra,
                "report-data": _spectra,
            }[settings.what](samples, task, file)  # fmt: skip
            file.attribute("clipped", samples.clipped)


def require_fitting(settings: ProcessSettings, stream: StreamInfo, n: int, *, calibrated: bool) -> None:
    """Raise ConfigError if the settings cannot be those of such a stream and n samples a point."""
    if settings.what != "csi" and n < settings.snapshots:
        raise ConfigError(f"{settings.snapshots} samples a block, a point has {n}", where="--snapshots")
    if settings.what not in ("spectra", "report-data"):
        return
    if stream.geometry is None and not calibrated:
        raise ConfigError(
            "the array is not known", where="--array", hint="give for example --array ula:4:0.5"
        )
    if (settings.n_sources or 1) >= stream.n_channels:
        raise ConfigError(
            f"{settings.n_sources} sources: {stream.n_channels} elements separate 1 to {stream.n_channels - 1}",
            where="--sources",
        )


def _covariances(samples: PointSamples, task: PointTask, file: PointFile) -> None:
    t, first = task.settings.snapshots, samples.first_sample
    for offsets, x in samples.blocks(t, task.settings.rows):
        file.append("covariance", block_covariances(x, t), "full scale squared", "X X^H / N of a block")
        file.append("first_sample", first + offsets, "samples", "of a block, in the original stream")
    file.attribute("snapshots", t)


def _snapshots(samples: PointSamples, task: PointTask, file: PointFile) -> None:
    t, first = task.settings.snapshots, samples.first_sample
    for offsets, x in samples.blocks(t, task.settings.rows):
        blocks = x.reshape(len(x), len(offsets), t).transpose(1, 0, 2)
        file.append("snapshots", blocks, "full scale", "samples of a block: element, snapshot")
        file.append("first_sample", first + offsets, "samples", "of a block, in the original stream")
    file.attribute("snapshots", t)


def _csi(samples: PointSamples, task: PointTask, file: PointFile) -> None:
    from hil.core.waveform_files import load_waveform
    from hil.learning.csi_recording import csi_of_recording

    calibration, fs_hz = samples.calibration, samples.stream.fs_hz

    def mended(x: NDArray[np.complex64]) -> NDArray[np.complex64]:
        assert calibration is not None
        return correct_samples(x, calibration.impairments, fs_hz)

    found = csi_of_recording(
        samples.recording, load_waveform(task.waveform), samples.start, samples.start + samples.n,
        most_groups=task.settings.rows or _CSI_GROUPS, mend=None if calibration is None else mended,
    )  # fmt: skip
    file.append("csi", found.csi, "1", "channel response: element, subcarrier")
    file.append("first_sample", found.first_sample, "samples", "of the first symbol, in the original stream")
    file.append("symbols", found.symbols, "1", "symbols averaged")
    file.append("frequency_hz", found.frequency_hz, "Hz", "of the subcarriers, from the carrier")
    file.attribute("spacing_hz", found.spacing_hz)
    file.attribute("subcarrier_snr_db", found.snr_db)
    file.attribute("carrier_offset_hz", found.carrier_offset_hz)
    file.attribute("notes", "; ".join(found.notes))


def _spectra(samples: PointSamples, task: PointTask, file: PointFile) -> None:
    """MUSIC of the mean covariance, and directions of the blocks."""
    from hil.dsp.doa import DoaFinder

    stream, settings = samples.stream, task.settings
    n_sources = settings.n_sources or 1
    array: Any = stream.geometry if samples.calibration is None else remaining(samples.calibration)
    finder = DoaFinder(array, stream.fc_hz)
    t, first = settings.snapshots, samples.first_sample
    total, count = np.zeros((stream.n_channels,) * 2, np.complex128), 0
    for offsets, x in samples.blocks(t, settings.rows):
        covariance = block_covariances(x, t)
        total += covariance.sum(axis=0)
        count += len(covariance)
        doa_deg = np.full((len(covariance), n_sources), np.nan)
        for row, found in zip(doa_deg, finder.find_many(covariance, n_sources), strict=True):
            row[: len(found)] = found
        file.append("doa_deg", doa_deg, "degrees", "directions of a block by MUSIC, strongest peak first")
        file.append("first_sample", first + offsets, "samples", "of a block, in the original stream")
    mean = total / count
    file.append("angles_deg", finder.grid_deg, "degrees", "of the spectrum")
    file.append("spectrum", finder.spectrum(mean, n_sources), "1", "MUSIC of the mean covariance")
    file.attribute("n_sources", n_sources)
    file.attribute("snapshots", t)
    if settings.what == "report-data":
        power = np.maximum(np.real(np.diag(mean)), 1e-30)
        file.append("covariance", mean, "full scale squared", "mean of all blocks")
        file.append("eigenvalues", np.linalg.eigvalsh(mean), "full scale squared", "of the covariance")
        file.append("power_dbfs", 10 * np.log10(power), "dB", "mean power of each element, full scale 1")


def _spread(n: int, most: int | None) -> NDArray[np.int64]:
    """0..n-1, or at most so many of them, evenly spread."""
    if most is None or n <= most:
        return np.arange(n, dtype=np.int64)
    return np.unique(np.linspace(0, n - 1, most).astype(np.int64))
