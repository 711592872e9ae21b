"""Training sets: rows and labels as recorded, no leak, read in pieces, and files that lie are refused in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hil import store
from hil.campaign.folder import open_campaign
from hil.cli.main import call
from hil.core.calibration import Calibration, Gauge, Validity, unknown_sigma
from hil.core.errors import ConfigError
from hil.core.impairments import ideal
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder
from hil.processing.calibrations import CalibrationWanted
from hil.processing.dataset import open_dataset
from hil.processing.dataset_write import make_dataset
from hil.processing.process import process_campaign
from hil.processing.settings import ProcessSettings
from hil.processing.split import SplitSettings
from tests.campaign_folders import FC_HZ, make_campaign, stream_of

KINDS = [ProcessSettings("covariances"), ProcessSettings("snapshots", rows=7)]


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two campaigns over the same angles, two starts each, the second with the table's zero elsewhere."""
    folder = tmp_path_factory.mktemp("nights")
    return (
        make_campaign(folder / "n1", range(-30, 31, 5), runs=2),
        make_campaign(folder / "n2", range(-30, 31, 5), runs=2, seed=1, emitters_deg=(5.0,)),
    )


@pytest.fixture(scope="module")
def whole(two_nights: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of both."""
    out = tmp_path_factory.mktemp("set") / "set.h5"
    make_dataset([open_campaign(f) for f in two_nights], out, KINDS, SplitSettings("angle+run", 0.1, 0.25, 3))
    return out


def test_rows_and_labels_are_those_of_the_campaigns(
    two_nights: tuple[Path, Path], whole: Path, tmp_path: Path
) -> None:
    with open_dataset(whole) as data:
        assert data.kinds == ("covariances", "snapshots")
        assert data.campaigns == ["n1", "n2"]
        assert len(data.runs) == len(data.epochs) == 4
        assert data.geometry.n_elements == 4
        assert (data.n_rows("covariances"), data.n_rows("snapshots")) == (26 * 32, 26 * 7)
        at = 0
        for number, folder in enumerate(two_nights):
            campaign = open_campaign(folder)
            single = process_campaign(campaign, tmp_path / folder.name, KINDS[0])
            for point in campaign.points:
                assert data.points["campaign"][at] == number
                assert data.angle_deg[at] == pytest.approx(point.truth_deg)
                assert data.points["angle_sigma_deg"][at] == point.table_error_deg
                assert data.runs[data.points["run"][at]] == f"{folder.name}/{point.recording}"
                assert data.epochs[data.points["epoch"][at]] == point.epoch
                rows = data.rows_of("covariances", at)
                with h5py.File(single.files[point.index]) as file:
                    assert np.array_equal(data.read("covariances", rows.start, 32), file["covariance"][()])
                at += 1
        x = data.read("snapshots", 0, 1)[0]
        assert np.allclose(sample_covariance(x), data.read("covariances", 0, 1)[0], rtol=1e-5, atol=1e-9)
    with h5py.File(whole) as file:  # for every program that reads HDF5
        assert file["points/angle_deg"].attrs["unit"] == "degrees"
        assert file["covariances/data"].chunks is not None
        point = file["covariances/point"][()]
        assert np.array_equal(np.bincount(point), [32] * 26)


def test_nothing_leaks_from_one_part_into_another(whole: Path) -> None:
    with open_dataset(whole) as data:
        p = data.points
        nominal = np.round(np.where(p["campaign"] == 0, 0.0, 5.0) - p["set_deg"], 6)
        parts = {name: data.part(name) for name in ("train", "val", "test")}
        assert all(len(v) for v in parts.values())
        for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
            assert not set(nominal[parts[a]]) & set(nominal[parts[b]])
            assert not set(p["run"][parts[a]]) & set(p["run"][parts[b]])
            near = np.abs(data.angle_deg[parts[a]] - data.angle_deg[parts[b]].T)
            assert near.min() > 4.8  # 5 degrees apart, each read back to 0.05


def test_batches_hold_every_row_once_with_its_label(whole: Path) -> None:
    with open_dataset(whole) as data:
        train = data.part("train")
        seen: list[bytes] = []
        sizes, mixed = [], []
        for batch in data.batches("covariances", "train", 20, seed=1):
            sizes.append(len(batch.data))
            mixed.append(len(set(batch.point)))
            assert np.array_equal(batch.angle_deg, data.angle_deg[batch.point])
            seen += [row.tobytes() for row in batch.data]
        want = [row.tobytes() for p in train for row in data.read("covariances", 32 * int(p), 32)]
        assert sorted(seen) == sorted(want)
        assert set(sizes[:-1]) == {20}
        assert np.mean(mixed) > 0.5 * min(16, len(train))
        first = next(iter(data.batches("covariances", "train", 20, seed=1))).data
        assert np.array_equal(first, next(iter(data.batches("covariances", "train", 20, seed=1))).data)
        with pytest.raises(ConfigError, match="holds no csi"):
            next(iter(data.batches("csi", "train", 20)))
        with pytest.raises(ConfigError, match="rows"):
            data.read("covariances", 830, 10)


def test_the_command_makes_it_and_says_what_it_made(two_nights: tuple[Path, Path], tmp_path: Path) -> None:
    out, said = tmp_path / "s.h5", tmp_path / "said.json"
    command = [
        "campaign",
        "dataset",
        *map(str, two_nights),
        "--out",
        str(out),
        "--workers",
        "0",
        "--json",
        str(said),
    ]
    assert call(command) == 0
    found = json.loads(said.read_text())
    assert found["rows"] == {"covariances": 832}
    assert sum(found["points"].values()) == 26
    assert not (tmp_path / "s.h5.parts").exists()
    assert call(command) == 2  # it is there


def test_what_cannot_be_one_set_is_said_before_it_is_made(
    two_nights: tuple[Path, Path], tmp_path: Path
) -> None:
    first = open_campaign(two_nights[0])
    shutil.copytree(two_nights[0], tmp_path / "copy")
    unlabelled = open_campaign(make_campaign(tmp_path / "u", range(-10, 11, 5), emitters_deg=()))
    for campaigns, out, kinds, words in (
        ([first, first], "s.h5", KINDS, "the same data"),
        ([first, open_campaign(tmp_path / "copy")], "s.h5", KINDS, "the same data"),
        ([unlabelled], "s.h5", KINDS, "where the emitters are"),
        ([first], "s.zarr", KINDS, "HDF5"),
        ([first], "s.h5", [ProcessSettings("spectra")], "no training data"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_dataset(campaigns, tmp_path / out, kinds, SplitSettings())
    assert not list(tmp_path.glob("s.*"))
    made = make_dataset([unlabelled], tmp_path / "s.h5", KINDS, SplitSettings(), emitters_deg=(20.0,))
    with open_dataset(made.path) as data:
        assert data.angle_deg[:, 0] == pytest.approx(20.0 - data.points["table_deg"])


def test_rows_of_a_corrected_set_belong_to_the_array_without_its_errors(tmp_path: Path) -> None:
    errors = np.array([1.0, 0.8 * np.exp(1.0j), 1.2 * np.exp(-2.0j), np.exp(0.5j)])
    campaign = open_campaign(make_campaign(tmp_path / "c", range(-30, 31, 10), errors=errors))
    geometry = stream_of("x").geometry
    assert geometry is not None
    found = Calibration(
        geometry, replace(ideal(4), gain=errors), unknown_sigma(4), Gauge(), FC_HZ, Validity(1e9, 3e9), "test", converged=True
    )  # fmt: skip
    store.save(found, tmp_path / "array.h5")
    wanted = CalibrationWanted(tmp_path / "array.h5")
    made = make_dataset([campaign], tmp_path / "s.h5", KINDS[:1], SplitSettings(), calibration=wanted)
    with open_dataset(made.path) as data:
        assert data.calibrations == [found.id]
        finder = DoaFinder(data.geometry, data.fc_hz)
        for p, (angle_deg,) in enumerate(data.angle_deg):
            rows = data.rows_of("covariances", p)
            mean = data.read("covariances", rows.start, rows.stop - rows.start).mean(axis=0)
            assert finder.find(mean, 1)[0] == pytest.approx(angle_deg, abs=0.1)


def _external(file: Any) -> None:
    del file["covariances/data"]
    file["covariances/data"] = h5py.ExternalLink("/etc/passwd", "/x")


def _other_files_bytes(file: Any) -> None:
    del file["points/snr_db"]
    file["points"].create_dataset("snr_db", (26,), "<f8", external=[("/etc/passwd", 0, 208)])


def _huge(file: Any) -> None:
    del file["covariances/data"]
    file["covariances"].create_dataset("data", (1 << 39, 4, 4), "<c16", chunks=(64, 4, 4))


def _bomb(file: Any) -> None:
    data = np.zeros((832, 4, 4), complex)
    del file["covariances/data"]
    file["covariances"].create_dataset("data", data=data, compression="gzip")


def _replaced(name: str, values: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[name]
        file[name] = values

    return change


def _attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda file: file.attrs.__setitem__(name, value)


@pytest.mark.parametrize(
    "change",
    [_external, _other_files_bytes, _huge, _bomb, _replaced("points/split", np.zeros(25, np.uint8)),
     _replaced("points/angle_deg", np.zeros((26, 1), np.float32)), _replaced("positions_m", np.zeros((5, 3))),
     _replaced("covariances/first_row", np.arange(27)), _replaced("points", np.zeros(3)), _attribute("format", "x"),
     _attribute("schema", 99), _attribute("fc_hz", np.nan), _attribute("created_utc", 5), _replaced("more", 1) ],
)  # fmt: skip
def test_files_that_lie_are_refused_in_one_line(
    whole: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    path = tmp_path / "bad.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "r+") as file:
        file.require_group("more")
        if change.__qualname__ != "_replaced.<locals>.change":
            del file["more"]
        change(file)
        if "more" in file and isinstance(file["more"], h5py.Group):
            del file["more"]
    with pytest.raises(ConfigError) as caught:
        open_dataset(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_any_damage_is_one_line_or_the_same_data(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.h5"
    for k in range(12):
        if k < 4:
            path.write_bytes(data[: int(rng.integers(0, len(data)))])
        else:
            broken = bytearray(data)
            for place in rng.integers(0, 20_000 if k < 9 else len(data), 40):
                broken[place] ^= int(rng.integers(1, 256))
            path.write_bytes(broken)
        try:
            with open_dataset(path) as opened:
                assert opened.n_rows("covariances") == 832
                opened.read("covariances", 0, 832)
        except ConfigError as err:
            assert "\n" not in str(err)  # noqa: PT017 - either outcome is right
    with pytest.raises(ConfigError, match="no such file"):
        open_dataset(tmp_path / "none.h5")
    os.mkfifo(tmp_path / "fifo.h5")
    with pytest.raises(ConfigError, match="no such file"):
        open_dataset(tmp_path / "fifo.h5")
