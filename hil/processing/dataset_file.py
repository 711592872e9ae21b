"""Layout of a training set in HDF5, and its check: what is not exactly this is refused before it is used.

    /                    attributes: format, schema, what the numbers mean, carrier, rate, how it was split
    /positions_m         (M, 3) elements that the data belong to, after a correction the learned ones
    /campaigns /runs /epochs /epoch_calibration     names, for the numbers in /points
    /points/...          (P,) one entry a table point: angle_deg (P, K), angle_sigma_deg, split (0 train, 1 val, 2 test,
                         3 left out), campaign, run, epoch, index, set_deg, table_deg, table_error_deg, snr_db, t_utc_ns
    /KIND/data           (R, M, M), (R, M, N) or (R, M, S): covariances, snapshots, csi
    /KIND/point          (R,) row of /points; /KIND/first_row (P + 1,): rows of point p are first_row[p] .. first_row[p+1]
    /KIND/first_sample   (R,) in the original stream; csi also /csi/symbols (R,) and /csi/frequency_hz (S,)

Rows are stored uncompressed in chunks of about 1 MB, so that any part is read without the rest.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError

FORMAT, SCHEMA = "hil-dataset", 1
KINDS = ("covariances", "snapshots", "csi")
TEXT = np.dtype("S256")
DATA_DTYPE = {"covariances": np.complex128, "snapshots": np.complex64, "csi": np.complex64}
#: name -> (dtype, unit, about); (P,) except angle_deg (P, K).
POINT_FIELDS: dict[str, tuple[Any, str, str]] = {
    "angle_deg": (
        np.float64,
        "degrees",
        "direction of each emitter relative to the array, from the table's read-back",
    ),
    "angle_sigma_deg": (np.float64, "degrees", "standard deviation of angle_deg by the table"),
    "split": (np.uint8, "1", "0 train, 1 val, 2 test, 3 left out"),
    "campaign": (np.int32, "1", "row of /campaigns"),
    "run": (np.int32, "1", "row of /runs"),
    "epoch": (np.int32, "1", "row of /epochs"),
    "index": (np.int32, "1", "of the point in its campaign"),
    "set_deg": (np.float64, "degrees", "asked of the table"),
    "table_deg": (np.float64, "degrees", "the table's read-back, clockwise seen from above"),
    "table_error_deg": (np.float64, "degrees", "of the read-back"),
    "snr_db": (np.float64, "dB", "over all channels, NaN: not known"),
    "t_utc_ns": (np.int64, "ns", "since 1970, when the point was finished"),
}
NUMBERS = ("fc_hz", "fs_hz", "seed", "val", "test")
TEXTS = ("split_by", "version", "created_utc", "angle_convention", "stale_reason")
_MOST_POINTS, _MOST_ELEMENTS, _MOST_TEXT = 1 << 20, 256, 4096


def open_checked(path: Path) -> Any:
    """The file as an h5py.File, every object in it as described above.

    Raises ConfigError: one line that says what is wrong. OSError, and whatever libhdf5 makes of a damaged file.
    """
    import h5py

    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise ConfigError("is not a plain file")
    file = h5py.File(path, "r", rdcc_nbytes=4 << 20)
    try:
        _check(file, info.st_size)
    except BaseException:
        file.close()
        raise
    return file


def _check(file: Any, n_bytes: int) -> None:
    attributes = {name: file.attrs[name] for name in file.attrs if len(name) < 64}
    if attributes.get("format") != FORMAT:
        raise ConfigError("is not a data set", hint="hil campaign dataset makes one")
    if attributes.get("schema") != SCHEMA:
        raise ConfigError("was made by another version of the program", hint="make it again, or update")
    for name in NUMBERS:
        if not np.isscalar(attributes.get(name)) or not np.isfinite(float(attributes[name])):
            raise ConfigError(f"damaged: {name} is not a number")
    for name in TEXTS:
        text = attributes.get(name)
        if not isinstance(text, str) or len(text) > _MOST_TEXT:
            raise ConfigError(f"damaged: {name} is not a text")
    kinds = [kind for kind in KINDS if kind in file]
    if not kinds:
        raise ConfigError("damaged: holds no rows")
    named = {"positions_m", "campaigns", "runs", "epochs", "epoch_calibration", "points", *kinds}
    m = len(_array(file, "positions_m", np.float64, (None, 3), n_bytes, _MOST_ELEMENTS))
    for name in ("campaigns", "runs", "epochs", "epoch_calibration"):
        _array(file, name, TEXT, (None,), n_bytes, _MOST_POINTS)
    points = _group(file, "points", set(POINT_FIELDS))
    p, k = _array(points, "angle_deg", np.float64, (None, None), n_bytes, _MOST_POINTS).shape
    if not 1 <= k <= _MOST_ELEMENTS:
        raise ConfigError(f"damaged: {k} angles a point")
    for name, (dtype, _, _) in POINT_FIELDS.items():
        if name != "angle_deg":
            _array(points, name, dtype, (p,), n_bytes, _MOST_POINTS)
    for kind in kinds:
        names = {"data", "point", "first_row", "first_sample"} | (
            {"symbols", "frequency_hz"} if kind == "csi" else set()
        )
        _check_kind(_group(file, kind, names), kind, m, p, n_bytes)
    if set(file) != named:
        raise ConfigError(f"damaged: {sorted(set(file) ^ named)[0][:40]!r} does not belong there")


def _check_kind(group: Any, kind: str, m: int, p: int, n_bytes: int) -> None:
    last = m if kind == "covariances" else None
    r, _, width = _array(group, "data", DATA_DTYPE[kind], (None, m, last), n_bytes, 1 << 40).shape
    edges = _array(group, "first_row", np.int64, (p + 1,), n_bytes, _MOST_POINTS + 1)[()]
    if edges[0] != 0 or edges[-1] != r or np.any(np.diff(edges) < 0):
        raise ConfigError(f"damaged: the rows of {kind} do not fit its points")
    _array(group, "point", np.int32, (r,), n_bytes, 1 << 40)
    _array(group, "first_sample", np.int64, (r,), n_bytes, 1 << 40)
    if kind == "csi":
        _array(group, "symbols", np.int64, (r,), n_bytes, 1 << 40)
        _array(group, "frequency_hz", np.float64, (width,), n_bytes, 1 << 24)


def _group(parent: Any, name: str, names: set[str]) -> Any:
    import h5py

    if not isinstance(parent.get(name, getlink=True), h5py.HardLink) or not isinstance(
        parent[name], h5py.Group
    ):
        raise ConfigError(f"damaged: {name} is not a group")
    if set(parent[name]) != names:
        raise ConfigError(f"damaged: {name} holds other things than it should")
    return parent[name]


def _array(parent: Any, name: str, dtype: Any, shape: tuple[int | None, ...], n_bytes: int, most: int) -> Any:
    """A data set that is plainly in this file, whole. Raises ConfigError."""
    import h5py

    if not isinstance(parent.get(name, getlink=True), h5py.HardLink) or not isinstance(
        parent[name], h5py.Dataset
    ):
        raise ConfigError(f"damaged: {name} is missing")
    data = parent[name]
    if data.dtype != np.dtype(dtype) or data.ndim != len(shape):
        raise ConfigError(f"damaged: {name} is {data.dtype} with {data.ndim} axes")
    if any(want is not None and have != want for have, want in zip(data.shape, shape, strict=True)):
        raise ConfigError(f"damaged: {name} has shape {data.shape}")
    if data.size == 0 or data.shape[0] > most:
        raise ConfigError(f"damaged: {name} has {data.shape[0]} rows")
    plist = data.id.get_create_plist()
    if data.is_virtual or data.external or plist.get_nfilters():
        raise ConfigError(f"{name} is not stored plainly in the file")
    if not data.nbytes <= data.id.get_storage_size() <= n_bytes:
        raise ConfigError(f"damaged: {name} says that it holds more than it does")
    return data


def _walk(data: Any, n_bytes: int) -> None:
    """Visit the whole index of the chunks, and read the outermost rows. Raises ConfigError."""
    outside: list[int] = []

    def visit(chunk: Any) -> None:
        if chunk.byte_offset + chunk.size > n_bytes:
            outside.append(chunk.byte_offset)

    data.id.chunk_iter(visit)
    if outside:
        raise ConfigError("damaged: it points beyond its end")
    for row in (0, -1):
        data[row]


def names_of(values: NDArray[Any]) -> list[str]:
    """Stored names as texts."""
    return [bytes(v).decode("utf-8", "replace") for v in values]


def main() -> None:
    """Entry point of the process that tries a file: arguments file, bytes of address space, seconds of CPU."""
    import json
    import sys

    try:
        import resource

        for limit, most in ((resource.RLIMIT_AS, int(sys.argv[2])), (resource.RLIMIT_CPU, int(sys.argv[3]))):
            resource.setrlimit(limit, (most, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:
        pass
    answer: dict[str, str] = {}
    try:
        with open_checked(Path(sys.argv[1])) as file:
            for kind in KINDS:
                if kind in file:
                    _walk(file[kind]["data"], Path(sys.argv[1]).stat().st_size)
    except ConfigError as err:
        answer = {"error": str(err), "hint": err.hint}
    except MemoryError:
        answer = {"error": "needs too much memory"}
    except Exception as err:  # noqa: BLE001 - whatever a damaged file makes of the library
        words = os.strerror(err.errno) if isinstance(err, OSError) and err.errno else "HDF5 cannot read it"
        answer = {"error": words}
    sys.stdout.write(json.dumps(answer))
