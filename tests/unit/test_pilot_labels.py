"""Labels: statements by block and by time, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from calib.pilot.labels import Interval, labels_of_blocks, labels_of_intervals
from hil.core.errors import ConfigError, ShapeError

NAN = float("nan")


def test_equal_angles_of_consecutive_blocks_are_one_statement() -> None:
    labels = labels_of_blocks([10, 10, NAN, 10, 20, 20], 6)
    assert labels.block.tolist() == [0, 1, 3, 4, 5]
    assert labels.group.tolist() == [0, 0, 1, 2, 2]
    assert np.rad2deg(labels.azimuth_rad) == pytest.approx([10, 10, 20])
    assert np.isnan(labels.sigma_rad).all()
    assert labels.most_per_block == 1
    assert labels.names[1] == "10 degrees (from block 3)"


def test_several_sources_a_block() -> None:
    labels = labels_of_blocks([[10, -5], [10, NAN]], 2, sigma_deg=0.5)
    assert labels.most_per_block == 2
    assert sorted(zip(labels.block.tolist(), labels.group.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 0)]
    assert np.rad2deg(labels.sigma_rad) == pytest.approx([0.5, 0.5])


def test_intervals_take_the_blocks_within() -> None:
    rows = [Interval(0.0, 0.25, 30), Interval(0.3, 0.5, -20, 10, 0.1)]
    labels = labels_of_intervals(rows, np.arange(10) / 10)
    assert labels.block.tolist() == [0, 1, 2, 3, 4, 5]
    assert labels.group.tolist() == [0, 0, 0, 1, 1, 1]
    assert "-20 degrees at 0.3 to 0.5 s" in labels.names
    kept = labels.without([0])
    assert kept.block.tolist() == [3, 4, 5]
    assert kept.group.tolist() == [0, 0, 0]


def test_directions_count_elevation_as_a_cone_on_a_line() -> None:
    labels = labels_of_blocks([30.0, 90.0], 2, elevation_deg=[60.0, 0.0])
    assert labels.direction(line=True)[:, 0] == pytest.approx([0.25, 1.0])
    assert labels.direction(line=False) == pytest.approx(np.array([[0.25, np.sqrt(3) / 4], [1.0, 0.0]]))
    # derivatives against central differences
    h = 1e-6
    for axis, (da, de) in enumerate(((h, 0.0), (0.0, h))):
        ahead = labels_of_blocks(np.rad2deg([np.pi / 6 + da, 1.0]), 2, np.rad2deg([np.pi / 3 + de, 0.0]))
        back = labels_of_blocks(np.rad2deg([np.pi / 6 - da, 1.0]), 2, np.rad2deg([np.pi / 3 - de, 0.0]))
        step = (ahead.direction(line=False) - back.direction(line=False))[0] / (2 * h)
        assert labels.slopes(line=False)[0, :, axis] == pytest.approx(step, abs=1e-8)


@pytest.mark.parametrize("bad", [(1, 1, 0), (2, 1, 0), (0, 1, 400), (0, 1, 0, 95), (0, 1, 0, 0, -1)])
def test_wrong_statements_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError):
        Interval(*bad)


def test_shapes_and_times_that_do_not_fit() -> None:
    with pytest.raises(ShapeError):
        labels_of_blocks([1.0, 2.0], 3)
    with pytest.raises(ShapeError):
        labels_of_blocks([1.0, 2.0], 2, elevation_deg=[1, 2, 3])
    with pytest.raises(ConfigError, match="no times"):
        labels_of_intervals([Interval(0, 1, 0)], None)
    with pytest.raises(ConfigError, match="no block between"):
        labels_of_intervals([Interval(5, 6, 0)], np.arange(3.0))
