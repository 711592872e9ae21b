"""Calibration files keep every field exactly, and no damaged file does more than say so."""

import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path

import h5py
import jsonschema
import numpy as np
import pytest

from hil import store
from hil.core.calibration import Calibration, Sigma, Validity, unknown_sigma
from hil.core.epoch import Epoch
from hil.core.errors import CalibrationError
from hil.core.gauge import Gauge
from hil.core.geometry import ArrayGeometry, ula
from hil.core.impairments import Impairments, ideal
from hil.export import json_file
from hil.store import hdf5

M = 5


def full(m=M, seed=0):
    """A calibration with something in every field."""
    rng = np.random.default_rng(seed)

    def z(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    return Calibration(
        geometry=ArrayGeometry(rng.normal(size=(m, 3)), tuple(f"é{i}" for i in range(m)), "array"),
        impairments=Impairments(z(m), np.eye(m) + 0.1 * z(m, m), rng.normal(size=(m, 3)), 1e-9 * rng.normal(size=m),
                                0.01 * z(m), 0.01 * z(m), np.linspace(-60, 60, 7), z(m, 7)),
        sigma=Sigma(rng.random(m), np.array([np.nan, np.inf, 0.0, -0.0, 1e-300])[:m], rng.random((m, 3)), rng.random(m)),
        gauge=Gauge("support", "emitters lie evenly in ±60°", 0.25, 1e-3, 0.3, (-60.0, 60.0)),
        fc_hz=2.45e9 + 1 / 3,
        valid=Validity(2.4e9, 2.5e9, tuple(float(i) for i in range(m)), "2031-01-01T00:00:00Z"),
        method="diffmusic",
        epoch=Epoch("S1", "cafe", 7, 3, "lo"),
        coherent_groups=((0, 1), (2, 3, 4)),
        device_model="fmcomms5",
        device_serial="S1",
        reference_element=2,
        settings={"step": 0.1, "grid": [1, 2.5, None, True], "text": "ü\n\0", "deep": {"a": {"b": []}}},
        config_hash="ab" * 32,
        seed=2**90 + 1,
        captures=("00" * 32, "ff" * 32),
        score=-10.25,
        predicted_score=float("nan"),
        converged=True,
        lit_deg=(-42.5, 61.0),
        metrics={"doa_rmspe_deg/before": 3.5, "manifold_error": 1e-7, "unknown": float("nan"), "top": float("inf")},
        created_utc="2026-11-22T04:00:00+00:00",
        stale_reason="why not",
    )  # fmt: skip


def minimal():
    return Calibration(ula(1, 0.05), ideal(1), unknown_sigma(1), Gauge(), 1e9, Validity(1e9, 1e9), "none")


def same(a, b):
    """Every field equal, arrays bit for bit (any NaN as NaN)."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)  # fmt: skip
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.mark.parametrize(
    "calibration", [full(), minimal(), replace(full(), seed=-3, epoch=None, lit_deg=None)]
)
def test_every_field_comes_back_exactly(tmp_path, calibration):
    store.save(calibration, tmp_path / "c.h5")
    found = store.load(tmp_path / "c.h5")
    for f in fields(calibration):
        assert same(getattr(calibration, f.name), getattr(found, f.name)), f.name
    if calibration.geometry.n_elements == M:
        angles = np.linspace(-60, 60, 13)
        assert np.array_equal(found.steering(angles), calibration.steering(angles))


def test_the_file_is_plain_hdf5_that_explains_itself(tmp_path):
    calibration = full()
    store.save(calibration, tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as file:
        assert file.attrs["gain_convention"] == "divide"
        assert file.attrs["schema"] == 1
        assert "exp(+j 2 pi fc" in file.attrs["convention_steering"]
        assert file["impairments/gain"].dtype == np.complex128
        assert np.array_equal(file["impairments/gain"], calibration.impairments.gain)
        assert file["impairments/position_error_m"].attrs["units"] == "m"
        assert file["epoch"].attrs["counter"] == 7
        assert json.loads(file["settings"][()])["step"] == 0.1
    assert same(hdf5.parse((tmp_path / "c.h5").read_bytes()), calibration), (
        "both halves of the file say the same"
    )


def test_saving_replaces_atomically_and_leaves_nothing_else(tmp_path):
    store.save(full(), tmp_path / "c.h5")
    store.save(full(seed=1), tmp_path / "c.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]
    assert same(store.load(tmp_path / "c.h5").impairments, full(seed=1).impairments)


@pytest.mark.parametrize(
    "change",
    [{"settings": {"x": object()}}, {"method": "nul\0"}, {"device_serial": "\udcff"}, {"id": "../x"},
     {"reference_element": 9}, {"metrics": {"": 1.0}}],
)  # fmt: skip
def test_what_could_not_be_read_back_is_not_written(tmp_path, change):
    with pytest.raises(CalibrationError):
        store.save(replace(full(), **change), tmp_path / "c.h5")
    assert not list(tmp_path.iterdir())
    with pytest.raises(CalibrationError, match="cannot write"):
        store.save(full(), tmp_path / "no" / "folder" / "c.h5")


def test_missing_strange_and_large_files_are_errors_with_exit_code_2(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "huge").write_bytes(b"")
    os.truncate(tmp_path / "huge", 1 << 40)
    for name in ("none", "pipe", "text", "empty", "huge", "."):
        with pytest.raises(CalibrationError) as caught:
            store.load(tmp_path / name)
        assert caught.value.exit_code == 2
        assert str(tmp_path) in str(caught.value)


def as_foreign(path, calibration, change=None):
    """The same content as another program would write it: HDF5 without the user block."""
    store.save(calibration, path.with_suffix(".own"))
    with h5py.File(path.with_suffix(".own")) as source, h5py.File(path, "w") as file:
        for key in source:
            source.copy(key, file)
        for key, value in source.attrs.items():
            file.attrs[key] = value
        if change is not None:
            change(file)
    return path


def test_hdf5_written_by_other_programs_is_read_in_a_process_of_its_own(tmp_path):
    path = as_foreign(tmp_path / "f.h5", full())
    assert path.read_bytes().startswith(b"\x89HDF")
    assert same(store.load(path), full_like(store.load(path)))
    assert same(store.load(path).impairments, full().impairments)


def full_like(found):
    return replace(full(), id=found.id)


def _huge(file):
    del file["impairments/gain"]
    file.create_dataset("impairments/gain", shape=(2**33,), dtype="c16", chunks=(1024,), compression="gzip")


def _external(file):
    del file["impairments/gain"]
    file.create_dataset("impairments/gain", shape=(M,), dtype="c16", external=[("/etc/hostname", 0, 80)])


def _link(file):
    del file["settings"]
    file["settings"] = h5py.ExternalLink("/etc/hostname", "/x")


def _newer(file):
    file.attrs["schema"] = 99


def _text(file):
    del file["sigma/delay_s"]
    file["sigma/delay_s"] = "soon"


def _missing(file):
    del file["impairments/coupling"]


def _not_finite(file):
    file["impairments/gain"][0] = np.nan


def _shape(file):
    del file["impairments/delay_s"]
    file["impairments/delay_s"] = np.zeros(M + 1)


def _format(file):
    file.attrs["format"] = "something else"


def _deep(file):
    del file["settings"]
    file["settings"] = "[" * 100_000


@pytest.mark.parametrize(
    "change", [_huge, _external, _link, _newer, _text, _missing, _not_finite, _shape, _format, _deep]
)
def test_hostile_hdf5_is_refused(tmp_path, change):
    path = as_foreign(tmp_path / "f.h5", full(), change)
    with pytest.raises(CalibrationError):
        store.load(path)


def test_a_file_changed_after_saving_is_damaged(tmp_path):
    store.save(full(), tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5", "r+") as file:
        file.attrs["fc_hz"] = 1.0
    with pytest.raises(CalibrationError, match="damaged"):
        store.load(tmp_path / "c.h5")


def mutate(data, rng, others):
    """Bit flips, truncation, splices with another file, overwritten runs, insertions."""
    data = bytearray(data)
    kind = rng.randrange(6)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 2, 16])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[rng.randrange(len(data)) :]
    elif kind == 2:
        at = rng.randrange(len(data))
        data[at:] = rng.choice(others)[at:]
    elif kind == 3:
        at = rng.randrange(len(data))
        data[at : at + 64] = rng.choice([b"\xff", b"\0"]) * rng.randrange(1, 65)
    elif kind == 4:
        at = rng.randrange(len(data))
        data[at:at] = rng.randbytes(rng.randrange(1, 40))
    else:
        a, b = rng.randrange(len(data)), rng.randrange(len(data))
        data[a : a + 32], data[b : b + 32] = data[b : b + 32], data[a : a + 32]
    return bytes(data)


def fuzz(n, seed):
    """(loaded, refused) of n mutated files; anything but CalibrationError escapes."""
    rng = random.Random(seed)
    good = [store.to_bytes(full(seed=k)) for k in range(3)]
    loaded = refused = 0
    codes = set()
    for _ in range(n):
        data = mutate(rng.choice(good), rng, good)
        try:
            store.from_bytes(data)
            loaded += 1
            assert data in good, "a changed file was taken for whole"
        except CalibrationError as err:
            codes.add(err.exit_code)
            refused += 1
    assert codes == {2}
    return loaded, refused


def test_mutated_files_are_refused():
    loaded, refused = fuzz(500, 1)
    assert refused > 400
    assert loaded + refused == 500


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_mutated_files_are_refused():
    loaded, refused = fuzz(20_000, 2)
    assert loaded + refused == 20_000


def forge(data):
    """The file with a checksum that is right for what it holds now."""
    head, _, rest = data.partition(b"sha256 ")
    rest = rest[65:]
    head = re.sub(rb"bytes \d+", b"bytes %010d" % (len(head) + 72 + len(rest)), head)
    return head + b"sha256 %s\n" % hashlib.sha256(rest).hexdigest().encode() + rest


def test_forged_checksums_do_no_harm_either():
    rng = random.Random(7)
    good = [store.to_bytes(full(seed=k)) for k in range(2)]
    assert forge(good[0]) == good[0]
    outcomes = {"loaded": 0, "refused": 0}
    for _ in range(500):
        try:
            store.from_bytes(forge(mutate(good[0], rng, good)))
            outcomes["loaded"] += 1
        except CalibrationError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, "changes of the HDF5 part do not matter to us, those of the JSON do"


def fuzz_foreign(folder, n, seed):
    """Mutated files without user block: each is parsed by libhdf5, in its process."""
    rng = random.Random(seed)
    good = [as_foreign(folder / f"f{k}.h5", full(seed=k)).read_bytes() for k in range(2)]
    loaded = refused = 0
    for _ in range(n):
        data = mutate(rng.choice(good), rng, good)
        try:
            store.from_bytes(data)
            loaded += 1
        except CalibrationError:
            refused += 1
    return loaded, refused


def test_mutated_foreign_files_do_no_harm(tmp_path):
    loaded, refused = fuzz_foreign(tmp_path, 5, 3)
    assert loaded + refused == 5


def test_mutated_json_is_refused_or_valid():
    rng = random.Random(4)
    good = [json_file.encode(full(seed=k)) for k in range(2)]
    outcomes = set()
    for _ in range(400):
        try:
            json_file.decode(mutate(good[0], rng, good), "x")
            outcomes.add("loaded")
        except CalibrationError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.parametrize("calibration", [full(), minimal()])
def test_json_exports_follow_the_published_schema(calibration):
    schema = json.loads(
        resources.files("hil").joinpath("schema", "hil-calibration.schema.json").read_text("utf-8")
    )
    jsonschema.Draft202012Validator.check_schema(schema)
    value = json.loads(json_file.encode(calibration))
    jsonschema.validate(value, schema)
    value["impairments"]["gain"][0] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, schema)


def test_loading_needs_no_torch_and_no_gui():
    root = str(Path(__file__).resolve().parents[2])
    code = f"import sys; sys.path.insert(0, {root!r}); import hil.store, hil.recorder; print(sorted({{'torch', 'PySide6', 'h5py'}} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert shutil.which(sys.executable)
