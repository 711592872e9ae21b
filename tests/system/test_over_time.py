"""Directions over a whole recording: the same whoever makes them, no piece lost, the file whole or not there."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.sigmf_files import open_recording
from hil.core.errors import ConfigError, HilError
from hil.core.frame import Block, FrameFlag
from hil.jobs import over_time as module
from hil.jobs.directions import SpectrumSettings
from hil.jobs.over_time import COLUMNS, over_time, read_rows
from hil.jobs.spectrum import of_recording
from hil.processing.where import Where
from hil.recorder import Recorder
from tests.campaign_folders import FS_HZ, stream_of, wire_at

ARRAY = "ula:4:0.5"
EVERY_S = 0.005
_HOP_SAMPLES = 10_000
SETTINGS = SpectrumSettings(n_sources=1, snapshots=512)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a hopping emitter: 0.5 s, a gap of 0.1 s, 0.2 s, another coherence epoch of 0.3 s."""
    path = tmp_path_factory.mktemp("over-time") / "x.sigmf-meta"
    rng = np.random.default_rng(4)
    first = stream_of("a")
    plan = [(first, 0)] * 50 + [(first, 100_000)] + [(first, 0)] * 19 + [(stream_of("b"), 0)] * 30
    index = 0
    with Recorder(path, first, policy="gap") as recorder:
        for seq, (stream, lost) in enumerate(plan):
            index += lost
            wire = wire_at(rng.uniform(-60, 60), _HOP_SAMPLES, rng)
            t_ns = round((index + _HOP_SAMPLES) / FS_HZ * 1e9)
            recorder.write(Block(wire, index, seq, t_ns, t_ns, FrameFlag.NONE, stream, lost))
            index += _HOP_SAMPLES
    return path


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_VALUES", 30_000)
    monkeypatch.setattr(module, "_READ_VALUES", 20_000)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_look_is_that_of_hil_spectrum_there(recorded: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    out = tmp_path / "d.csv"
    found = over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S, progress=lambda *now: told.append(now))
    rows = _rows(out)
    assert tuple(rows[0]) == COLUMNS
    assert (found.estimates, found.bad) == (len(rows), ())
    assert told[0][0] == 0
    assert told[-1] == (told[-1][1], told[-1][1], 0)
    assert told[-1][1] > 5, "several pieces"
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv"], "nothing is left over"
    assert found.recording_s == pytest.approx(len(rows) * EVERY_S)
    with open_recording(recorded) as recording:
        segments = recording.segments
        fs_hz = recording.fs_hz
        assert [s.n for s in segments] == [500_000, 200_000, 300_000]
    step = round(EVERY_S * fs_hz)
    want = [
        (s.start + k, s.global_index + k)
        for s in segments
        for k in range(0, s.n - SETTINGS.snapshots + 1, step)
    ]
    assert [int(r["first_sample"]) for r in rows] == [first for _, first in want]
    assert list(found.calibration_status.values()) == ["none", "none"]
    for place, row in list(zip(want, rows, strict=True))[::9]:
        there = of_recording(
            recorded, ARRAY, SpectrumSettings(n_sources=1, snapshots=512, at_s=place[0] / fs_hz)
        )
        assert float(row["doa_deg"]) == pytest.approx(there.doa_deg[0], abs=1e-5)
        assert float(row["sigma_deg"]) == pytest.approx(there.sigma_deg[0], abs=1e-5)
        assert float(row["time_s"]) == pytest.approx(place[1] / fs_hz)
    assert len(list(read_rows(out))) == found.directions == len(rows)


def test_overlapping_looks_a_part_and_other_processes_find_the_same(recorded: Path, tmp_path: Path) -> None:
    ways = {"alone": Where(0), "two": Where(2)}
    for name, where in ways.items():
        settings = SpectrumSettings(n_sources=None, snapshots=2048, at_s=0.1)
        found = over_time(
            recorded, ARRAY, settings, tmp_path / f"{name}.csv", every_s=0.001, seconds=0.1, where=where
        )
        assert found.estimates == (100_000 - 2048) // 1000 + 1
    assert (tmp_path / "alone.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert float(_rows(tmp_path / "two.csv")[0]["time_s"]) == pytest.approx(0.1)


def test_what_is_finished_is_not_made_again(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.csv"
    over_time(recorded, ARRAY, SETTINGS, whole, every_s=EVERY_S)
    out = tmp_path / "d.csv"

    def interrupt(done: int, total: int, bad: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S, progress=interrupt)
    assert not out.exists()
    told: list[int] = []
    over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S, progress=lambda done, *_: told.append(done))
    assert told[0] == 3
    assert out.read_bytes() == whole.read_bytes()
    # other settings begin anew
    with pytest.raises(KeyboardInterrupt):
        over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S, progress=interrupt)
    told.clear()
    over_time(recorded, ARRAY, SETTINGS, out, every_s=0.01, progress=lambda done, *_: told.append(done))
    assert told[0] == 0
    # a piece that cannot be used is named, and tried again
    run = module.Piece._write

    def broken(piece: Any, path: Path) -> None:
        if piece.index == 1:
            raise HilError("a bad sector")
        run(piece, path)

    with monkeypatch.context() as patch:
        patch.setattr(module.Piece, "_write", broken)
        found = over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S)
    assert [why for _, _, why in found.bad] == ["a bad sector"]
    assert 0 < len(_rows(out)) < len(_rows(whole))
    found = over_time(recorded, ARRAY, SETTINGS, out, every_s=EVERY_S)
    assert (found.bad, out.read_bytes()) == ((), whole.read_bytes())


def test_a_look_without_a_direction_has_a_row(
    recorded: Path, hil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.jobs.directions.mdl", lambda *_: 0)
    done = hil.here(
        "spectrum", recorded, "--array", ARRAY, "--every", 0.01, "--seconds", 0.2, "--out", "n.csv", "--workers", 0,
        "--plot", "n.png", "--snapshots", 512,
    )  # fmt: skip
    assert (done.code, done.json["estimates"], done.json["directions"]) == (0, 20, 0)
    rows = _rows(hil.folder / "n.csv")
    assert [r["doa_deg"] + r["sigma_deg"] for r in rows] == [""] * 20
    assert (hil.folder / "n.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--every", 0.01), "needs a file"),
        (("--every", 0, "--out", "d.csv"), "between looks"),
        (("--every", "nan", "--out", "d.csv"), "between looks"),
        (("--every", 0.01, "--out", "d.h5"), ".csv"),
        (("--every", 0.01, "--out", "no/d.csv"), "not a folder"),
        (("--every", 0.01, "--out", "d.csv", "--at", 99), "outside"),
        (("--every", 0.01, "--out", "d.csv", "--seconds", -1), "of the recording"),
        (("--every", 0.01, "--out", "d.csv", "--sources", 4), "at most 3"),
        (("--every", 0.01, "--out", "d.csv", "--snapshots", 1_000_000), "no look"),
        (("--every", 0.01, "--out", "d.csv", "--follow"), "for recordings"),
        (
            ("--every", 0.01, "--out", "d.csv", "--workers", 1, "--scheduler", "tcp://127.0.0.1:1"),
            "one of them",
        ),
        (("--out", "d.csv"), "belongs to --every"),
        (("--seconds", 1), "belongs to --every"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(recorded: Path, hil: Any, options: Any, words: str) -> None:
    done = hil.here("spectrum", recorded, *options, "--array", ARRAY)
    assert done.code == 2, done
    assert words in done.json["reason"] + done.json["hint"]
    assert not list(hil.folder.glob("*.csv"))
    assert not list(hil.folder.glob(".d.csv*"))


def test_no_scheduler_is_said_and_a_full_disk_keeps_what_is_there(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HilError, match="no Dask scheduler"):
        over_time(
            recorded,
            ARRAY,
            SETTINGS,
            tmp_path / "d.csv",
            every_s=0.01,
            where=Where(scheduler="tcp://127.0.0.1:9"),
        )

    def full(piece: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.Piece, "_write", full)
        with pytest.raises(HilError, match="No space left") as caught:
            over_time(recorded, ARRAY, SETTINGS, tmp_path / "d.csv", every_s=0.01)
        assert "again" in (caught.value.hint or "")
    assert not (tmp_path / "d.csv").exists()
    with pytest.raises(ConfigError, match="outside"):
        over_time(recorded, ARRAY, SpectrumSettings(at_s=np.nan), tmp_path / "d.csv", every_s=0.01)
