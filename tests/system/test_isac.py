"""The array learned from its own echoes, and the beam that it then sends: real libiio, four transmit channels.

One FMComms5 with wrong places of its elements and unknown transmit chains, two targets that hop, leakage. Nobody tells the
program a direction; the truth file judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from drivers.conformance_tx_cases import look_at_boards
from drivers.sigmf_files import open_recording
from hil import store
from hil.core.calibration import Sigma
from hil.core.gauge import Gauge
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.core.waveform import load_waveform, ofdm, save_waveform
from hil.evaluation.truth_match import known_array, scene_offset, true_impairments
from hil.learning.csi_recording import csi_of_recording
from hil.sim_server import SimServer
from sim_backend.truth import Truth, read_truth

RANGES_M = (1200.0, 1900.0)
SCENE = """
seed = 5
[array]
n_elements = 4
[receiver]
fs_hz = 1.0e6
board = "fmcomms5"
[impairments]
position_std_wavelengths = 0.05
gain_std = 0.1
[[target]]
hop = { period_s = 0.005, min_deg = -60.0, max_deg = 60.0 }
range_m = 1200.0
rcs_db = -3.0
[[target]]
hop = { period_s = 0.004, min_deg = -60.0, max_deg = 60.0 }
range_m = 1900.0
rcs_db = -6.0
[transmit]
leakage_db = 0.0
gain_std = 0.1
"""
SECTOR = (-40.0, -20.0)
LEARN = ("--method", "differentiable-omp", "--support", "-60:60", "--position-std", "0.05")


@pytest.fixture(scope="module")
def server(shared_board: Callable[..., Any]) -> Iterator[SimServer]:
    with shared_board(SCENE, free_running=True) as running:
        yield running


@pytest.fixture(scope="module")
def captured(shared_hil: Any, server: SimServer) -> Any:
    """Echoes of one channel, and the gains of the receivers as a splitter would show them then: no places."""
    hil = shared_hil
    save_waveform(
        ofdm(n_subcarriers=52, n_fft=64, spacing_hz=1e6 / 64, cp_samples=20, n_symbols=4, seed=1),
        hil.folder / "w.toml",
    )
    done = hil.here(*_capture(server, "one.sigmf-meta", "0.6"), "--tx-channel", "0")
    assert done.code == 0, done
    truth = read_truth(server.truth)
    with open_recording(hil.folder / "one.sigmf-meta") as recording:
        stream = recording.segment_at(0).stream
    assert stream.geometry is not None
    imp = replace(true_impairments(truth, scene_offset(truth)), position_error_m=np.zeros((4, 3)))
    zero = np.zeros(4)
    gains = replace(
        known_array(truth, stream.geometry, stream.fc_hz, scene_offset(truth)), impairments=imp, epoch=stream.epoch,
        converged=True, gauge=Gauge("known-geometry"), sigma=Sigma(zero, zero, np.zeros((4, 3)), zero),
    )  # fmt: skip
    store.save(gains, hil.folder / "gains.h5")
    return hil


@pytest.fixture(scope="module")
def learned(captured: Any) -> Any:
    done = captured.here("learn", "one.sigmf-meta", *LEARN, "--calibration", "gains.h5", "--out", "array.h5")
    assert done.code == 0, done
    return done


def _capture(server: SimServer, name: str, seconds: str) -> tuple[str, ...]:
    return (
        "capture", f"iio:{server.iio[0]}", name, "--seconds", seconds, "--array", "ula:4:0.5", "--transmit", "w.toml",
        "--tx-attenuation", "12",
    )  # fmt: skip


def _true_x(truth: Truth, fc_hz: float) -> np.ndarray:
    x = (truth.positions_m + truth.position_error_m)[:, 0] * fc_hz / SPEED_OF_LIGHT_M_S
    return x - x.mean()


def test_places_are_learned_without_labels_within_their_sigma(
    captured: Any, learned: Any, server: SimServer
) -> None:
    truth = read_truth(server.truth)
    file = store.load(captured.folder / "array.h5")
    wavelength_m = SPEED_OF_LIGHT_M_S / file.fc_hz
    x = file.positions_m[:, 0] / wavelength_m
    error, sigma = x - x.mean() - _true_x(truth, file.fc_hz), file.sigma.position_m[:, 0] / wavelength_m
    nominal = file.geometry.positions_m[:, 0] / wavelength_m - _true_x(truth, file.fc_hz)
    assert np.all(np.abs(error) < 3 * sigma), (error, sigma)
    assert sigma.max() < 0.005  # it means something: the nominal places are further off
    assert np.abs(nominal - nominal.mean()).max() > 0.03
    # the file is a calibration like any other: gains of the receivers and places
    have, want = file.impairments.gain, store.load(captured.folder / "gains.h5").impairments.gain
    assert abs(np.vdot(have, want)) / np.linalg.norm(have) / np.linalg.norm(want) == pytest.approx(1)
    assert file.method == "differentiable-omp"
    assert file.gauge.kind == "support"
    assert learned.json["converged"]


def test_unknown_gains_are_refused_and_the_hint_says_what_to_do(captured: Any) -> None:
    done = captured.here("learn", "one.sigmf-meta", *LEARN, "--out", "wrong.h5")
    assert done.code == 4
    assert "gains of the receivers" in done.json["reason"]
    assert "--calibration" in done.json["hint"]
    gains = store.load(captured.folder / "gains.h5")
    assert gains.epoch is not None
    other = replace(gains, epoch=replace(gains.epoch, session="0" * 32))
    store.save(other, captured.folder / "other.h5")
    args = ("learn", "one.sigmf-meta", *LEARN, "--out", "x.h5", "--calibration", "other.h5")
    done = captured.here(*args)
    assert done.code == 4
    assert "not those of this epoch" in done.json["reason"]
    done = captured.here(*args, "--stale-ok", "nothing was touched")
    assert done.code == 0, done
    assert any("nothing was touched" in note for note in done.json["notes"])


def test_the_beam_of_the_learned_array_lights_its_sector(
    captured: Any, learned: Any, server: SimServer, until: Callable[..., Any]
) -> None:
    done = captured.here(
        *_capture(server, "beam.sigmf-meta", "0.4"), "--tx-channel", "0,1,2,3", "--tx-beam", "-40:-20",
        "--calibration", "array.h5",
    )  # fmt: skip
    assert done.code == 0, done
    truth = read_truth(server.truth)
    beam = done.json["transmitted"]["beam"]
    with open_recording(captured.folder / "beam.sigmf-meta") as recording:
        assert recording.n_samples == 400_000
        assert recording.segments[0].keys["hil:transmitted"]["beam"] == beam
    # what leaves the antennas, from the truth file
    chains = _true_chains(truth)
    gain = np.array(beam["tx_gain_re"]) + 1j * np.array(beam["tx_gain_im"])
    ratio = gain / chains * abs(chains[0] / gain[0]) * np.exp(-1j * np.angle(gain[0] / chains[0]))
    assert np.all(np.abs(ratio - 1) < 5 * np.deg2rad(beam["tx_sigma_deg"])), (ratio, beam["tx_sigma_deg"])
    weights = np.array(beam["weights_re"]) + 1j * np.array(beam["weights_im"])
    x = _true_x(truth, done.json["transmitted"]["fc_hz"])
    lit, other = _power(x, chains * weights, SECTOR), _power(x, chains * weights, (10.0, 50.0))
    assert lit.min() > 2.5  # of 4 that four elements reach
    assert other.max() < 0.6
    # and what comes back, from the recordings
    one, lit = _echoes(captured, "one.sigmf-meta", truth), _echoes(captured, "beam.sigmf-meta", truth)
    assert lit[0] / one[0] > 4, (lit, one)
    assert lit[0] / one[0] > 15 * lit[1] / one[1], (lit, one)
    until(lambda: not look_at_boards(list(server.iio), server.truth).sending)


@pytest.mark.slow
def test_a_beam_for_sensing_and_communication(captured: Any, learned: Any, server: SimServer) -> None:
    done = captured.here(
        *_capture(server, "both.sigmf-meta", "0.02"), "--tx-channel", "0,1,2,3", "--tx-beam", "-40:-20",
        "--communication", "30:50", "--eta", "0.5", "--phi", "90", "--calibration", "array.h5",
    )  # fmt: skip
    assert done.code == 0, done
    beam = done.json["transmitted"]["beam"]
    assert (beam["eta"], beam["phi_deg"], beam["communication_deg"]) == (0.5, 90.0, [30.0, 50.0])
    truth = read_truth(server.truth)
    weights = np.array(beam["weights_re"]) + 1j * np.array(beam["weights_im"])
    x, sent = _true_x(truth, done.json["transmitted"]["fc_hz"]), _true_chains(truth) * weights
    assert _power(x, sent, (-31.0, -29.0)).min() > 1.2
    assert _power(x, sent, (38.0, 42.0)).min() > 1.2


def test_without_transmit_gains_no_beam(
    captured: Any, learned: Any, server: SimServer, until: Callable[..., Any]
) -> None:
    array = store.load(captured.folder / "array.h5")
    turned = array.impairments.gain * np.exp([0, 2j, 4j, 1j])
    stale = replace(array, impairments=replace(array.impairments, gain=turned))
    store.save(stale, captured.folder / "stale.h5")
    common = ("--tx-channel", "0,1,2,3", "--tx-beam", "-40:-20")
    done = captured.here(*_capture(server, "no.sigmf-meta", "0.02"), *common, "--calibration", "stale.h5")
    assert done.code == 4
    assert "transmit gains" in done.json["reason"]
    assert done.json["hint"]
    until(lambda: not look_at_boards(list(server.iio), server.truth).sending)
    for options, words in (
        (common, "the array is not known"),
        (("--tx-channel", "0", *common[2:], "--calibration", "array.h5"), "several transmit channels"),
        ((*common, "--calibration", "array.h5", "--eta", "0.5"), "only with --communication"),
        ((*common[:3], "-20:-40", "--calibration", "array.h5"), "not a sector"),
        (("--communication", "10:20"), "only with --tx-beam"),
    ):
        done = captured.here(*_capture(server, "no.sigmf-meta", "0.02"), *options)
        assert (done.code, words in done.json["reason"]) == (2, True), done
    assert not list(captured.folder.glob("no.*"))


def _true_chains(truth: Truth) -> np.ndarray:
    phase = [e for e in truth.events if e["event"] == "transmit" and e["samples"]][-1]["tx_phase_rad"]
    return truth.tx_gain * np.exp(1j * np.array(phase)[[0, 0, 1, 1]])


def _power(x: np.ndarray, sent: np.ndarray, sector_deg: tuple[float, float]) -> np.ndarray:
    """|a(u)^T f|^2 of unit norm over a sector: 1 of a single element."""
    u = np.sin(np.deg2rad(np.linspace(*sector_deg, 21)))
    return np.abs(np.exp(2j * np.pi * np.outer(u, x)) @ (sent / np.linalg.norm(sent))) ** 2


def _echoes(hil: Any, name: str, truth: Truth) -> tuple[float, float]:
    """Mean echo power while the nearer target is inside the sector, and far from it."""
    with open_recording(hil.folder / name) as recording:
        capture = csi_of_recording(
            recording,
            load_waveform(hil.folder / "w.toml"),
            0,
            recording.n_samples,
            most_groups=4000,
            own=True,
        )
    delay_s = 2 * RANGES_M[0] / SPEED_OF_LIGHT_M_S  # after the leakage, which is the strongest
    window = np.hanning(capture.csi.shape[2])  # leakage and the other target must not come in
    power = np.mean(
        np.abs(capture.csi @ (window * np.exp(2j * np.pi * capture.frequency_hz * delay_s))) ** 2, axis=1
    )
    opens = [sample for board, sample in truth.opens if board == 0]
    start = opens[0] if name.startswith("one") else opens[1]
    angle = truth.targets_at(capture.first_sample + start, 1e6)[0][:, 0]
    inside = (angle > SECTOR[0]) & (angle < SECTOR[1])
    outside = (angle > 10) & (angle < 50)
    assert min(np.count_nonzero(inside), np.count_nonzero(outside)) > 50
    return float(power[inside].mean()), float(power[outside].mean())
