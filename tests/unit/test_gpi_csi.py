"""Channel responses: checks, covariances, files that are damaged or hostile."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from calib.csi import ChannelResponses, load
from hil import store
from hil.cli.main import call
from hil.core.errors import CalibrationError, ConfigError, ShapeError


def _csi(blocks: int = 6, elements: int = 4, carriers: int = 16) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((blocks, elements, carriers, 2)) @ np.array([1, 1j])


def test_defaults_and_one_sector_for_all() -> None:
    made = ChannelResponses(_csi(), 15e3, sector_deg=(-10, 20))
    assert (made.n_blocks, made.n_elements, made.n_subcarriers) == (6, 4, 16)
    assert np.asarray(made.sector_deg).shape == (6, 2)
    assert made.delay_s == (0.0, 15 / (16 * 15e3))
    with pytest.raises(ValueError, match="read-only"):
        made.csi[0] = 0


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"csi": np.ones((4, 16))}, ShapeError, "csi"),
        ({"csi": np.full((6, 4, 16), np.nan)}, ShapeError, "finite"),
        ({"csi": np.ones((6, 2, 16))}, ShapeError, "3 elements"),
        ({"subcarrier_spacing_hz": 0.0}, ConfigError, "positive"),
        ({"time_s": np.arange(6.0)[::-1]}, ShapeError, "order"),
        ({"time_s": np.arange(5.0)}, ShapeError, "time_s"),
        ({"sector_deg": (20, 10)}, ConfigError, "empty"),
        ({"sector_deg": (20, 100)}, ConfigError, "-90..90"),
        ({"sector_deg": np.zeros((3, 2))}, ShapeError, "sector_deg"),
        ({"delay_s": (1e-6, 1e-6)}, ConfigError, "empty"),
        ({"delay_s": (0, 1e-3)}, ConfigError, "longer than"),
        ({"delay_s": (0, float("nan"))}, ConfigError, "empty"),
        ({"subcarrier_spacing_hz": "wide"}, ConfigError, "not a number"),
        ({"sector_deg": "left"}, ConfigError, "in degrees"),
    ],
)
def test_wrong_values_are_named(changes: dict, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ChannelResponses(**{"csi": _csi(), "subcarrier_spacing_hz": 15e3, **changes})


def test_covariances_are_means_over_subcarriers() -> None:
    made = ChannelResponses(_csi(), 15e3)
    observed = made.covariances()
    assert observed.n_snapshots == 16
    by_hand = sum(np.outer(made.csi[2, :, s], made.csi[2, :, s].conj()) for s in range(16)) / 16
    np.testing.assert_allclose(observed.covariance[2], by_hand, rtol=1e-12)
    with pytest.raises(ShapeError, match="n_snapshots"):
        ChannelResponses(_csi(carriers=4), 15e3).covariances()


def test_round_trip_is_exact(tmp_path: Path) -> None:
    made = ChannelResponses(_csi(), 15e3, np.arange(6.0), np.tile([-5.0, 5.0], (6, 1)), (0, 1e-5))
    made.save(tmp_path / "a.csi.npz")
    back = load(tmp_path / "a.csi.npz")
    np.testing.assert_array_equal(back.csi, made.csi)
    np.testing.assert_array_equal(np.asarray(back.sector_deg), np.asarray(made.sector_deg))
    np.testing.assert_array_equal(np.asarray(back.time_s), np.asarray(made.time_s))
    assert (back.subcarrier_spacing_hz, back.delay_s) == (15e3, (0.0, 1e-5))
    ChannelResponses(_csi(), 15e3).save(tmp_path / "b.csi.npz")
    assert load(tmp_path / "b.csi.npz").sector_deg is None


def test_cut_at_any_byte_gives_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    ChannelResponses(_csi(2, 3, 4), 15e3).save(path)
    data = path.read_bytes()
    for length in range(0, len(data), 23):
        path.write_bytes(data[:length])
        with pytest.raises(CalibrationError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ConfigError, match="cannot read"):
        load(path)
    with pytest.raises(ConfigError, match="cannot write"):
        ChannelResponses(_csi(), 15e3).save(tmp_path / "missing" / "a.npz")
    path.write_bytes(b"not a zip file")
    with pytest.raises(CalibrationError, match="not channel responses"):
        load(path)
    np.savez(path, csi=_csi())
    with pytest.raises(CalibrationError, match="format"):
        load(path)
    np.savez(path, format=np.frombuffer(b"hil-channel-responses-1", np.uint8), csi=_csi())
    with pytest.raises(CalibrationError, match="subcarrier_spacing_hz"):
        load(path)
    objects = io.BytesIO()
    np.lib.format.write_array(
        objects, np.array([{}], dtype=object), allow_pickle=True
    )  # what must be refused
    huge = b"\x93NUMPY\x01\x00v\x00" + (
        b"{'descr': '<c16', 'fortran_order': False, 'shape': (1000000, 1000000, 100), }".ljust(117) + b"\n"
    )
    for bad in (objects.getvalue(), huge, b"", b"\x93NUMPY"):
        mark = io.BytesIO()
        np.lib.format.write_array(mark, np.frombuffer(b"hil-channel-responses-1", np.uint8))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("format.npy", mark.getvalue())
            archive.writestr("csi.npy", bad)
        with pytest.raises(CalibrationError) as caught:
            load(path)
        assert "\n" not in str(caught.value)


def _responses(blocks: int = 1000, elements: int = 6, carriers: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """One source at a new angle within 60 degrees in every block, half a wavelength, random gains."""
    rng = np.random.default_rng(4)
    gain = (1 + 0.2 * rng.standard_normal(elements)) * np.exp(2j * np.pi * rng.uniform(size=elements))
    u = np.sin(np.deg2rad(rng.uniform(-60, 60, blocks)))
    tau = rng.uniform(0.2, 0.6, blocks)
    csi = gain * np.exp(1j * np.pi * u[:, None] * np.arange(elements))
    csi = csi[:, :, None] * np.exp(-2j * np.pi * tau[:, None] * np.arange(carriers))[:, None, :]
    noise = rng.standard_normal((2, *csi.shape)) * 0.05
    return csi + noise[0] + 1j * noise[1], gain


def _learn(capsys: pytest.CaptureFixture[str], path: Path, *more: str) -> tuple[int, dict]:
    code = call(
        [
            "learn",
            str(path),
            "--array",
            "ula:6:0.5",
            "--out",
            str(path.with_suffix(".h5")),
            "--json",
            "-",
            *more,
        ]
    )
    return code, json.loads(capsys.readouterr().out)


def test_the_command_learns_gains_without_naming_positions_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))
    csi, gain = _responses()
    path = tmp_path / "responses.npz"
    ChannelResponses(np.asarray(1e200 * csi, np.complex128), 120e3).save(path)  # any common scale
    code, found = _learn(capsys, path, "--fc", "2.45G", "--method", "gain-phase-isac", "--support", "-60:60")
    assert (code, found["converged"]) == (0, True), found
    ratio = store.load(path.with_suffix(".h5")).impairments.gain / gain
    assert np.ptp(np.abs(ratio)) < 0.02 * np.abs(ratio).mean()
    steps = np.angle(ratio[1:] / ratio[:-1])  # equal steps: the offset of sin(angle)
    assert np.ptp(steps) < 0.01
    assert np.abs(steps.mean()) < np.deg2rad(2)


@pytest.mark.parametrize(
    ("changes", "options", "where"),
    [
        ({}, ["--fc", "0"], "--fc"),
        ({}, ["--fc", "2.45G", "--method", "gain-phase-isac", "--rotations", "table.csv"], "--rotations"),
        ({}, ["--fc", "2.45G", "--method", "planar-2d", "--rotations", "table.csv"], "--rotations"),
        ({"csi": np.zeros((40, 6, 24))}, ["--fc", "2.45G"], "zero"),
        ({"csi": np.ones((40, 6, 4))}, ["--fc", "2.45G"], "subcarriers"),
        ({"time_s": np.linspace(0, 1e300, 1000)}, ["--fc", "2.45G"], "time_s"),
    ],
)
def test_the_command_names_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict, options: list[str], where: str
) -> None:
    path = tmp_path / "responses.npz"
    ChannelResponses(**{"csi": _responses()[0], "subcarrier_spacing_hz": 120e3, **changes}).save(path)
    code, found = _learn(capsys, path, *options)
    assert (code, found["exit_code"]) == (2, 2)
    assert where in found["reason"]
