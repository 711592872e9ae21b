"""Processing of campaigns: here, in processes that are killed, on a cluster; the results are the same, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil import store
from hil.campaign.folder import Campaign, open_campaign
from hil.cli.main import call
from hil.core.calibration import Calibration, Gauge, Validity, unknown_sigma
from hil.core.errors import CalibrationMismatch, ConfigError, HilError
from hil.core.impairments import ideal
from hil.core.waveform_files import save_waveform
from hil.core.waveform_ofdm import ofdm
from hil.processing.calibrations import CalibrationWanted
from hil.processing.process import process_campaign
from hil.processing.settings import WHATS, ProcessSettings
from hil.processing.where import Where
from tests.campaign_folders import FC_HZ, FS_HZ, M, make_campaign, stream_of

ANGLES = range(-30, 31, 10)
HERE = "127.0.65.1"


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    return open_campaign(make_campaign(tmp_path / "c", ANGLES, runs=2))


def _content(files: Any) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Every dataset and attribute of every file, bit for bit (HDF5 itself may place the chunks differently)."""
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for path in files:
        parts: dict[str, tuple[Any, ...]] = {}
        with h5py.File(path) as file:
            for name in file:
                data = np.asarray(file[name])
                parts[name] = (data.dtype.str, data.shape, data.tobytes(), *_attributes(file[name]))
            parts["/"] = tuple(_attributes(file))
        found[path.name] = parts
    return found


def _attributes(item: Any) -> list[tuple[str, str, bytes]]:
    values = {key: np.asarray(value) for key, value in sorted(item.attrs.items())}
    return [
        (key, value.dtype.str, repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
        for key, value in values.items()
    ]


def test_covariances_and_snapshots_are_those_of_the_samples(campaign: Campaign, tmp_path: Path) -> None:
    made = {
        what: process_campaign(campaign, tmp_path / "o", ProcessSettings(what, snapshots=200)).files
        for what in ("covariances", "snapshots")
    }
    for point in campaign.points:
        with open_recording(campaign.recording_path(point)) as recording:
            x, _ = wire_to_complex(recording.read(point.start, point.n), 12)
            segment = recording.segment_at(point.start)
        with h5py.File(made["snapshots"][point.index]) as file:
            blocks = file["snapshots"][()]
            assert np.array_equal(np.concatenate(blocks, axis=1), x[:, : 200 * len(blocks)])
            assert len(blocks) == 8192 // 200
        with h5py.File(made["covariances"][point.index]) as file:
            want = np.einsum("bmt,bnt->bmn", blocks, blocks.conj()) / 200
            assert np.allclose(file["covariance"][()], want, atol=1e-6 * np.abs(want).max())
            assert file["first_sample"][3] == segment.global_index + 600
            assert file.attrs["truth_deg"] == pytest.approx(point.truth_deg)


def test_spectra_find_the_emitter_at_its_angle(campaign: Campaign, tmp_path: Path) -> None:
    made = process_campaign(campaign, tmp_path / "o", ProcessSettings("report-data"))
    for point in campaign.points:
        with h5py.File(made.files[point.index]) as file:
            error = file["doa_deg"][()] - point.truth_deg[0]
            assert np.sqrt(np.mean(error**2)) < 0.2  # 20 dB, 256 snapshots, 4 elements
            top = file["angles_deg"][int(np.argmax(file["spectrum"][()]))]
            assert top == pytest.approx(point.truth_deg[0], abs=0.3)
            assert file["power_dbfs"][0] == pytest.approx(20 * np.log10(300 / 2048), abs=0.5)
            assert file["eigenvalues"][3] > 50 * file["eigenvalues"][2]


@pytest.mark.parametrize("what", WHATS)
def test_processes_give_the_same_numbers_and_nothing_is_made_twice(tmp_path: Path, what: str) -> None:
    waveform = _waveform(tmp_path / "w.toml") if what == "csi" else None
    folder = make_campaign(tmp_path / "c", [-10, 0, 20], samples=20_000, wave=waveform)
    campaign, settings = open_campaign(folder), ProcessSettings(what)  # pyright: ignore[reportArgumentType]
    alone = process_campaign(campaign, tmp_path / "a", settings, waveform=waveform)
    many = process_campaign(campaign, tmp_path / "b", settings, waveform=waveform, where=Where(2))
    assert alone.bad == many.bad == {}
    assert _content(alone.files.values()) == _content(many.files.values())
    again = process_campaign(campaign, tmp_path / "b", settings, waveform=waveform, where=Where(2))
    assert (again.made, len(again.files)) == (0, 3)
    manifest = json.loads(again.manifest.read_text())
    assert [p["index"] for p in manifest["points"]] == [0, 1, 2]
    assert (tmp_path / "b" / manifest["points"][0]["file"]).is_file()


def test_other_settings_other_data_and_a_cut_recording_are_made_anew(
    campaign: Campaign, tmp_path: Path
) -> None:
    first = process_campaign(campaign, tmp_path / "o", ProcessSettings("covariances"))
    other = process_campaign(campaign, tmp_path / "o", ProcessSettings("covariances", rows=5))
    assert other.made == 7
    with h5py.File(other.files[0]) as file:
        assert len(file["covariance"]) == 5
    data = sorted(campaign.folder.glob("run-001*.sigmf-data"))
    os.utime(data[0], ns=(1, 1))
    assert process_campaign(campaign, tmp_path / "o", ProcessSettings("covariances")).made == 4
    os.truncate(data[0], data[0].stat().st_size - 4)
    found = process_campaign(campaign, tmp_path / "o", ProcessSettings("covariances"))
    assert (len(found.files), list(found.bad)) == (6, [6])
    assert "ends at" in found.bad[6]
    for path in campaign.folder.glob("run-002*.sigmf-meta"):
        path.write_text("{")
    found = process_campaign(campaign, tmp_path / "o", ProcessSettings("covariances"))
    assert sorted(found.bad) == [1, 3, 5, 6]
    assert first.files.keys() == set(range(7))


def test_what_a_killed_worker_had_is_made_by_another(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "c", range(-40, 41, 10), repeat=20)
    campaign, killed = open_campaign(folder), []
    alone = process_campaign(campaign, tmp_path / "a", ProcessSettings("spectra"))

    def kill(done: int, total: int, bad: int) -> None:
        if done in (1, 4) and len(killed) < 2:
            workers = [
                p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(p.cmdline())
            ]
            workers[0].kill()
            killed.append(workers[0].pid)

    many = process_campaign(
        campaign, tmp_path / "b", ProcessSettings("spectra"), where=Where(2), progress=kill
    )
    assert len(killed) == 2
    assert many.bad == {}
    assert _content(alone.files.values()) == _content(many.files.values())


def test_a_point_that_kills_every_worker_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    campaign = open_campaign(make_campaign(tmp_path / "c", range(-20, 21, 10), repeat=100))
    end, killed = threading.Event(), set()

    def kill_whoever_has_point_2() -> None:
        while not end.is_set():
            for path in (tmp_path / "o" / "spectra").glob(".point-00002-*.tmp"):
                pid = int(path.name.split(".")[-2])
                if pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
            end.wait(0.002)

    thread = threading.Thread(target=kill_whoever_has_point_2)
    thread.start()
    try:
        found = process_campaign(campaign, tmp_path / "o", ProcessSettings("spectra"), where=Where(2))
    finally:
        end.set()
        thread.join()
    assert len(killed) == 3
    assert sorted(found.files) == [0, 1, 3, 4]
    assert "failed 3 times: its worker was ended" in found.bad[2]
    mended = process_campaign(campaign, tmp_path / "o", ProcessSettings("spectra"))
    assert (mended.made, dict(mended.bad)) == (1, {})
    assert not list((tmp_path / "o" / "spectra").glob(".point-*"))


def test_ctrl_c_leaves_whole_files_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder = make_campaign(tmp_path / "c", range(-40, 41, 10), repeat=40)
    command = [sys.executable, "-P", "-m", "hil.cli", "campaign", "process", folder, "--out", tmp_path / "o",
               "--what", "spectra", "--workers", "2", "--json", "-"]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _poll(lambda: len(list((tmp_path / "o").glob("spectra/point-*.h5"))) >= 1, 60)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it too
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "interrupted"
    assert "Traceback" not in err
    assert not psutil.pid_exists(process.pid)
    kept = _content((tmp_path / "o").glob("spectra/point-*.h5"))
    assert 1 <= len(kept) < 9
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["made_now"], found["done"]) == (0, 9 - len(kept), 9)
    alone = process_campaign(open_campaign(folder), tmp_path / "a", ProcessSettings("spectra"))
    assert _content(alone.files.values()) == _content((tmp_path / "o").glob("spectra/point-*.h5"))


def test_a_cluster_that_is_there_gives_the_same_content(tmp_path: Path) -> None:
    campaign = open_campaign(make_campaign(tmp_path / "c", ANGLES))
    settings, file = ProcessSettings("spectra"), tmp_path / "scheduler.json"
    alone = process_campaign(campaign, tmp_path / "a", settings)
    base = [sys.executable, "-m", "dask"]
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object) -> None:
        command = [*base, *map(str, words)]
        started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    try:
        start("scheduler", "--host", HERE, "--port", 0, "--no-dashboard", "--scheduler-file", file)
        _poll(file.exists, 60)
        where = Where(scheduler=json.loads(file.read_text())["address"])
        with pytest.raises(HilError, match="has no workers"):
            process_campaign(campaign, tmp_path / "b", settings, where=where)
        start(
            "worker",
            "--scheduler-file",
            file,
            "--host",
            HERE,
            "--nthreads",
            1,
            "--no-dashboard",
            "--local-directory",
            tmp_path,
        )
        _poll(lambda: _made_by(campaign, tmp_path / "b", settings, where), 60, 0.5)
        assert _content(alone.files.values()) == _content((tmp_path / "b").glob("spectra/point-*.h5"))
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)
    with pytest.raises(HilError, match="no Dask scheduler"):
        process_campaign(campaign, tmp_path / "d", settings, where=where)


def _made_by(campaign: Campaign, out: Path, settings: ProcessSettings, where: Where) -> bool:
    try:
        return not process_campaign(campaign, out, settings, where=where).bad
    except HilError:  # its worker is on its way
        return False


def test_a_calibration_is_checked_and_taken_out(tmp_path: Path) -> None:
    errors = np.array([1.0, 0.8 * np.exp(1.0j), 1.2 * np.exp(-2.0j), np.exp(0.5j)])
    campaign = open_campaign(make_campaign(tmp_path / "c", ANGLES, errors=errors))
    path = _calibration(tmp_path, errors)
    raw = process_campaign(campaign, tmp_path / "o", ProcessSettings("spectra"))
    wanted = CalibrationWanted(path)
    found = process_campaign(campaign, tmp_path / "o", ProcessSettings("spectra"), calibration=wanted)
    assert found.made == 7
    worst = {"raw": 0.0, "corrected": 0.0}
    for point in campaign.points:
        for name, made in (("raw", raw), ("corrected", found)):
            with h5py.File(made.files[point.index]) as file:
                error = np.abs(np.median(file["doa_deg"][()]) - point.truth_deg[0])
                worst[name] = max(worst[name], error)
    assert worst["raw"] > 5
    assert worst["corrected"] < 0.1
    with h5py.File(found.files[0]) as file:
        assert file.attrs["calibration"]
        assert file.attrs["calibration_status"] == "verified"  # its file knows no epoch: the data confirm it
    wrong = CalibrationWanted(_calibration(tmp_path, errors * np.exp(1j * np.array([0, 1, 2, 0]))))
    with pytest.raises(CalibrationMismatch, match="refuted by these data"):
        process_campaign(campaign, tmp_path / "o", ProcessSettings("spectra"), calibration=wrong)


def test_what_is_wrong_for_every_point_is_said_before_anything_begins(tmp_path: Path) -> None:
    campaign = open_campaign(make_campaign(tmp_path / "c", ANGLES))
    for bad, where in (
        ({"what": "phases"}, "--what"),
        ({"snapshots": 0}, "--snapshots"),
        ({"rows": -1}, "--rows"),
    ):
        with pytest.raises(ConfigError, match=where):
            ProcessSettings(**({"what": "spectra"} | bad))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="--waveform"):
        process_campaign(campaign, tmp_path / "o", ProcessSettings("csi"))
    with pytest.raises(ConfigError, match="--scheduler"):
        Where(2, None, "tcp://127.0.0.1:1")
    for settings, where in (
        (ProcessSettings("spectra", n_sources=4), "--sources"), (ProcessSettings("covariances", 9000), "--snapshots"),
        (ProcessSettings("spectra", array="ula"), "ula"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=where):
            process_campaign(campaign, tmp_path / "o", settings)


def _waveform(path: Path) -> Path:
    save_waveform(ofdm(48, FS_HZ / 64, 16, n_fft=64), path)
    return path


def _calibration(folder: Path, errors: NDArray[np.complex128]) -> Path:
    stream = stream_of("c0")
    assert stream.geometry is not None
    found = Calibration(
        stream.geometry, replace(ideal(M), gain=errors), unknown_sigma(M), Gauge(), FC_HZ, Validity(1e9, 3e9), "test",
        device_model="test", device_serial="t", converged=True,
    )  # fmt: skip
    store.save(found, folder / "array.h5")
    return folder / "array.h5"


def _poll(condition: Callable[[], Any], seconds: float, step_s: float = 0.02) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(step_s)


def test_the_command_shows_processes_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, said = str(make_campaign(tmp_path / "c", ANGLES, runs=2)), tmp_path / "said.json"
    assert call(["campaign", "show", folder, "--json", str(said)]) == 0
    found = json.loads(said.read_text())
    assert (found["done"], found["left"], found["starts"], len(found["epochs"])) == (7, 0, 2, 2)
    assert found["bytes"] == 7 * 8192 * 4 * 4
    command = ["campaign", "process", folder, "--out", str(tmp_path / "o"), "--json", str(said)]
    assert call([*command, "--workers", "0"]) == 0
    assert json.loads(said.read_text())["made_now"] == 7
    for path in Path(folder).glob("run-002*.sigmf-data"):
        path.unlink()
    assert call([*command, "--workers", "0"]) == 4
    found = json.loads(said.read_text())
    assert (found["status"], found["done"], [b["index"] for b in found["bad"]]) == ("failed", 4, [1, 3, 5])
    assert call(["campaign", "show", folder]) == 0  # and names the recording
    assert call(["campaign", "show", str(tmp_path)]) == 2
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert call([*command, "--what", "spectra", "--workers", "2"]) == 3
    assert "--workers 0" in capsys.readouterr().err


def test_a_worker_needs_less_memory_than_a_point_has_samples(tmp_path: Path) -> None:
    campaign = open_campaign(make_campaign(tmp_path / "c", [0.0, 10.0], repeat=1600))  # 210 MB each
    found = process_campaign(
        campaign, tmp_path / "o", ProcessSettings("covariances"), where=Where(1, 180_000_000)
    )
    assert (found.made, dict(found.bad)) == (2, {})  # one that takes more is ended
