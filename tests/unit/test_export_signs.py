"""Each format corrects a plane wave exactly as its program would, and the conjugate would not.

The formulas are those of the programs (gr-doa antenna_correction_impl.cc, Heimdall delay_sync.py, pyadi-iio
cn0566.py, the SigMF spatial extension, pyuvdata, acoular.Calib), written with numpy from the file alone.
"""

import configparser
import json
from xml.etree import ElementTree

import numpy as np
import pytest

from hil.core.errors import ConfigError
from hil.export import FORMATS, export, read
from hil.export.partial import Given
from tests.unit.export_arrays import FC_HZ, THETA_DEG, M, calibration, music_deg, wave

ARRAY = f"ula:{M}:0.5"


def nominal():
    return calibration().geometry.positions_m


def gr_doa(path):
    gain, phase = np.loadtxt(path).T
    return 1 / gain * np.exp(-1j * phase), nominal()


def heimdall(path):
    ini = configparser.ConfigParser()
    ini.read(path)
    level, delay_ns = (
        np.array([float(v) for v in ini["calibration"][key].split(",")])
        for key in ("iq_adjust_amplitude", "iq_adjust_time_delay_ns")
    )
    assert ini["calibration"]["iq_adjust_source"] == "explicit-time-delay"
    phase = delay_ns * 10**-9 * ini.getint("daq", "center_freq") * 2 * np.pi
    adjust = np.insert(10 ** (level / 20) * np.exp(1j * phase), ini.getint("calibration", "std_ch_ind"), 1)
    assert len(adjust) == ini.getint("hw", "num_ch")
    return adjust, nominal()


def phaser(path):
    v = json.loads(path.read_text())
    assert v["ccal"] == [0.0, 0.0]
    assert max(v["gcal"]) == 1.0, "codes are scaled down only"
    return np.array(v["gcal"]) * np.exp(1j * np.radians(v["pcal"])), nominal()


def acoular(path):
    pos = ElementTree.parse(path).getroot().findall("pos")
    factor = [float(p.get("factor_re")) + 1j * float(p.get("factor_im")) for p in pos]
    assert [float(p.get("factor")) for p in pos] == pytest.approx(np.abs(factor))
    return np.array(factor), np.array([[float(p.get(k)) for k in "xyz"] for p in pos])


def sigmf(path):
    streams = json.loads(path.read_text())["collection"]["core:streams"]
    captures = [
        json.loads((path.parent / f"{s['name']}.sigmf-meta").read_text())["captures"][0] for s in streams
    ]
    align = np.exp(-1j * np.radians([c["spatial:phase_offset"] for c in captures]))
    level = 10 ** (-np.array([c["hil:gain_db"] for c in captures]) / 20)
    forward, left, upward = np.array([p["point"] for p in captures[0]["spatial:element_geometry"]]).T
    return align * level, np.column_stack((-left, forward, upward))


def uvcal(path):
    import h5py

    with h5py.File(path) as f:
        assert f["Header/gain_convention"][()] == b"divide"
        gains, p = f["Data/gains"][:, 0, 0, 0], f["Header/antenna_positions"][:]
    return 1 / gains, p[:, [1, 2, 0]]  # at latitude 0, longitude 0: x, y, z of ECEF are up, east, north


READ = {
    "gr-doa": gr_doa,
    "heimdall": heimdall,
    "phaser": phaser,
    "acoular": acoular,
    "sigmf": sigmf,
    "uvcal": uvcal,
}
PLACED = ("acoular", "sigmf", "uvcal")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", READ)
def test_music_points_at_the_emitter_and_the_conjugate_does_not(tmp_path, name, seed):
    c = calibration(seed, moved=name in PLACED)
    path = tmp_path / f"c{FORMATS[name].suffix}"
    assert export(c, path, name) == []
    factor, positions_m = READ[name](path)
    x = wave(c)
    assert music_deg(factor[:, None] * x, positions_m) == pytest.approx(THETA_DEG, abs=0.15)
    for wrong in (factor.conj(), 1 / factor, np.abs(factor)):
        assert abs(music_deg(wrong[:, None] * x, positions_m) - THETA_DEG) > 1
    flat = factor * c.impairments.gain
    assert np.max(np.abs(flat / flat[0] - 1)) < 1e-9


@pytest.mark.parametrize("name", READ)
def test_the_way_back_gives_the_same_response(tmp_path, name):
    c = calibration(3, moved=name in PLACED)
    path = tmp_path / f"c{FORMATS[name].suffix}"
    export(c, path, name)
    given = Given(FC_HZ if name == "gr-doa" else None, "" if name in PLACED else ARRAY)
    found = read(path, name, given)
    angles_deg = np.linspace(-70, 70, 15)
    ratio = found.steering(angles_deg) / c.steering(angles_deg)
    assert np.max(np.abs(ratio / ratio[0] - 1)) < 1e-9, "but for one factor an angle, which nobody can see"
    assert found.fc_hz == FC_HZ
    assert found.method == f"import-{name}"
    assert found.settings["imported"]["format"] == name
    assert np.all(np.isnan(found.sigma.phase_deg))
    assert np.isnan(found.gauge.angle_sigma_deg)
    again = tmp_path / f"again{FORMATS[name].suffix}"
    export(found, again, name)
    twice = read(again, name, given)
    assert twice.impairments.gain == pytest.approx(found.impairments.gain, rel=1e-12)
    with pytest.raises(ConfigError, match="elements"):
        read(path, name, Given(FC_HZ, "ula:3:0.5"))


def test_a_nominal_array_that_is_given_leaves_the_learned_positions(tmp_path):
    c = calibration(3, moved=True)
    export(c, tmp_path / "c.xml", "acoular")
    found = read(tmp_path / "c.xml", given=Given(array=ARRAY))
    assert found.geometry.equals(c.geometry)
    assert found.impairments.position_error_m == pytest.approx(c.impairments.position_error_m, abs=1e-12)
    export(c, tmp_path / "c.sigmf-collection", "sigmf")
    assert read(tmp_path / "c.sigmf-collection").geometry.equals(c.geometry), "SigMF has both"


def test_uvcal_holds_delays_and_responses_per_frequency(tmp_path):
    from dataclasses import replace

    rng = np.random.default_rng(2)
    c = calibration(1)
    for more in (
        {"delay_s": 1e-9 * rng.normal(size=M)},
        {"delay_s": 1e-9 * rng.normal(size=M), "frequency_hz": [-8e6, 1e6, 9e6], "frequency_response": 1 + 0.2j * rng.random((M, 3))},
    ):  # fmt: skip
        learned = replace(c, impairments=replace(c.impairments, **more))
        assert export(learned, tmp_path / "c.calh5", "uvcal") == []
        found = read(tmp_path / "c.calh5")
        f_hz = found.impairments.frequency_hz
        want, have = (
            v.impairments.gain[:, None] * v.impairments.channel_response(f_hz) for v in (learned, found)
        )
        ratio = have / want
        assert np.max(np.abs(ratio / ratio[0, 0] - 1)) < 1e-12, "at every frequency of the file"
        between = np.linspace(-7e6, 7e6, 33)
        want, have = (
            v.impairments.gain[:, None] * v.impairments.channel_response(between) for v in (learned, found)
        )
        ratio = have / want
        assert np.max(np.abs(ratio / ratio[0, 0] - 1)) < (1e-4 if len(more) == 1 else 0.01)
        assert found.fc_hz == FC_HZ


def test_a_multiply_file_of_pyuvdata_is_inverted(tmp_path):
    import h5py

    c = calibration(1)
    export(c, tmp_path / "c.calh5", "uvcal")
    with h5py.File(tmp_path / "c.calh5", "a") as f:
        del f["Header/gain_convention"]
        f["Header/gain_convention"] = np.bytes_("multiply")
        f["Data/gains"][...] = 1 / f["Data/gains"][...]
    found = read(tmp_path / "c.calh5").impairments.gain
    assert found == pytest.approx(c.impairments.gain, rel=1e-12)


def test_an_export_in_sigmf_never_replaces_a_recording(tmp_path):
    path = tmp_path / "rec.sigmf-collection"
    path.write_text(
        '{"collection": {"core:version": "1.2.5", "core:streams": [{"name": "rec-ch00", "hash": "0"}]}}'
    )
    with pytest.raises(ConfigError, match="is a recording"):
        export(calibration(), path, "sigmf")
    assert [p.name for p in tmp_path.iterdir()] == ["rec.sigmf-collection"]
    for _ in range(2):
        export(calibration(), tmp_path / "c.sigmf-collection", "sigmf")
    with pytest.raises(ConfigError, match="collection"):
        export(calibration(), tmp_path / "c.txt", "sigmf")
