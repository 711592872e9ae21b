"""The simulator against the manifold of hil.core: two pieces of code that share none must agree."""

from __future__ import annotations

import numpy as np
import pytest

from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.gauge import Gauge
from hil.core.geometry import parse_array
from hil.core.impairments import Impairments
from hil.core.steering import steering_vectors
from sim_backend.engine import ArrayEngine
from sim_backend.scene import parse_scene
from sim_backend.truth import read_truth

SCENES = {
    "line": ("array = {n_elements = 8}", "ula:8:0.5", 0.0),
    "circle": ("array = {kind = 'uca', n_elements = 8, radius_wavelengths = 0.7}", "uca:8:0.7", 20.0),
}


def snapshots(engine: ArrayEngine, first: int, n: int) -> np.ndarray:
    """(M, n) complex128 over all boards."""
    wire = np.concatenate([engine.read(b, first, n).astype(float) for b in range(engine.n_boards)], axis=1)
    return (wire[:, 0::2] + 1j * wire[:, 1::2]).T


@pytest.mark.parametrize("name", SCENES)
def test_every_dwell_lies_along_the_steering_vector_of_the_true_array(name, tmp_path):
    array, spec, elevation_deg = SCENES[name]
    text = (
        f"seed = 5\n{array}\nreceiver = {{snr_db = 30.0}}\nimpairments = {{coupling_db = -18.0}}\n"
        f"[[emitter]]\nelevation_deg = {elevation_deg}\nhop = {{period_s = 0.002, min_deg = -70.0, max_deg = 70.0}}\n"
    )
    engine = ArrayEngine(parse_scene(text), free_running=True, truth=tmp_path / "t.jsonl")
    engine.write_lo(0, 1, 2.45e9, at=10_000)
    n, dwell = 60_000, 5000
    x = snapshots(engine, 0, n)
    engine.close()
    truth = read_truth(tmp_path / "t.jsonl")
    geometry = parse_array(spec, 2.45e9)
    np.testing.assert_allclose(truth.positions_m, geometry.positions_m, atol=1e-12)
    rf_hz = 2.45e9 + 1e5
    for first in range(0, n, dwell):
        block = x[:, first : first + dwell]
        _, vectors = np.linalg.eigh(block @ block.conj().T)
        azimuth = np.deg2rad(truth.angles_deg([first])[0, 0])
        a = steering_vectors(
            geometry.positions_m + truth.position_error_m, rf_hz, azimuth, np.deg2rad(elevation_deg)
        )
        want = truth.gain_at(first + 1) * (truth.coupling @ a[:, 0])
        rho = abs(np.vdot(want, vectors[:, -1])) / np.linalg.norm(want)
        assert rho > 1 - 2e-5


def test_a_calibration_of_the_truth_predicts_the_received_phases(tmp_path):
    text = "seed = 9\nreceiver = {snr_db = 50.0}\n[[emitter]]\nangle_deg = -37.0\n"
    engine = ArrayEngine(parse_scene(text), free_running=True, truth=tmp_path / "t.jsonl")
    x = snapshots(engine, 0, 20_000)
    engine.close()
    truth = read_truth(tmp_path / "t.jsonl")
    zeros = np.zeros(8)
    impairments = Impairments(
        truth.gain_at(0),
        truth.coupling,
        truth.position_error_m,
        truth.delay_s,
        zeros.astype(complex),
        zeros.astype(complex),
    )
    calibration = Calibration(
        parse_array("ula:8:0.5", 2.45e9), impairments, unknown_sigma(8), Gauge("none"), 2.45e9,
        Validity(2e9, 3e9), "truth",
    )  # fmt: skip
    a = calibration.steering([-37.0])[:, 0]
    ratio = (x @ x[0].conj()) / np.vdot(x[0], x[0])
    np.testing.assert_allclose(ratio, a / a[0], rtol=1e-3)
