"""From the points of a campaign to covariances of blocks: point by point, never more than a block's samples at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import Recording, open_recording
from hil.campaign.folder import Campaign, CampaignPoint
from hil.core.errors import ConfigError, RecordingError
from hil.core.frame import StreamInfo
from hil.jobs.stated_array import stated_array
from hil.learning.observe import BLOCK_SNAPSHOTS, CovarianceBatch

MOST_BLOCKS = 6000
_MOST_SNAPSHOTS = 1024
_FEWEST_SNAPSHOTS = 64


@dataclass(frozen=True, slots=True)
class SweepBlocks:
    """Blocks of some points of a campaign.

    batch : a point's blocks lie within one second of their own, from `place` on: the order is shuffled, so that a turntable
        does not look like a moving emitter. points : P, in that order; point (B,) : which one each block belongs to.
    epoch : (B,) 0 for the newest epoch of the campaign, 1 for the one before, ...
    """

    batch: CovarianceBatch
    points: tuple[CampaignPoint, ...]
    point: NDArray[np.intp]
    epoch: NDArray[np.intp]

    def part(self, keep: NDArray[np.bool_]) -> SweepBlocks:
        """Some of the blocks."""
        return SweepBlocks(self.batch.part(keep), self.points, self.point[keep], self.epoch[keep])

    def turned(self, turn_rad: NDArray[np.float64]) -> SweepBlocks:
        """As if all had been recorded in the newest epoch. turn_rad : (E, M), channels against that one."""
        factor = np.exp(-1j * turn_rad[self.epoch])
        covariance = self.batch.covariance * factor[:, :, None] * factor.conj()[:, None, :]
        return replace(self, batch=replace(self.batch, covariance=covariance))

    @property
    def rotations(self) -> tuple[tuple[float, float, float], ...]:
        """(table angle, from s, to s) of every point, in the batch's time."""
        return tuple((p.table_deg, i - 1e-3, i + 1 - 2e-3) for i, p in enumerate(self.points))


def epochs_of(points: Sequence[CampaignPoint]) -> tuple[str, ...]:
    """Ids of the coherence epochs, newest first."""
    newest: dict[str, int] = {}
    for p in points:
        newest[p.epoch] = max(newest.get(p.epoch, 0), p.t_utc_ns)
    return tuple(sorted(newest, key=lambda e: -newest[e]))


def held_out_points(points: Sequence[CampaignPoint], every: int) -> tuple[CampaignPoint, ...]:
    """Every so many-th point in the order of the table's angles; never the first or the last. 0: none."""
    if every < 2:
        return ()
    ordered = sorted(points, key=lambda p: p.table_deg)
    return tuple(p for i, p in enumerate(ordered) if i % every == every // 2 and 0 < i < len(ordered) - 1)


def stream_of(
    campaign: Campaign, points: Sequence[CampaignPoint], array: str | None
) -> tuple[StreamInfo, tuple[str, ...]]:
    """Settings of the newest recording with its array, and SHA-256 of all recordings.

    Raises ConfigError: the runs were not made with the same settings, or nobody states the array. RecordingError.
    """
    newest = max(points, key=lambda p: p.t_utc_ns)
    found: StreamInfo | None = None
    kinds, hashes = set(), []
    for name in sorted({p.recording for p in points}):
        one = next(p for p in points if p.recording == name)
        with open_recording(campaign.folder / name) as recording:
            stream = recording.segment_at(one.start).stream
            hashes.append(recording.sha256())
            kinds.add((stream.fc_hz, stream.fs_hz, stream.gains_db, stream.n_channels))
            if name == newest.recording:
                found = recording.segment_at(newest.start).stream
    assert found is not None
    if len(kinds) > 1:
        raise ConfigError(
            "the runs of this campaign differ in carrier, rate, gain or channels", where=str(campaign.folder),
            hint="a campaign is learned from as one measurement: make one for each setting",
        )  # fmt: skip
    return replace(found, geometry=stated_array(array, found)), tuple(hashes)


def observe_points(
    campaign: Campaign,
    points: Sequence[CampaignPoint],
    epochs: Sequence[str],
    *,
    n_snapshots: int | None = None,
    most_per_point: int = MOST_BLOCKS,
) -> SweepBlocks:
    """Covariances of blocks spread evenly over every point.

    n_snapshots : of a block; None: 256, or as many as put all samples into 6000 blocks, at most 1024.

    Raises ConfigError: no point, or points too short. RecordingError: a recording is damaged.
    """
    if not points:
        raise ConfigError(
            "the campaign has no finished point", where=str(campaign.folder), hint="hil sweep --resume"
        )
    order = np.random.default_rng(0).permutation(len(points))[:MOST_BLOCKS]
    chosen = [points[i] for i in order]
    shortest = min(p.n for p in chosen)
    if n_snapshots is None:
        n_snapshots = max(BLOCK_SNAPSHOTS, min(_MOST_SNAPSHOTS, shortest * len(chosen) // MOST_BLOCKS))
    n_snapshots = min(n_snapshots, shortest)
    if n_snapshots < _FEWEST_SNAPSHOTS:
        raise ConfigError(
            f"points of {shortest} samples are too short to learn from", where=str(campaign.folder),
            hint="hil sweep --samples 80k",
        )  # fmt: skip
    n_blocks = max(1, min(MOST_BLOCKS // len(chosen), shortest // n_snapshots, most_per_point))
    place = {p.index: i for i, p in enumerate(chosen)}
    covariance = [np.empty(0, np.complex128)] * len(chosen)
    fs_hz = 1.0
    by_file = sorted(chosen, key=lambda p: (p.recording, p.start))
    for name, mine in groupby(by_file, key=lambda p: p.recording):
        with open_recording(campaign.folder / name) as recording:
            fs_hz = recording.stream.fs_hz
            for p in mine:
                covariance[place[p.index]] = _covariances(recording, p, n_snapshots, n_blocks)
    second = np.arange(len(chosen))[:, None] + np.arange(n_blocks) / n_blocks * 0.99
    batch = CovarianceBatch(
        np.concatenate(covariance), np.round(second.ravel() * fs_hz).astype(np.int64), n_snapshots, fs_hz
    )
    number = {e: i for i, e in enumerate(epochs)}
    epoch = np.array([number[p.epoch] for p in chosen], np.intp).repeat(n_blocks)
    return SweepBlocks(batch, tuple(chosen), np.arange(len(chosen)).repeat(n_blocks), epoch)


def _covariances(
    recording: Recording, point: CampaignPoint, n_snapshots: int, n_blocks: int
) -> NDArray[np.complex128]:
    """(n_blocks, M, M) of one point."""
    if point.start + point.n > recording.n_samples:
        raise RecordingError(
            f"{recording.path} ends at sample {recording.n_samples}, the point at {point.set_deg:g} degrees lies beyond",
            exit_code=2, hint="the recording is damaged or not the one of this campaign; take its line out of the journal",
        )  # fmt: skip
    bits = recording.stream.device.full_scale_bits
    starts = point.start + np.linspace(0, point.n - n_snapshots, n_blocks).astype(int)
    m = recording.stream.n_channels
    out = np.empty((n_blocks, m, m), np.complex128)
    for b, start in enumerate(starts.tolist()):
        x, _ = wire_to_complex(recording.read(start, n_snapshots), bits)
        out[b] = x @ x.conj().T / n_snapshots
    return out
