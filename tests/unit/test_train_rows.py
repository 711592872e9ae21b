"""What training and judging make of rows: another carrier, another array, fewer peaks than sources."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calib.methods.mod_dnn.network import Shape
from calib.methods.mod_dnn.regions import Regions
from calib.methods.mod_dnn.train import TrainPlan, train
from calib.trained.belongs import Belongs
from calib.trained.mod_dnn import TrainedModDnn, network_for
from hil.core.calibration import Calibration, Gauge, Validity, unknown_sigma
from hil.core.errors import ConfigError
from hil.core.geometry import parse_array
from hil.core.impairments import ideal
from hil.jobs.train_data import Origin, Rows
from hil.jobs.train_mod_dnn import mod_dnn_scores
from hil.jobs.train_score import music_deg, score
from hil.jobs.train_unfinished import fingerprint

FC_HZ = 2.4e9
LINE = parse_array("ula:4:0.5", FC_HZ)
TONES_HZ = np.linspace(-9e5, 9e5, 4)


def _rows(fc_hz: float = FC_HZ) -> Rows:
    """Tones of one source at 20 dB."""
    rng = np.random.default_rng(3)
    angle = rng.uniform(-50, 50, 60)
    delay = LINE.positions_m[:, 0] * np.sin(np.deg2rad(angle))[:, None] / 299_792_458.0
    clean = np.exp(2j * np.pi * delay[:, :, None] * (fc_hz + TONES_HZ))
    csi = clean + 0.07 * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    origin = Origin(("set.h5",), LINE, fc_hz, True, "c", ("e",))
    return Rows(origin, csi.astype(np.complex64), angle[:, None], np.zeros(60, np.uint8), TONES_HZ, 4)


def _network() -> TrainedModDnn:
    torch.manual_seed(0)
    belongs = Belongs(FC_HZ, np.array(LINE.positions_m), (-60.0, 60.0), True)
    network = network_for(Shape(4, 4, Regions(2)), belongs).eval()
    return TrainedModDnn(network, TONES_HZ, np.ones(4, complex), belongs)


def test_a_network_is_judged_at_the_carrier_of_the_data() -> None:
    network, rows = _network(), _rows(1.04 * FC_HZ)
    scores = mod_dnn_scores(network, rows, bias_rows=None, table=None)
    calibration = Calibration(
        LINE, ideal(4), unknown_sigma(4), Gauge(), FC_HZ, Validity(1e9, 3e9), "test", converged=True
    )
    found, _, _ = network.estimate(rows.values, TONES_HZ, calibration, 1.04 * FC_HZ)
    assert scores[0].error_deg[:, 0] == pytest.approx(found - rows.angle_deg[:, 0], abs=1e-3)


def test_data_are_others_for_another_array_carrier_or_calibration() -> None:
    rows = _rows()
    origin = rows.origin
    gains = Calibration(
        LINE, replace(ideal(4), gain=np.exp(1j * np.arange(4))), unknown_sigma(4), Gauge(), FC_HZ, Validity(1e9, 3e9), "t"
    )  # fmt: skip
    others = [
        replace(rows, origin=replace(origin, geometry=parse_array("ula:4:0.4", FC_HZ))),
        replace(rows, origin=replace(origin, fc_hz=2.5e9)),
        replace(rows, origin=replace(origin, calibration="d")),
        replace(rows, origin=replace(origin, calibrated=False)),
        replace(rows, decoder=gains),
        replace(rows, values=-rows.values),
    ]
    prints = {fingerprint(r) for r in (rows, *others)}
    assert len(prints) == 7
    assert fingerprint(_rows()) == fingerprint(rows)


def test_a_missing_peak_is_stood_for_by_the_highest() -> None:
    u = np.sin(np.deg2rad([10.0, 11.0]))
    a = np.exp(1j * np.pi * np.arange(4)[:, None] * u)
    merged = a @ a.conj().T + 3 * np.eye(4)
    apart = np.exp(1j * np.pi * np.arange(4)[:, None] * np.sin(np.deg2rad([-30.0, 30.0])))
    covariance = np.stack([merged, apart @ apart.conj().T + 0.01 * np.eye(4), np.full((4, 4), np.nan)])
    true = np.array([[10.0, 11.0], [-30.0, 30.0], [0.0, 1.0]])
    found, whole = music_deg(covariance[:2], true[:2], LINE, FC_HZ)
    assert whole[1]
    if not whole[0]:
        assert found[0, 0] == found[0, 1]
    judged = score("MUSIC", found, true[:2], whole)
    assert np.abs(judged.error_deg).max() < 90
    assert judged.missed == 1 - np.mean(whole)
    one = music_deg(
        np.broadcast_to(np.outer(a[:, 0], a[:, 0].conj()) + 1e-3 * np.eye(4), (1, 4, 4)),
        true[:1],
        LINE,
        FC_HZ,
    )
    assert np.all(np.isfinite(one[0]))
    lost = score("x", np.full((1, 2), np.nan), true[:1])
    assert (lost.missed, lost.rms_deg) == (1.0, 90.0)


def test_a_training_that_goes_astray_is_one_line() -> None:
    network = _network().network

    def source(angle_deg: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.full((len(angle_deg), 4, 4), np.nan, np.complex64)

    with pytest.raises(ConfigError, match="went astray"):
        train(network, source, TrainPlan(gate_steps=5, steps=5))
