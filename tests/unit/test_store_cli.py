"""`hil info` and `hil calib ...` as a user or script meets them: JSON on stdout, exit codes, no traceback."""

import json
from dataclasses import replace

import numpy as np
import pytest

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil.cli.main import call
from hil.core.calibration import Calibration, Validity, unknown_sigma
from hil.core.device import DeviceInfo, GainMode, RxConfig, WireFormat
from hil.core.epoch import EpochEvent, EpochScope, new_epoch
from hil.core.frame import Block, Frame, FrameFlag, StreamInfo
from hil.core.gauge import Gauge, canonical
from hil.core.geometry import ula
from hil.core.impairments import ideal
from hil.dsp.correction import apply
from hil.recorder import Recorder
from hil.store import Store, load, save

N, M = 5000, 4


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_HOME", str(tmp_path / "home"))


@pytest.fixture
def run(capsys):
    def run(*args, code=0):
        capsys.readouterr()
        assert call([*map(str, args), "--json", "-"]) == code, capsys.readouterr().err
        out = capsys.readouterr().out
        assert out.count("\n") == 1, "one JSON object and nothing else"
        found = json.loads(out)
        assert found["exit_code"] == code
        return found

    return run


def make_stream():
    device = DeviceInfo("iio:ip:a", "iio", "fmcomms5", "S1", "1", ((0, 1), (2, 3)), WireFormat.CI16, 12)
    config = RxConfig(2.45e9, 2.5e6, 2e6, (10.0,) * M, GainMode.MANUAL, (0, 1, 2, 3), N)
    return StreamInfo(config, device, new_epoch("S1"), ula(M, 0.06))


@pytest.fixture
def stream():
    return make_stream()


@pytest.fixture
def recording(tmp_path, stream):
    rng = np.random.default_rng(0)
    with Recorder(tmp_path / "r.sigmf-collection", stream, policy="gap") as recorder:
        for k in range(3):
            wire = rng.integers(-2000, 2000, (N, M, 2), dtype=np.int16)
            first = k * N + (10 if k == 2 else 0)
            recorder.write(Block(wire, first, k, 10**10, 10**18, FrameFlag.NONE, stream, 10 if k == 2 else 0))
    return tmp_path / "r.sigmf-collection"


def make(stream, seed=0, **more):
    rng = np.random.default_rng(seed)
    gain = 1 + 0.3 * (rng.normal(size=M) + 1j * rng.normal(size=M))
    error = 0.005 * rng.normal(size=(M, 3)) * [1, 0, 0]
    coupling = np.eye(M) + 0.05 * rng.normal(size=(M, M))
    imp = canonical(
        replace(ideal(M), gain=gain, position_error_m=error, coupling=coupling, delay_s=np.arange(M) * 1e-8)
    )
    return Calibration(ula(M, 0.06), imp, unknown_sigma(M), Gauge("support", "even"), 2.45e9,
                       Validity(2.44e9, 2.46e9, (10.0,) * M), "cold-start", epoch=stream.epoch,
                       device_model="fmcomms5", device_serial="S1", created_utc="2026-11-21T00:00:00Z",
                       **({"converged": True} | more))  # fmt: skip


@pytest.fixture
def calibration(tmp_path, stream):
    save(make(stream), tmp_path / "c.h5")
    return tmp_path / "c.h5"


def test_info_tells_what_a_recording_holds(run, recording):
    found = run("info", recording, "--verify")
    assert (found["kind"], found["samples"], found["lost"], found["gaps"], found["epochs"]) == ("recording", 3 * N, 10, 1, 1)  # fmt: skip
    assert found["fc_hz"] == [2.45e9]
    assert found["hashes_match"] is True
    assert [s["cause"] for s in found["segments"]] == ["start", "gap"]
    data = recording.with_name("r-ch01.sigmf-data")
    changed = bytearray(data.read_bytes())
    changed[77] ^= 1
    data.write_bytes(changed)
    assert run("info", recording, "--verify")["hashes_match"] is False


def test_info_and_show_tell_what_a_calibration_holds(run, calibration, capsys):
    found = run("info", calibration)
    assert (found["kind"], found["method"], found["n_elements"]) == ("calibration", "cold-start", M)
    assert run("calib", "show", calibration)["elements"] == found["elements"]
    assert call(["calib", "show", str(calibration)]) == 0
    out = capsys.readouterr()
    assert out.out == ""
    assert "cold-start" in out.err


@pytest.mark.parametrize("name", ["none.h5", "none.sigmf-meta", "damaged.h5"])
def test_bad_files_are_exit_code_2_with_a_reason(run, tmp_path, name):
    (tmp_path / "damaged.h5").write_bytes(b"HIL-CALIBRATION\nlength 3\n")
    found = run("info", tmp_path / name, code=2)
    assert found["status"] == "failed"
    assert name in found["reason"]


def test_check_says_whether_it_may_be_used(run, tmp_path, calibration, recording, stream):
    assert run("calib", "check", calibration, recording)["calibration_status"] == "valid"
    old = after_retune(stream)
    save(make(old), tmp_path / "old.h5")
    found = run("calib", "check", tmp_path / "old.h5", recording, code=4)
    assert found["field"] == "epoch"
    assert found["hint"]
    used = run("calib", "check", tmp_path / "old.h5", recording, "--stale-ok", "a test")
    assert (used["calibration_status"], used["stale_ok"]) == ("phases-expired", "a test")
    assert (
        run("calib", "check", tmp_path / "old.h5", recording, "--relearn-phase")["calibration_status"]
        == "phases-expired"
    )
    save(replace(make(stream), device_serial="S9"), tmp_path / "other.h5")
    assert run("calib", "check", tmp_path / "other.h5", recording, code=4)["field"] == "device_serial"
    save(replace(make(stream), epoch=new_epoch("S1")), tmp_path / "earlier.h5")
    assert (
        run("calib", "check", tmp_path / "earlier.h5", f"replay:{recording}")["calibration_status"]
        == "unverified"
    )


def after_retune(stream):
    return replace(stream, epoch=stream.epoch.after(EpochEvent.LO, EpochScope.GROUP_PHASES))


def test_apply_writes_what_correction_gives(run, tmp_path, calibration, recording):
    out = tmp_path / "out.sigmf-meta"
    found = run("calib", "apply", recording, out, calibration)
    assert (found["samples"], found["gaps"], found["calibration_status"]) == (3 * N, 1, "valid")
    learned = load(calibration)
    with open_recording(recording) as before, open_recording(out) as after:
        assert after.wire is WireFormat.CF32
        assert [(s.start, s.global_index, s.dropped_before) for s in after.segments] == [
            (s.start, s.global_index, s.dropped_before) for s in before.segments
        ]
        assert np.allclose(after.geometry.positions_m, learned.positions_m, atol=1e-15)
        samples, _ = wire_to_complex(before.read(0, 2 * N), 12)
        frame = Frame(samples, 0, 0, 0, 0, FrameFlag.NONE, before.stream)
        wanted = apply(frame, learned).samples
        assert np.allclose(after.read(0, 2 * N).view(np.complex64)[..., 0].T, wanted, atol=1e-5)
        assert all(s.keys["hil:cal_id"] == learned.id for s in after.segments)
        assert after.verify()
    again = run("calib", "apply", out, tmp_path / "twice.sigmf-meta", calibration, code=4)
    assert again["field"] == "geometry", "not applied twice"
    assert run("calib", "apply", recording, out, calibration, code=2)["reason"].endswith("exists")


def test_apply_refuses_what_has_expired_and_notes_a_reason(run, tmp_path, recording, stream):
    save(make(after_retune(stream)), tmp_path / "old.h5")
    out = tmp_path / "out.sigmf-collection"
    run("calib", "apply", recording, out, tmp_path / "old.h5", code=4)
    assert not out.exists()
    found = run("calib", "apply", recording, out, tmp_path / "old.h5", "--stale-ok", "bench test")
    assert found["stale_reason"] == "bench test"
    with open_recording(out) as made:
        assert {s.keys["hil:stale_reason"] for s in made.segments} == {"bench test"}
        assert {s.keys["hil:calibration_status"] for s in made.segments} == {"phases-expired"}


def test_diff_is_zero_for_the_same_and_shows_a_turned_phase(run, tmp_path, calibration, stream):
    same = run("calib", "diff", calibration, calibration)
    assert same["manifold_correlation_min"] == pytest.approx(1.0)
    learned = load(calibration)
    turned = learned.impairments.gain * np.exp(1j * np.deg2rad([0, 0, 10, 0])) * 3j
    save(
        replace(learned, id="other", impairments=replace(learned.impairments, gain=turned)), tmp_path / "d.h5"
    )
    found = run("calib", "diff", calibration, tmp_path / "d.h5")
    assert [e["phase_change_deg"] for e in found["elements"]] == pytest.approx([0, 0, 10, 0], abs=1e-9)
    assert [e["gain_change_db"] for e in found["elements"]] == pytest.approx([0] * 4, abs=1e-9)
    assert found["manifold_correlation_min"] < 0.9999


def test_export_import_history_undo_redo_restore(run, tmp_path, calibration, stream):
    learned = load(calibration)
    for name in ("c.json", "c.npz", "c.mat", "c.csv", "copy.h5"):
        assert run("calib", "export", calibration, tmp_path / name)["file"].endswith(name)
    assert (
        "unknown format"
        in run("calib", "export", calibration, tmp_path / "c.x", "--format", "xls", code=2)["reason"]
    )
    run("calib", "export", calibration, tmp_path / "c.x", code=2)
    assert run("calib", "import", tmp_path / "c.json")["id"] == learned.id
    second = make(stream, 1)
    Store().add(second)
    assert [c["current"] for c in run("calib", "history")["calibrations"]] == [False, True]
    assert run("calib", "undo")["current"] == learned.id
    assert run("calib", "redo")["current"] == second.id
    assert run("calib", "restore", learned.id[:12])["current"] == learned.id
    assert run("calib", "show", second.id[:12])["id"] == second.id
    assert run("calib", "history", "--serial", "S2")["calibrations"] == []
    assert run("calib", "restore", "zzz", code=2)["hint"]
    assert run("calib", "redo", code=2)["reason"].startswith("nothing to redo")


def test_age_tells_when_it_expires(run, tmp_path, stream):
    learned = make(stream)
    save(
        replace(learned, valid=replace(learned.valid, expires_utc="2026-11-21T01:00:00Z")), tmp_path / "c.h5"
    )
    found = run("calib", "age", tmp_path / "c.h5")
    assert found["expired"] is True
    assert found["age_s"] - -found["expires_in_s"] == pytest.approx(3600.0)


def test_age_predicts_from_the_store_and_writes_a_copy_that_expires(run, tmp_path, stream):
    learned = make(stream)
    save(learned, tmp_path / "c.h5")
    alone = run("calib", "age", tmp_path / "c.h5")
    assert alone["good_for_s"] is None
    assert "two calibrations" in alone["good_reason"]
    assert run("calib", "age", tmp_path / "c.h5", "--out", tmp_path / "e.h5", code=2)["hint"]
    run("calib", "age", tmp_path / "c.h5", "--tolerance", "0", code=2)
    turned = learned.impairments.gain * np.exp(1j * np.radians([0, 3, -2, 2]))
    later = replace(
        learned, id="later", impairments=replace(learned.impairments, gain=turned),
        created_utc="2026-11-21T06:00:00Z",
    )  # fmt: skip
    for c in (learned, later):
        Store().add(c)
    found = run("calib", "age", "later", "--tolerance", "10", "--out", tmp_path / "e.h5")
    assert 600 < found["good_for_s"] < 2.2e5
    assert found["good_until_utc"] == load(tmp_path / "e.h5").valid.expires_utc
    assert found["good_for_s"] > run("calib", "age", "later", "--tolerance", "3")["good_for_s"]
    assert load(tmp_path / "e.h5").id not in ("later", learned.id)
    assert load(tmp_path / "e.h5").valid.expires_utc > "2026-11-21T06:10"


def test_import_of_another_program_is_asked_for_what_is_missing_and_remembers_its_file(
    run, tmp_path, calibration
):
    found = run("calib", "export", calibration, tmp_path / "g.cfg", "--with-snippets")
    assert (found["format"], len(found["lost"])) == ("gr-doa", 3)
    assert sorted(p.name for p in tmp_path.glob("load_*")) == [
        "load_g_gr_doa.py",
        "load_g_gr_doa_gnuradio.py",
    ]
    for options, hint in (((), "--fc"), (("--fc", "2.45 GHz"), "--array")):
        assert hint in run("calib", "import", tmp_path / "g.cfg", *options, code=2)["hint"]
    options = ("--fc", "2.45 GHz", "--array", "ula:4:0.5")
    first = run("calib", "import", tmp_path / "g.cfg", *options)
    assert "positions" in first["lacks"]
    assert run("calib", "import", tmp_path / "g.cfg", *options)["id"] == first["id"]
    (row,) = run("calib", "history")["calibrations"]
    assert row["method"] == "import-gr-doa"
    assert str(tmp_path / "g.cfg") in row["origin"]
    assert "SHA-256" in row["origin"]
    journal = (Store().folder / "journal.jsonl").read_text().splitlines()
    assert len(journal) == 2, "an import is appended, nothing is rewritten"
    run("calib", "import", calibration, "--fc", "1 GHz", code=2)
