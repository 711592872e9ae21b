"""Every export says its convention, and its numbers alone give back the calibrated steering vectors."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io

from hil.core.calibration import Calibration, Sigma, Validity
from hil.core.errors import CalibrationError, ConfigError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry
from hil.core.impairments import Impairments, ideal
from hil.export import FORMATS, export, json_file, read
from hil.export.partial import Given

M = 4
FC_HZ = 2.45e9
AZ, EL = np.deg2rad(np.array([-55.0, -3.0, 20.0, 60.0])), np.deg2rad(10.0)
#: (3, G): from +y, positive towards +x, as every export says.
U = np.array([np.sin(AZ) * np.cos(EL), np.cos(AZ) * np.cos(EL), np.full(4, np.sin(EL))])


@pytest.fixture
def calibration():
    rng = np.random.default_rng(3)

    def z(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    return Calibration(
        geometry=ArrayGeometry(0.1 * rng.normal(size=(M, 3)), ("a", "b,c", 'd"e', "ü")),
        impairments=Impairments(z(M), np.eye(M) + 0.2 * z(M, M), 0.01 * rng.normal(size=(M, 3)),
                                1e-9 * rng.normal(size=M), 0.01 * z(M), 0.01 * z(M)),
        sigma=Sigma(rng.random(M), np.full(M, np.nan), rng.random((M, 3)), rng.random(M)),
        gauge=Gauge("anchor", "one emitter known"),
        fc_hz=FC_HZ,
        valid=Validity(2.4e9, 2.5e9),
        method="diffmusic",
        device_serial="S1",
        created_utc="2026-11-22T00:00:00Z",
    )  # fmt: skip


def steering(positions_m, error_m, gain, coupling, fc_hz):
    """diag(g) C a by the formula that the exports state, with nothing of ours."""
    a = np.exp(2j * np.pi * fc_hz / 299792458.0 * (np.asarray(positions_m) + np.asarray(error_m)) @ U)
    return np.asarray(gain).reshape(-1, 1) * (np.asarray(coupling) @ a)


def from_npz(path):
    with np.load(path, allow_pickle=False) as f:
        assert str(f["gain_convention"]) == "divide"
        assert "exp(+j 2 pi fc" in str(f["steering"])
        return f["positions_m"], f["position_error_m"], f["gain"], f["coupling"], float(f["fc_hz"])


def from_mat(path):
    s = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)["calibration"]
    assert s.gain_convention == "divide"
    assert "exp(+j 2 pi fc" in s.steering
    assert list(s.labels) == ["a", "b,c", 'd"e', "ü"]
    return s.positions_m, s.position_error_m, s.gain, s.coupling, float(s.fc_hz)


def from_json(path):
    f = json.loads(path.read_text(encoding="utf-8"))
    assert f["gain_convention"] == "divide"
    assert "exp(+j 2 pi fc" in f["convention"]["steering"]
    imp = f["impairments"]
    gain, coupling = (np.array(imp[k])[..., 0] + 1j * np.array(imp[k])[..., 1] for k in ("gain", "coupling"))
    return f["geometry"]["positions_m"], imp["position_error_m"], gain, coupling, f["fc_hz"]


def from_csv(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    about = dict(line[2:].split(": ", 1) for line in lines if line.startswith("#"))
    assert about["gain_convention"].startswith("divide")
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [r["label"] for r in rows] == ["a", "b,c", 'd"e', "ü"]

    def number(row, name):
        return float(row[f"{name}_re"]) + 1j * float(row[f"{name}_im"])

    positions, errors = (
        [[float(r[f"{k}_{x}_m"]) for x in "xyz"] for r in rows] for k in ("nominal", "position_error")
    )
    gain = [number(r, "gain") for r in rows]
    assert [float(r["gain_phase_deg"]) for r in rows] == pytest.approx(np.degrees(np.angle(gain)))
    coupling = [[number(r, f"coupling_{k}") for k in range(len(rows))] for r in rows]
    return positions, errors, gain, coupling, float(about["fc_hz"])


def from_h5(path):
    import h5py

    with h5py.File(path) as f:
        assert f.attrs["gain_convention"] == "divide"
        imp = f["impairments"]
        return f["geometry/positions_m"][()], imp["position_error_m"][()], imp["gain"][()], imp["coupling"][()], f.attrs["fc_hz"]  # fmt: skip


EXACT = ("h5", "npz", "json", "mat", "csv")


@pytest.mark.parametrize("name", EXACT)
def test_the_numbers_in_the_file_give_the_steering_vectors(tmp_path, calibration, name):
    path = tmp_path / f"c{FORMATS[name].suffix}"
    assert export(calibration, path, name) == []
    found = steering(*globals()[f"from_{name}"](path))
    wanted = calibration.steering(np.rad2deg(AZ), elevation_deg=np.rad2deg(EL))
    assert np.max(np.abs(found - wanted)) < 1e-12
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def with_everything(c):
    rng = np.random.default_rng(4)
    response = 1 + 0.1 * (rng.normal(size=(M, 3)) + 1j * rng.normal(size=(M, 3)))
    imp = replace(c.impairments, angle_table_deg=[-60.0, 1 / 3, 60.0], angle_response=response,
                  frequency_hz=[-1e6, 0.1, 1e6], frequency_response=1 / response)  # fmt: skip
    sigma = replace(
        c.sigma, iq_image=rng.random(M), dc_offset=rng.random(M), frequency_response=rng.random((M, 3))
    )
    return replace(
        c, impairments=imp, sigma=sigma, settings={"a": [1, "ü\n,"]}, lit_deg=(-50.0, 50.0), converged=True
    )


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("everything", [False, True])
def test_what_can_be_imported_comes_back_exactly(tmp_path, calibration, name, everything):
    calibration = with_everything(calibration) if everything else calibration
    path = tmp_path / f"c{FORMATS[name].suffix}"
    export(calibration, path, name)
    for found in (read(path), read(path, name)):
        assert json_file.encode(found) == json_file.encode(calibration)


def test_arrays_of_npz_and_mat_are_all_there(tmp_path, calibration):
    export(calibration, tmp_path / "c.npz", "npz")
    export(calibration, tmp_path / "c.mat", "mat")
    record = scipy.io.loadmat(tmp_path / "c.mat", squeeze_me=True, struct_as_record=False)["calibration"]
    with np.load(tmp_path / "c.npz", allow_pickle=False) as f:
        for key in ("iq_image", "dc_offset", "delay_s"):
            assert np.array_equal(f[key], getattr(calibration.impairments, key))
            assert np.array_equal(getattr(record, key), getattr(calibration.impairments, key))


def test_a_number_changed_in_the_table_is_the_one_that_counts(tmp_path, calibration):
    export(calibration, tmp_path / "c.csv", "csv")
    text = (tmp_path / "c.csv").read_text(encoding="utf-8")
    old = repr(float(calibration.impairments.gain[2].real))
    assert text.count(old) == 1
    (tmp_path / "c.csv").write_text(text.replace(old, "0.5"), encoding="utf-8")
    found = read(tmp_path / "c.csv")
    assert found.impairments.gain[2].real == 0.5
    assert found.id == read(tmp_path / "c.csv").id != calibration.id, (
        "another calibration, the same each time"
    )
    assert found.settings["changed_from"] == calibration.id


@pytest.mark.parametrize("name", list(FORMATS))
def test_labels_and_texts_of_any_kind_do_no_harm(tmp_path, calibration, name):
    odd = ("a\n#b", "\u2028,\x85;", "\x01<&\"'>", "]]>%[x]\t")
    c = replace(
        calibration,
        geometry=ArrayGeometry(calibration.geometry.positions_m, odd, "n\r\n[hw]"),
        device_model="\n# rest: {}",
    )
    path = tmp_path / f"c{FORMATS[name].suffix}"
    export(c, path, name)
    found = read(path, name, Given(FC_HZ, "ula:4:0.5") if FORMATS[name].asks else None)
    assert (
        np.max(
            np.abs(
                found.impairments.gain / found.impairments.gain[0]
                - c.impairments.gain / c.impairments.gain[0]
            )
        )
        < 1e-12
    )
    if name in EXACT:
        assert json_file.encode(found) == json_file.encode(c)


def test_a_table_made_by_hand_needs_gains_and_a_carrier(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("gain_re,gain_im,nominal_x_m,nominal_y_m,nominal_z_m\n2,0,0,0,0\n0,2,0.06,0,0\n")
    with pytest.raises(ConfigError, match="--fc"):
        read(path)
    found = read(path, given=Given(2.45e9))
    assert found.impairments.gain == pytest.approx([1, 1j])
    assert found.geometry.positions_m[1, 0] == 0.06
    assert found.id == read(path, given=Given(2.45e9)).id != read(path, given=Given(2.4e9)).id
    assert found.settings["imported"]["format"] == "csv"
    path.write_text("gain_re,gain_im\n2,0\n0,2\n")
    with pytest.raises(ConfigError, match="--array"):
        read(path, given=Given(2.45e9))
    assert read(path, given=Given(2.45e9, "ula:2:0.5")).geometry.n_elements == 2
    with pytest.raises(ConfigError, match="3 elements"):
        read(path, given=Given(2.45e9, "ula:3:0.5"))


def test_unknown_formats_and_idle_options_say_so(tmp_path, calibration):
    with pytest.raises(ConfigError, match="unknown format"):
        export(calibration, tmp_path / "c", "xls")
    with pytest.raises(ConfigError, match="say their carrier"):
        read(tmp_path / "c.h5", given=Given(2.4e9))
    assert not list(tmp_path.iterdir())


def test_what_a_format_leaves_out_is_told(tmp_path, calibration):
    lost = export(calibration, tmp_path / "c.cfg", "gr-doa")
    assert [
        word for word in ("position", "coupling", "delays", "IQ") if not any(word in line for line in lost)
    ] == []
    assert export(replace(calibration, impairments=replace(ideal(M), gain=calibration.impairments.gain)), tmp_path / "d.cfg", "gr-doa") == []  # fmt: skip


@pytest.mark.parametrize("name", ["h5", "npz", "json", "csv"])
def test_damaged_imports_are_one_error(tmp_path, calibration, name):
    path = tmp_path / f"c{FORMATS[name].suffix}"
    export(calibration, path, name)
    whole = path.read_bytes()
    for damaged in (
        b"",
        b"x",
        whole[: len(whole) // 2],
        whole[:-30] + b"\xff" * 30,
        b"[" * 100_000,
        b"{}",
    ):
        path.write_bytes(damaged)
        with pytest.raises(CalibrationError) as caught:
            read(path)
        assert caught.value.exit_code == 2


def test_an_npz_that_holds_objects_is_never_unpickled(tmp_path, monkeypatch):
    import pickle

    monkeypatch.setattr(pickle, "loads", lambda *a, **k: pytest.fail("unpickled"))
    monkeypatch.setattr(pickle, "load", lambda *a, **k: pytest.fail("unpickled"))
    np.savez(tmp_path / "c.npz", json=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CalibrationError):
        read(tmp_path / "c.npz")
