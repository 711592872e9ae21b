"""Channels of one board among those of the array."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.board_blocks import columns_of, put_columns


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("places", [[0, 1, 2, 3], [4, 5], [7], [1, 3], [5, 2, 0]])
def test_only_these_columns_are_written(places: list[int], dtype: type) -> None:
    rng = np.random.default_rng(0)
    memory = np.zeros((100, 8, 2), dtype)
    out, piece = memory[30:80], rng.integers(-999, 999, (50, len(places), 2)).astype(dtype)
    put_columns(out, columns_of(places), piece)
    want = np.zeros((100, 8, 2), dtype)
    want[30:80, places] = piece
    assert np.array_equal(memory, want)
    put_columns(out[:0], columns_of(places), piece[:0])
    assert np.array_equal(memory, want)


def test_neighbours_are_one_slice() -> None:
    assert columns_of([2, 3, 4]) == slice(2, 5)
    assert columns_of([2, 4]) == [2, 4]
