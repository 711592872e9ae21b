"""A known waveform from transmission to directions, over both protocols and by commands alone (table: tests/bars/ofdm_chain.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hil.sim_server import free_address
from tests.bars.ofdm_chain import run_case
from tests.bars.ofdm_chain_scenes import draw_case


@pytest.mark.parametrize(
    ("transport", "seed"), [("iio", 102), pytest.param("soapy", 105, marks=pytest.mark.slow)]
)
def test_hidden_targets_are_found_with_an_array_taught_by_echoes(
    tmp_path: Path, transport: str, seed: int
) -> None:
    found = run_case(draw_case(seed), transport, tmp_path, free_address(), weak=False)
    assert not found.problem
    assert np.all(np.abs(found.angle_error_deg) < 0.5), found.angle_error_deg
    assert np.all(np.abs(found.range_error_bins) < 0.5), found.range_error_bins
    assert found.ghosts == 0
    assert found.learned["status"] == "ok"
    assert found.found["calibration_status"] in ("valid", "verified", "unverified")
