"""Damaged, hostile, huge and foreign files: one line of ours, whatever they hold."""

import json

import numpy as np
import pytest
import scipy.io

from hil.core.calibration import Calibration
from hil.core.errors import CalibrationError, ConfigError
from hil.export import FORMATS, export, read
from hil.export.partial import Given
from hil.store.files import MAX_FILE_BYTES
from tests.unit.export_arrays import FC_HZ, M, calibration

ASKING = [key for key, f in FORMATS.items() if f.asks]
GIVEN = Given(FC_HZ, f"ula:{M}:0.5")
#: Read in a process of their own: one file takes half a second.
APART = ("mat", "uvcal")


def attempt(path, name):
    found, error = None, None
    try:
        found = read(path, name, GIVEN if FORMATS[name].asks else None)
    except (CalibrationError, ConfigError) as err:
        error = err
    if error is not None:
        assert (error.exit_code, "\n" in str(error), len(str(error)) < 500) == (2, False, True)
        return None
    assert isinstance(found, Calibration)
    assert np.all(np.isfinite(found.impairments.gain))
    return found


@pytest.mark.parametrize("name", [*ASKING, "mat"])
def test_damaged_files_are_one_line(tmp_path, name):
    path = tmp_path / f"c{FORMATS[name].suffix}"
    export(calibration(moved=True), path, name)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    n = 3 if name in APART else 60
    for k in range(n):
        data = bytearray(whole)
        for _ in range(1 + k % 4):
            data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data if k % 3 else data[: rng.integers(len(data))])
        attempt(path, name)
    bad = [b"", b"\0" * 5000, b"a" * 70_000]
    if name not in APART:
        bad += [
            b"\xff\xfe\x00",
            b"[" * 50_000,
            b"{}",
            b"1e999 nan\n" * 3,
            b"1 2 3",
            b"[calibration]\n",
            "gain_re\nü\n".encode("latin1"),
        ]
    for data in bad:
        path.write_bytes(data)
        assert attempt(path, name) is None
    path.unlink()
    assert attempt(path, name) is None
    path.mkdir()
    assert attempt(path, name) is None


@pytest.mark.parametrize("name", [*ASKING, "mat"])
def test_huge_files_are_not_read(tmp_path, name):
    path = tmp_path / f"c{FORMATS[name].suffix}"
    with path.open("wb") as f:
        f.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(CalibrationError, match="64 MB"):
        read(path, name, GIVEN if FORMATS[name].asks else None)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;&x;">]><MicArray name="&z;"><pos/></MicArray>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><MicArray/>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><MicArray/>',
        "<MicArray>" + "<a>" * 100_000,
        '<MicArray><pos x="1" y="2" z="inf"/></MicArray>',
        '<MicArray><pos x="1"/></MicArray>',
        '<MicArray><pos factor="0"/></MicArray>',
        "<MicArray>" + '<pos factor="1"/>' * 2000 + "</MicArray>",
    ],
)
def test_xml_brings_no_entities_and_no_nonsense(tmp_path, text):
    path = tmp_path / "c.xml"
    path.write_text(text)
    with pytest.raises(CalibrationError, match="Acoular"):
        read(path, given=Given(FC_HZ))


def test_a_collection_does_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "c.sigmf-collection"
    export(calibration(), tmp_path / "c.sigmf-collection", "sigmf")
    for name in ("../c-cal-ch00", "/etc/passwd", 7, None, {}):
        path.write_text(json.dumps({"collection": {"core:streams": [{"name": name}]}}))
        with pytest.raises(CalibrationError):
            read(path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("heimdall", "[hw]\nnum_ch=2\n[daq]\ncenter_freq=1e9\n[calibration]\nstd_ch_ind=0\niq_adjust_source=touchstone\n", "touchstone"),
        ("heimdall", "[hw]\nnum_ch=9\n[daq]\ncenter_freq=1e9\n[calibration]\nstd_ch_ind=0\niq_adjust_source=explicit-time-delay\niq_adjust_amplitude=0\niq_adjust_time_delay_ns=0\n", "9 channels"),
        ("phaser", '{"pcal": [0, 1], "gcal": [1, 0], "ccal": [0, 0]}', "gcal"),
        ("phaser", '{"pcal": [0, 1], "gcal": [1, 1], "ccal": [0, 3]}', "ccal"),
        ("phaser", '{"pcal": [0], "gcal": [1, 1], "ccal": []}', "pcal"),
        ("gr-doa", "1 0\n0 0\n", "gain"),
        ("csv", "gain_re\n1\n", "gain_im"),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_are_named(tmp_path, name, text, words):
    path = tmp_path / "c"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=words), np.errstate(all="ignore"):
        read(path, name, Given(FC_HZ, "ula:2:0.5"))


def test_a_mat_file_of_others_is_refused(tmp_path):
    for values in ({"x": 1.0}, {"calibration": 3.0}, {"calibration": {"gain": [1.0]}}):
        scipy.io.savemat(tmp_path / "c.mat", values)
        with pytest.raises(CalibrationError, match=r"c\.mat"):
            read(tmp_path / "c.mat")
