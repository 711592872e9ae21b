"""Every export is read by the program that it is for, and corrects a plane wave there: nothing is stood in for.

GNU Octave, cc, pyuvdata, acoular, the sigmf package, ADI's own Phaser class, configparser as Heimdall uses it. The
programs get the file and the samples; where the emitter is, MUSIC of these tests says.
"""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hil.cli.main import call
from hil.core.calibration import Calibration
from hil.export import FORMATS, guide, read
from hil.store import save
from tests.unit.export_arrays import (
    THETA_DEG,
    M,
    calibration,
    music_deg,
    music_of_covariance_deg,
    wave,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))


def exported(c: Calibration, name: str, capsys: pytest.CaptureFixture[str]) -> Path:
    """File of `hil calib export --with-snippets` in the current folder."""
    save(c, "array.h5")
    path = Path("cal" + FORMATS[name].suffix)
    capsys.readouterr()
    assert (
        call(["calib", "export", "array.h5", str(path), "--format", name, "--with-snippets", "--json", "-"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["lost"] == []
    assert all(Path(file).exists() for file in found["snippets"])
    return path


def octave(code: str) -> str:
    done = subprocess.run(
        ["octave-cli", "--no-init-file", "--no-history", "--eval", code], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["mat", "json"])
def test_octave_loads_it_and_corrects_the_samples(capsys, name):
    import scipy.io

    c = calibration(1, moved=True, coupled=True)
    path = exported(c, name, capsys)
    scipy.io.savemat("x.mat", {"x": wave(c)})
    octave(
        f"c = load_cal('{path}'); load('x.mat'); y = c.coupling \\ (x ./ c.gain); p = c.positions_m; fc = c.fc_hz;"
        "R = y * y'; [v, d] = eig((R + R') / 2); [~, k] = sort(real(diag(d))); E = v(:, k(1:end-1)); t = -80:0.1:80;"
        "a = exp(2j*pi*fc/299792458 * p * [sind(t); cosd(t); zeros(size(t))]);"
        "[~, i] = min(sum(abs(E' * a).^2, 1)); theta = t(i); save('-v6', 'y.mat', 'theta', 'y', 'p', 'fc');"
    )
    found = scipy.io.loadmat("y.mat")
    assert found["theta"].item() == pytest.approx(THETA_DEG, abs=0.15)
    assert music_deg(found["y"], found["p"]) == pytest.approx(THETA_DEG, abs=0.15)
    assert abs(music_deg(wave(c), found["p"]) - THETA_DEG) > 1, "uncorrected it does not"
    assert found["fc"].item() == c.fc_hz


def test_octave_runs_the_snippet_beside_the_file(capsys):
    c = calibration(2, moved=True)
    exported(c, "json", capsys)
    exported(c, "mat", capsys)
    for name in ("json", "mat"):
        said = octave(f"load_cal_{name}; printf('%.17g ', [real(gain); imag(gain)])").split()
        gain = np.array(said[:M], float) + 1j * np.array(said[M:], float)
        assert np.max(np.abs(gain - c.impairments.gain)) < 1e-14


@pytest.mark.parametrize("version", ["-v6", "-v7"])
def test_what_octave_changed_and_saved_is_imported(capsys, version):
    c = calibration(2, moved=True, coupled=True)
    exported(c, "mat", capsys)
    octave(
        "load('cal.mat'); calibration.gain(2) *= 2; calibration.iq_image = zeros(size(calibration.gain));"
        f"save('{version}', 'new.mat', 'calibration');"
    )
    found = read("new.mat")
    assert found.impairments.gain[1] == 2 * c.impairments.gain[1]
    assert np.array_equal(np.delete(found.impairments.gain, 1), np.delete(c.impairments.gain, 1))
    assert np.array_equal(found.impairments.coupling, c.impairments.coupling)
    assert (found.valid, found.geometry.labels) == (c.valid, c.geometry.labels)


def test_a_program_in_c_reads_the_table(capsys):
    c = calibration(3, moved=True, coupled=True)
    exported(c, "csv", capsys)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["cc", *flags, "-o", "load", "load_cal_csv.c"], check=True, timeout=60)
    said = subprocess.run(["./load"], check=True, capture_output=True, text=True, timeout=10).stdout.split()
    assert np.array(said, float).reshape(M, 2) @ [1, 1j] == pytest.approx(c.impairments.gain, abs=0)
    Path("wave.c").write_text(
        '#include "hil_cal.h"\nint main(void)\n{\n    hil_cal c;\n    double x[64];\n    int k;\n'
        '    if (hil_cal_load("cal.csv", &c) != 0 || c.n > 32)\n        return 1;\n'
        "    while (fread(x, sizeof *x, 2 * (size_t)c.n, stdin) == 2 * (size_t)c.n) {\n"
        "        hil_cal_divide(&c, x, x);\n        fwrite(x, sizeof *x, 2 * (size_t)c.n, stdout);\n    }\n"
        "    for (k = 0; k < 2 * c.n * c.n; k++)\n        fwrite(&c.coupling[k], sizeof *x, 1, stdout);\n"
        "    for (k = 0; k < 3 * c.n; k++)\n        fwrite(&c.position_m[k], sizeof *x, 1, stdout);\n"
        "    fwrite(&c.fc_hz, sizeof *x, 1, stdout);\n    hil_cal_free(&c);\n    return 0;\n}\n"
    )
    subprocess.run(
        ["cc", *flags, "-fsanitize=address,undefined", "-o", "wave", "wave.c"], check=True, timeout=60
    )
    x = wave(c)
    out = subprocess.run(
        ["./wave"], input=np.ascontiguousarray(x.T).tobytes(), check=True, capture_output=True, timeout=30
    )
    values = np.frombuffer(out.stdout)
    y, rest = values[: 2 * x.size].view(complex).reshape(-1, M).T, values[2 * x.size :]
    coupling, positions_m = rest[: 2 * M * M].view(complex).reshape(M, M), rest[2 * M * M : -1].reshape(M, 3)
    assert music_deg(np.linalg.solve(coupling, y), positions_m) == pytest.approx(THETA_DEG, abs=0.15)
    assert rest[-1] == c.fc_hz
    whole = Path("cal.csv").read_bytes()
    for k in range(0, len(whole), 997):
        Path("cal.csv").write_bytes(whole[:k])
        done = subprocess.run(["./wave"], input=b"", capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (1, b"")


def test_pyuvdata_reads_it_and_calibrates_the_visibilities(capsys, monkeypatch):
    from astropy.utils import iers

    monkeypatch.setattr(iers.conf, "auto_download", False)
    monkeypatch.setattr(iers.conf, "auto_max_age", None)
    from pyuvdata import UVCal, UVData
    from pyuvdata.utils.uvcalibrate import uvcalibrate

    c = calibration(4, moved=True)
    cal = UVCal.from_file(exported(c, "uvcal", capsys), file_type="calh5")
    assert (cal.gain_convention, cal.cal_type, cal.Nants_data) == ("divide", "gain", M)
    assert cal.freq_array == pytest.approx([c.fc_hz])
    enu_m = cal.telescope.get_enu_antpos()
    assert enu_m == pytest.approx(c.positions_m, abs=1e-8)
    pairs = [(i, j) for i in range(M) for j in range(i, M)]
    data = UVData.new(
        freq_array=cal.freq_array, polarization_array=[-5], times=cal.time_array, telescope=cal.telescope,
        antpairs=pairs, channel_width=1.0, integration_time=1.0, empty=True, do_blt_outer=True,
    )  # fmt: skip
    x = wave(c)
    for i, j in pairs:
        rows = data.antpair2ind((i, j))
        data.data_array[rows, 0, 0] = np.mean(x[i] * x[j].conj())
    data.vis_units = "uncalib"
    k = [1, M - 1]
    baseline = data.uvw_array[data.antpair2ind((k[0], k[1]))]
    assert np.linalg.norm(baseline) == pytest.approx(np.linalg.norm(np.diff(enu_m[k], axis=0)), abs=1e-6)
    uvcalibrate(data, cal)
    r = np.zeros((M, M), complex)
    for i, j in pairs:
        r[i, j] = data.data_array[data.antpair2ind((i, j)), 0, 0].item()
        r[j, i] = np.conj(r[i, j])
    assert music_of_covariance_deg(r, enu_m) == pytest.approx(THETA_DEG, abs=0.15)
    assert abs(music_of_covariance_deg(r.conj(), enu_m) - THETA_DEG) > 1


def test_a_file_that_pyuvdata_wrote_is_imported(capsys, monkeypatch):
    from astropy.utils import iers

    monkeypatch.setattr(iers.conf, "auto_download", False)
    monkeypatch.setattr(iers.conf, "auto_max_age", None)
    from pyuvdata import UVCal

    c = calibration(4, moved=True)
    cal = UVCal.from_file(exported(c, "uvcal", capsys), file_type="calh5")
    cal.write_calh5("theirs.calh5")
    assert call(["calib", "import", "theirs.calh5", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert call(["calib", "show", found["id"], "--json", "-"]) == 0
    shown = json.loads(capsys.readouterr().out)
    want = np.degrees(np.angle(c.impairments.gain))
    assert [e["phase_deg"] for e in shown["elements"]] == pytest.approx(want, abs=1e-9)


def test_acoular_reads_positions_and_factors(capsys):
    import acoular as ac

    c = calibration(5, moved=True)
    path = exported(c, "acoular", capsys)
    mics, calib = ac.MicGeom(file=str(path)), ac.Calib(file=str(path))
    assert np.array_equal(mics.pos.T, c.positions_m)
    assert calib.data == pytest.approx(1 / np.abs(c.impairments.gain))
    names: dict[str, object] = {}
    exec(guide("acoular", path).snippets[0][1], names)
    factor = names["factor"]
    # a tone at bin 5 of real signals, delayed at each element as a plane wave is, through the receivers' gains
    turns = 2 * np.pi * 5 * np.arange(64) / 64
    x = wave(c)[:, :1]
    signal = np.real(x[:, 0] * np.exp(1j * turns)[:, None])
    spectra = ac.RFFT(
        source=ac.TimeSamples(data=signal, sample_freq=64.0), block_size=64, window="Rectangular"
    )
    done = ac.Calib(source=spectra, data=np.tile(factor, spectra.num_freqs))
    (block,) = done.result(1)
    bins = block.reshape(spectra.num_freqs, M)[5][:, None]
    assert music_deg(bins, mics.pos.T) == pytest.approx(THETA_DEG, abs=1.5), "one snapshot"
    assert abs(music_deg(bins.conj(), mics.pos.T) - THETA_DEG) > 3


def test_the_sigmf_package_validates_and_reads_it(capsys):
    import sigmf

    c = calibration(6, moved=True)
    path = exported(c, "sigmf", capsys)
    collection = sigmf.fromfile(str(path))
    names = collection.get_stream_names()
    assert len(names) == M
    align, positions_m = [], None
    for name in names:
        member = sigmf.fromfile(f"{name}.sigmf-meta")
        member.validate()
        capture = member.get_captures()[0]
        align.append(np.exp(-1j * np.radians(capture["spatial:phase_offset"])))
        forward, left, upward = np.array([p["point"] for p in capture["spatial:element_geometry"]]).T
        positions_m = np.column_stack((-left, forward, upward))
    assert positions_m is not None
    assert music_deg(np.array(align)[:, None] * wave(c), positions_m) == pytest.approx(THETA_DEG, abs=1.0)
    assert abs(music_deg(np.conj(align)[:, None] * wave(c), positions_m) - THETA_DEG) > 1


def test_heimdall_s_configuration_takes_it_over(capsys):
    c = calibration(7)
    path = exported(c, "heimdall", capsys)
    theirs = {"daq": {"center_freq": "1", "gain": "0"}, "hw": {"num_ch": "5", "name": "Kraken"},
              "calibration": {"en_iq_cal": "1", "iq_adjust_amplitude": "0,0,0,0", "iq_adjust_source": "touchstone"}}  # fmt: skip
    ini = configparser.ConfigParser()
    ini.read_dict(theirs)
    with Path("daq_chain_config.ini").open("w") as f:
        ini.write(f)
    exec(guide("heimdall", path).snippets[0][1], {})
    ini = configparser.ConfigParser()
    ini.read("daq_chain_config.ini")
    assert (ini["calibration"]["en_iq_cal"], ini["hw"]["name"]) == ("1", "Kraken")
    level, delay_ns = (
        np.array(list(map(float, ini["calibration"][k].split(",")[: M - 1])))
        for k in ("iq_adjust_amplitude", "iq_adjust_time_delay_ns")
    )
    phase = delay_ns * 10**-9 * ini.getint("daq", "center_freq") * 2 * np.pi
    adjust = np.insert(
        10 ** (level / 20) * np.exp(1j * phase), ini.getint("calibration", "std_ch_ind"), 1 + 0j
    )
    assert music_deg(adjust[:, None] * wave(c), c.geometry.positions_m) == pytest.approx(THETA_DEG, abs=0.15)


def test_phaser_s_own_class_takes_the_values(capsys):
    import adi

    class Element:
        rx_phase, rx_gain, rx_attenuator = 0.0, 0, False

    class Board(adi.CN0566):  # the class without its board: what is set on the elements is looked at
        elements = {k + 1: Element() for k in range(M)}  # noqa: RUF012

        def __init__(self) -> None:
            self.pcal, self.gcal, self.ccal = [], [], []

        def latch_rx_settings(self) -> None:
            pass

    c = calibration(8)
    path = exported(c, "phaser", capsys)
    board = Board()
    exec(guide("phaser", path).snippets[0][1], {"my_phaser": board})
    for k in range(M):
        board.set_chan_phase(k, 0.0)
        board.set_chan_gain(k, 127)
    elements = [board.elements[k + 1] for k in range(M)]
    factor = np.array([e.rx_gain / 127 * np.exp(1j * np.radians(e.rx_phase)) for e in elements])
    assert music_deg(factor[:, None] * wave(c), c.geometry.positions_m) == pytest.approx(THETA_DEG, abs=0.3)


def test_every_snippet_in_python_runs_and_means_the_same(capsys):
    c = calibration(9, moved=True)
    for name in FORMATS:
        snippets = dict(guide(name, Path("cal" + FORMATS[name].suffix)).snippets)
        for program, lines in snippets.items():
            if program in ("Python", "GNU Radio"):
                ast.parse(lines)
        assert "Python" in snippets
    for name in ("h5", "npz", "json", "mat", "csv", "sigmf", "uvcal"):
        if name == "uvcal":
            continue  # reads astropy's tables of the Earth's rotation: above
        path = exported(c, name, capsys)
        names: dict[str, object] = {}
        exec(dict(guide(name, path).snippets)["Python"], names)
        ratio = np.asarray(names["gain"]) / c.impairments.gain
        assert np.max(np.abs(ratio / ratio[0] - 1)) < 1e-12, name
        if name != "sigmf":
            assert np.asarray(names["positions_m"]) == pytest.approx(c.positions_m, abs=1e-12)


def test_gnu_radio_s_matrix_is_the_inverse_of_the_model(capsys):
    c = calibration(10, moved=True, coupled=True)
    exported(c, "json", capsys)
    lines = Path("load_cal_json_gnuradio.py").read_text()
    head = lines[: lines.index("correction =")].replace("from gnuradio import blocks\n", "")
    names: dict[str, object] = {}
    exec(head, names)
    y = np.asarray(names["matrix"]) @ wave(c)
    assert music_deg(y, c.positions_m) == pytest.approx(THETA_DEG, abs=0.15)


def test_snippets_replace_only_snippets(capsys):
    c = calibration(1)
    exported(c, "csv", capsys)
    exported(c, "csv", capsys)
    Path("load_cal_csv.c").write_text("int mine;\n")
    assert call(["calib", "export", "array.h5", "cal.csv", "--with-snippets", "--json", "-"]) == 2
    assert "load_cal_csv.c" in json.loads(capsys.readouterr().out)["reason"]
    assert Path("load_cal_csv.c").read_text() == "int mine;\n"
    assert sys.modules.get("gnuradio") is None
