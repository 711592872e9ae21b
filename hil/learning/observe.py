"""From samples to what a learner needs: covariances of short blocks, picked evenly out of a stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording
from hil.core.errors import ConfigError
from hil.core.frame import Frame

#: Snapshots per block, as in the definition of `doa_rmspe_deg` (contract.md).
BLOCK_SNAPSHOTS = 256
#: Blocks per second of stream handed to a learner: ten per dwell of a 10 ms hop.
BLOCK_RATE_HZ = 1000.0


@dataclass(frozen=True, slots=True)
class CovarianceBatch:
    """Covariances of blocks of T consecutive snapshots.

    covariance : (B, M, M) complex128. first_sample : (B,) int64, absolute index of each block's first
    sample. n_snapshots : T. fs_hz : sample rate. epoch_counter : coherence epoch of all of them.
    """

    covariance: NDArray[np.complex128]
    first_sample: NDArray[np.int64]
    n_snapshots: int
    fs_hz: float
    epoch_counter: int = 0

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(B,) seconds since sample 0."""
        return self.first_sample / self.fs_hz

    def __len__(self) -> int:
        return len(self.first_sample)

    def part(self, keep: NDArray[np.bool_] | slice) -> CovarianceBatch:
        """Some of the blocks."""
        return CovarianceBatch(
            self.covariance[keep], self.first_sample[keep], self.n_snapshots, self.fs_hz, self.epoch_counter
        )

    def thinned(self, most: int) -> CovarianceBatch:
        """At most `most` of the blocks, evenly spread; all of them if there are not more."""
        if len(self) <= most:
            return self
        index = np.unique(np.linspace(0, len(self) - 1, most).astype(np.intp))
        return CovarianceBatch(
            self.covariance[index], self.first_sample[index], self.n_snapshots, self.fs_hz, self.epoch_counter
        )


class CovarianceTap:
    """Picks blocks of `n_snapshots` at absolute multiples of a stride, so that gaps and frame borders do no harm."""

    def __init__(self, n_snapshots: int = BLOCK_SNAPSHOTS, rate_hz: float = BLOCK_RATE_HZ) -> None:
        self.n_snapshots = n_snapshots
        self.rate_hz = rate_hz

    def stride(self, fs_hz: float) -> int:
        """Samples from one picked block to the next."""
        return max(self.n_snapshots, round(fs_hz / self.rate_hz))

    def take(self, frame: Frame) -> CovarianceBatch:
        """Covariances of the blocks that lie wholly inside the frame; possibly none."""
        m, n = frame.samples.shape
        stride = self.stride(frame.stream.fs_hz)
        start = -frame.first_sample % stride
        if start + self.n_snapshots > n:
            cov = np.zeros((0, m, m), np.complex128)
            return self._batch(frame, cov, np.zeros(0, np.int64))
        windows = sliding_window_view(frame.samples, self.n_snapshots, axis=1)[:, start::stride]
        blocks = np.ascontiguousarray(windows.transpose(1, 0, 2))
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number stays none
            cov = np.matmul(blocks, blocks.conj().transpose(0, 2, 1)).astype(np.complex128) / self.n_snapshots
        first = frame.first_sample + start + stride * np.arange(len(blocks), dtype=np.int64)
        return self._batch(frame, cov, first)

    def _batch(self, frame: Frame, cov: NDArray[np.complex128], first: NDArray[np.int64]) -> CovarianceBatch:
        stream = frame.stream
        return CovarianceBatch(cov, first, self.n_snapshots, stream.fs_hz, stream.epoch.counter)


def join(batches: Iterable[CovarianceBatch]) -> CovarianceBatch:
    """One batch out of many of the same stream and epoch. Raises ConfigError if there is none."""
    parts = [b for b in batches if len(b)]
    if not parts:
        raise ConfigError(
            f"no block of {BLOCK_SNAPSHOTS} consecutive samples",
            hint="capture longer, or check that the device streams",
        )
    head = parts[0]
    return CovarianceBatch(
        np.concatenate([p.covariance for p in parts]),
        np.concatenate([p.first_sample for p in parts]),
        head.n_snapshots,
        head.fs_hz,
        head.epoch_counter,
    )


def observe_recording(
    recording: Recording,
    start: int = 0,
    end: int | None = None,
    *,
    n_snapshots: int = BLOCK_SNAPSHOTS,
    rate_hz: float = BLOCK_RATE_HZ,
    max_blocks: int = 20_000,
) -> CovarianceBatch:
    """Covariances of blocks picked evenly from samples start..end (places in the file) of a recording.

    Blocks never straddle a segment border (gap, retune), and all come from one coherence epoch and one
    configuration: the first within start..end. Raises ConfigError if no block fits.
    """
    end = recording.n_samples if end is None else min(end, recording.n_samples)
    stream = recording.segment_at(start).stream
    fs_hz, full_scale_bits = stream.fs_hz, stream.device.full_scale_bits
    stride = max(n_snapshots, round(fs_hz / rate_hz), -(-(end - start) // max_blocks))
    starts: list[int] = []
    indices: list[int] = []
    for segment in recording.segments:
        if (segment.stream.epoch.id, segment.stream.config) != (stream.epoch.id, stream.config):
            continue
        offset = segment.global_index - segment.start
        low, high = max(start, segment.start), min(end, segment.start + segment.n) - n_snapshots
        first = low + -(low + offset) % stride
        for place in range(first, high + 1, stride):
            starts.append(place)
            indices.append(place + offset)
    if not starts:
        raise ConfigError(f"no block of {n_snapshots} samples", hint="record longer")
    m = stream.n_channels
    covariance = np.empty((len(starts), m, m), np.complex128)
    for b, place in enumerate(starts):
        x, _ = wire_to_complex(recording.read(place, n_snapshots), full_scale_bits)
        covariance[b] = x @ x.conj().T / n_snapshots
    return CovarianceBatch(covariance, np.array(indices, np.int64), n_snapshots, fs_hz, stream.epoch.counter)


def longest_epoch(recording: Recording) -> tuple[int, int]:
    """Places in the file (start, end) of the longest stretch in one coherence epoch and configuration.

    Phases may differ from epoch to epoch, so a learner must not mix them. Gaps do not end a stretch.
    """
    best, begin = (0, 0), 0
    for i, segment in enumerate(recording.segments):
        before = recording.segments[i - 1].stream if i else None
        here = segment.stream
        if before is None or (before.epoch.id, before.config) != (here.epoch.id, here.config):
            begin = segment.start
        if segment.start + segment.n - begin > best[1] - best[0]:
            best = (begin, segment.start + segment.n)
    return best
