"""Blocks are picked at absolute places, never across a gap or a frame border."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hil.core.device import DeviceInfo, RxConfig, WireFormat
from hil.core.epoch import new_epoch
from hil.core.errors import ConfigError
from hil.core.frame import Frame, FrameFlag, StreamInfo
from hil.learning.observe import CovarianceTap, join

FS = 1e6


def _stream() -> StreamInfo:
    info = DeviceInfo("sim:", "sim", "m", "s", "", ((0, 1, 2),), WireFormat.CI16, 12)
    return StreamInfo(
        RxConfig(1e9, FS, FS, (0.0,) * 3, channels=(0, 1, 2), block_samples=1000), info, new_epoch("s")
    )


def _frame(samples: np.ndarray, first: int) -> Frame:
    return Frame(samples.astype(np.complex64), first, 0, 0, 0, FrameFlag.NONE, _stream())


def test_blocks_do_not_depend_on_how_the_stream_is_cut() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, 20_000)) + 1j * rng.normal(size=(3, 20_000))
    tap = CovarianceTap(n_snapshots=100, rate_hz=500.0)
    whole = tap.take(_frame(x, 0))
    cuts = [0, 3_777, 9_001, 20_000]
    parts = join(tap.take(_frame(x[:, a:b], a)) for a, b in itertools.pairwise(cuts))
    assert set(parts.first_sample) <= set(whole.first_sample)
    assert len(parts) >= len(whole) - 2  # at most one block lost at each inner border
    both = np.isin(whole.first_sample, parts.first_sample)
    assert parts.covariance == pytest.approx(whole.covariance[both])


def test_covariance_and_time_by_hand() -> None:
    x = np.outer([1.0, 1j, 0.0], np.ones(1000))
    batch = CovarianceTap(n_snapshots=100, rate_hz=FS / 200).take(_frame(x, 450))
    assert list(batch.first_sample) == [600, 800, 1000, 1200]  # multiples of 200, whole blocks only
    assert batch.covariance[0] == pytest.approx(np.array([[1, -1j, 0], [1j, 1, 0], [0, 0, 0]]))
    assert batch.time_s[0] == pytest.approx(600e-6)


def test_thinning_keeps_the_ends() -> None:
    x = np.ones((3, 10_000))
    batch = CovarianceTap(n_snapshots=100, rate_hz=FS / 100).take(_frame(x, 0))
    thin = batch.thinned(7)
    assert len(thin) == 7
    assert thin.first_sample[0] == batch.first_sample[0]
    assert thin.first_sample[-1] == batch.first_sample[-1]
    assert batch.thinned(1000) is batch


def test_nothing_to_join_is_an_error_with_a_hint() -> None:
    empty = CovarianceTap(n_snapshots=100).take(_frame(np.ones((3, 50)), 0))
    assert len(empty) == 0
    with pytest.raises(ConfigError, match="no block of"):
        join([empty])
