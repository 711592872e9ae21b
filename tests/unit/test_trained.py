"""Trained networks: what is saved is what is loaded, calibrations are applied, and what does not fit is one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from calib.checkpoint import FORMAT, read_checkpoint, write_checkpoint
from calib.methods.dual_path_vae.aoa_path import AnchoredPath
from calib.methods.dual_path_vae.decoder import KnownArray
from calib.methods.mod_dnn.network import Shape
from calib.methods.mod_dnn.regions import Regions
from calib.trained.belongs import Belongs
from calib.trained.csi import corrected, nearest_tones
from calib.trained.dual_path_vae import TrainedVae
from calib.trained.load import load_network
from calib.trained.mod_dnn import TrainedModDnn, network_for
from hil.core.calibration import Calibration, Gauge, Validity, unknown_sigma
from hil.core.errors import CalibrationMismatch, ConfigError
from hil.core.geometry import ArrayGeometry, parse_array
from hil.core.impairments import ideal
from tests.campaign_folders import stream_of

FC_HZ = 2.4e9
LINE = parse_array("ula:4:0.5", FC_HZ)
TONES_HZ = np.linspace(-9e5, 9e5, 4)


def _belongs(calibrated: bool = False) -> Belongs:
    return Belongs(FC_HZ, np.array(LINE.positions_m), (-60.0, 60.0), calibrated)


def _mod_dnn(calibrated: bool = False) -> TrainedModDnn:
    torch.manual_seed(0)
    belongs = _belongs(calibrated)
    network = network_for(Shape(4, 4, Regions(2)), belongs).eval()
    gain = np.ones(4, complex) if calibrated else np.exp(1j * np.arange(4))
    return TrainedModDnn(network, TONES_HZ, gain, belongs)


def _vae(calibrated: bool = False, n_users: int = 2) -> TrainedVae:
    torch.manual_seed(0)
    belongs = _belongs(calibrated)
    return TrainedVae(AnchoredPath(KnownArray(belongs.x), n_users, 16).eval(), "best", belongs)


def _calibration(**errors: Any) -> Calibration:
    return Calibration(
        LINE, replace(ideal(4), **errors), unknown_sigma(4), Gauge(), FC_HZ, Validity(1e9, 3e9), "test", converged=True
    )  # fmt: skip


ERRORS = {
    "gain": np.array([1.0, 0.8 * np.exp(1.0j), 1.2 * np.exp(-2.0j), np.exp(0.5j)]),
    "delay_s": np.array([0.0, 3e-8, -2e-8, 5e-8]),
    "coupling": np.eye(4) + 0.1j * (np.eye(4, k=1) + np.eye(4, k=-1)),
}


def _csi(angle_deg: np.ndarray, frequency_hz: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(B, M, S) of an array without errors, element m at m half wavelengths from the first."""
    u = np.sin(np.deg2rad(angle_deg))
    wave = np.exp(1j * np.pi * np.arange(4) * u[:, None])[:, :, None]
    rf = 1 + frequency_hz / FC_HZ
    clean = wave**rf
    return clean + 0.01 * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))


def test_a_saved_network_gives_the_same_answers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = _mod_dnn()
    one.save(tmp_path / "a")
    other = load_network(tmp_path / "a")
    assert isinstance(other, TrainedModDnn)
    csi = _csi(np.array([-50.0, 3.0, 40.0]), TONES_HZ, rng)
    for mine, theirs in zip(
        one.estimate(csi, TONES_HZ, None), other.estimate(csi, TONES_HZ, None), strict=True
    ):
        assert np.array_equal(mine, theirs)
    vae = _vae()
    vae.save(tmp_path / "b")
    again = load_network(tmp_path / "b")
    assert isinstance(again, TrainedVae)
    x = rng.standard_normal((5, 4, 64)) + 1j * rng.standard_normal((5, 4, 64))
    r = x @ x.conj().swapaxes(1, 2) / 64
    assert np.array_equal(vae.estimate(r, 64, None), again.estimate(r, 64, None))
    with pytest.raises(ConfigError, match="not of mod-dnn"):
        TrainedModDnn.load(tmp_path / "b")


def test_a_calibration_is_divided_out_tone_by_tone() -> None:
    rng = np.random.default_rng(1)
    frequency = np.linspace(-1e6, 1e6, 12)
    clean = _csi(np.array([10.0, -30.0]), frequency, rng)
    ramp = np.exp(-2j * np.pi * ERRORS["delay_s"][:, None] * frequency)
    seen = ERRORS["gain"][:, None] * ramp * (ERRORS["coupling"] @ clean)
    assert np.allclose(corrected(seen, frequency, _calibration(**ERRORS)), clean)
    network = _mod_dnn(calibrated=True)
    there = network.estimate(seen, frequency, _calibration(**ERRORS))[0]
    assert there == pytest.approx(network.estimate(clean, frequency, _calibration())[0], abs=1e-4)
    with pytest.raises(CalibrationMismatch, match="needs a calibration"):
        network.estimate(seen, frequency, None)


def test_the_vae_finds_sources_through_a_calibration() -> None:
    rng = np.random.default_rng(2)
    true = np.array([-20.0, 15.0])
    a = np.exp(1j * np.pi * np.arange(4)[:, None] * np.sin(np.deg2rad(true)))
    s, n = (rng.standard_normal((2, k, 4000)) for k in (2, 4))
    x = ERRORS["gain"][:, None] * (ERRORS["coupling"] @ a @ (s[0] + 1j * s[1])) + 0.05 * (n[0] + 1j * n[1])
    r = (x @ x.conj().T / 4000)[None]
    calibration = _calibration(gain=ERRORS["gain"], coupling=ERRORS["coupling"])
    assert _vae(calibrated=True).estimate(r, 4000, calibration)[0] == pytest.approx(true, abs=0.3)
    with pytest.raises(ConfigError, match="trained for 2 sources"):
        _vae().estimate(r, 4000, None, n_sources=1)


def test_other_subcarriers_are_taken_where_they_are_near() -> None:
    assert nearest_tones(np.arange(-10, 11) * 1e5, TONES_HZ).tolist() == [1, 7, 13, 19]
    with pytest.raises(ConfigError, match="nearest subcarrier"):
        nearest_tones(np.arange(-3, 4) * 1e5, TONES_HZ)
    rng = np.random.default_rng(3)
    angle = np.array([-33.0, 8.0])
    network = _mod_dnn()
    here = network.estimate(_csi(angle, TONES_HZ, rng), TONES_HZ, None)[0]
    shifted = TONES_HZ + 1.5e5
    assert network.estimate(_csi(angle, shifted, rng), shifted, None)[0] == pytest.approx(here, abs=2.0)


def test_what_does_not_fit_is_said() -> None:
    belongs = _belongs()
    for positions, fc_hz, words in (
        (LINE.positions_m[:3], FC_HZ, "4 elements"),
        (LINE.positions_m, 3e9, "trained at 2400 MHz"),
        (1.2 * LINE.positions_m, FC_HZ, "another array"),
    ):
        with pytest.raises(ConfigError, match=words):
            belongs.require_array(positions, fc_hz)
    belongs.require_array(LINE.positions_m + 1.0, FC_HZ)
    geometry = ArrayGeometry(LINE.positions_m[:2])
    small = replace(_calibration(), geometry=geometry, impairments=ideal(2), sigma=unknown_sigma(2))
    with pytest.raises(CalibrationMismatch, match="2 elements"):
        belongs.require_calibration(small)


def test_a_network_of_a_scene_is_for_simulated_arrays() -> None:
    stream = stream_of("a")
    stream = replace(stream, geometry=LINE, config=replace(stream.config, fc_hz=FC_HZ))
    with pytest.raises(ConfigError, match="simulated array without a calibration"):
        _belongs().require_fit(stream, None)
    _belongs().require_fit(replace(stream, device=replace(stream.device, driver="sim")), None)
    _belongs(calibrated=True).require_fit(stream, _calibration())
    with pytest.raises(ConfigError, match="coherence epoch"):
        replace(_belongs(), epochs=("other",)).require_fit(stream, None)


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no numbers"):
        write_checkpoint(tmp_path / "n", {"w": torch.tensor([1.0, float("nan")])}, {})
    assert not list(tmp_path.iterdir())


def _card(change: Any) -> Any:
    def changed(tensors: dict[str, Any], card: dict[str, Any]) -> None:
        change(card)

    return changed


DAMAGED: list[Any] = [
    _card(lambda c: c.__setitem__("method", "x")), _card(lambda c: c.__setitem__("method", 3)),
    _card(lambda c: c.__setitem__("method", "mod-dnn-training")), _card(lambda c: c.pop("belongs")),
    _card(lambda c: c.__setitem__("belongs", [])), _card(lambda c: c["belongs"].__setitem__("positions_m", [[1]])),
    _card(lambda c: c["belongs"].__setitem__("positions_m", [[float("nan")] * 3] * 4)),
    _card(lambda c: c["belongs"].__setitem__("positions_m", [[0.0] * 3] * 1000)),
    _card(lambda c: c["belongs"].__setitem__("sector_deg", [50, -50])),
    _card(lambda c: c["belongs"].__setitem__("fc_hz", -1)), _card(lambda c: c["belongs"].__setitem__("calibrated", 1)),
    _card(lambda c: c.__setitem__("frequency_hz", [1, 2])), _card(lambda c: c.__setitem__("frequency_hz", "abcd")),
    _card(lambda c: c.__setitem__("gain", [[0, 0]] * 4)), _card(lambda c: c.__setitem__("gain", [1, 2, 3, 4])),
    _card(lambda c: c["shape"].__setitem__("n_tones", 10**9)), _card(lambda c: c["shape"].__setitem__("n_elements", 10**6)),
    _card(lambda c: c["shape"].__setitem__("n_tones", 4.0)), _card(lambda c: c["shape"].__setitem__("iterations", 10**9)),
    _card(lambda c: c["shape"]["regions"].__setitem__("n", 10**7)), _card(lambda c: c.__setitem__("shape", None)),
    _card(lambda c: c["shape"]["regions"].__setitem__("step_deg", 1e-12)),
    _card(lambda c: c["shape"]["regions"].__setitem__("guard_deg", 1e12)),
    _card(lambda c: c["shape"]["regions"].__setitem__("field_deg", ["a", "b"])),
    _card(lambda c: c["shape"].__setitem__("more", 1)), _card(lambda c: c["shape"].__setitem__("lam", "x")),
    lambda tensors, card: tensors.pop("grid_deg"),
    lambda tensors, card: tensors.__setitem__("grid_deg", torch.zeros(3)),
    lambda tensors, card: tensors.__setitem__("grid_deg", tensors["grid_deg"].double()),
    lambda tensors, card: tensors.__setitem__("lags", tensors["lags"][:2]),
    lambda tensors, card: tensors.__setitem__("factor", torch.full_like(tensors["factor"], torch.nan)),
]  # fmt: skip


def _forged(path: Path, tensors: dict[str, torch.Tensor], card: dict[str, Any]) -> None:
    """As another program may write it."""
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, path, {"format": FORMAT, "card": json.dumps(card)}
    )


@pytest.mark.parametrize("number", range(len(DAMAGED)))
def test_damaged_networks_are_one_line(number: int, tmp_path: Path) -> None:
    _mod_dnn().save(tmp_path / "a")
    tensors, card = read_checkpoint(tmp_path / "a")
    DAMAGED[number](tensors, card)
    _forged(tmp_path / "b", tensors, card)
    with pytest.raises(ConfigError) as caught:
        load_network(tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "b") in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        _card(lambda c: c.__setitem__("n_users", 4)), _card(lambda c: c.__setitem__("n_users", 1.5)),
        _card(lambda c: c.__setitem__("labels", "paper!")), _card(lambda c: c.__setitem__("labels", ["best"])),
        lambda tensors, card: tensors.__setitem__("first.weight", torch.zeros(100_000, 1)),
        lambda tensors, card: tensors.__setitem__("first.weight", torch.tensor(1.0)),
        lambda tensors, card: tensors.__setitem__("second.weight", torch.zeros(2, 2)),
        lambda tensors, card: tensors.pop("last.bias"),
    ],
)  # fmt: skip
def test_damaged_paths_are_one_line(change: Any, tmp_path: Path) -> None:
    _vae().save(tmp_path / "a")
    tensors, card = read_checkpoint(tmp_path / "a")
    change(tensors, card)
    _forged(tmp_path / "b", tensors, card)
    with pytest.raises(ConfigError) as caught:
        load_network(tmp_path / "b")
    assert "\n" not in str(caught.value)
