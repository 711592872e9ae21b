"""Waveform files: TOML (settings only) and SigMF (samples and settings)."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from hil.core.errors import ConfigError, ShapeError
from hil.core.waveform_ofdm import make_ofdm
from hil.core.waveform_settings import SCHEMA, checked
from hil.core.waveform_srs import make_srs
from hil.core.waveform_tones import make_chirp, make_cw
from hil.core.waveform_types import MAX_SAMPLES, SAMPLE_STEP, Waveform

_MAKERS: dict[str, Callable[[dict[str, Any]], Waveform]] = {
    "ofdm": make_ofdm,
    "srs": make_srs,
    "cw": make_cw,
    "chirp": make_chirp,
}
_KEY = "hil:waveform"
_MAX_TOML_BYTES = 1 << 16
_MAX_META_BYTES = 1 << 20
_NAMES = "end it in .toml (settings) or .sigmf-meta (samples and settings)"


def make(kind: str, settings: Mapping[str, Any], where: str = "") -> Waveform:
    """The waveform of a kind ("ofdm", "srs", "cw", "chirp") from its settings; missing ones take their default.

    Raises
    ------
    ConfigError : an unknown kind or key, or a value that is not possible; `where` names the file.
    """
    values = checked(kind, settings, where)
    try:
        return _MAKERS[kind](values)
    except (ConfigError, ShapeError) as err:
        if not where:
            raise
        raise ConfigError(str(err), where=where, hint=err.hint) from err


def load_waveform(path: str | os.PathLike[str]) -> Waveform:
    """Read a waveform: TOML, or SigMF with one channel of ci16_le or cf32_le, ours or foreign (kind "file").

    Samples of our SigMF files are compared with what their settings make.

    Raises
    ------
    ConfigError : a file that is missing, damaged, hostile or not a waveform, and an unknown key.
    """
    file = Path(path)
    if file.suffix == ".toml":
        text = _read(file, _MAX_TOML_BYTES)
        try:
            data = tomllib.loads(text.decode("utf-8"))
        except (ValueError, RecursionError) as err:
            raise ConfigError(f"not valid TOML: {err}", where=str(file), hint="see hil waveform new") from err
        return _from_table(data, str(file))
    if file.suffix == ".sigmf-meta":
        return _load_sigmf(file)
    raise ConfigError("not the name of a waveform", where=str(file), hint=_NAMES)


def _from_table(data: Any, where: str) -> Waveform:
    """A waveform from {schema, kind, settings...}."""
    if not isinstance(data, dict):
        raise ConfigError("must be a table", where=where)
    left: dict[str, Any] = dict(cast("dict[str, Any]", data))
    schema, kind = left.pop("schema", None), left.pop("kind", None)
    if schema is None:
        raise ConfigError(
            "not a waveform: schema is missing",
            where=where,
            hint='a waveform begins with schema = 1 and kind = "ofdm" (or srs, cw, chirp)',
        )
    if schema is True or schema != SCHEMA:
        raise ConfigError(
            f"schema {str(schema)[:20]} is not {SCHEMA}", where=where, hint="written by another version?"
        )
    if not isinstance(kind, str):
        raise ConfigError("kind is missing", where=where, hint='for example kind = "ofdm"')
    return make(kind, left, where)


def _load_sigmf(file: Path) -> Waveform:
    where = str(file)
    try:
        meta = json.loads(_read(file, _MAX_META_BYTES).decode("utf-8"))
        fixed = meta["global"]
        kind, rate = fixed["core:datatype"], fixed["core:sample_rate"]
        channels, settings = fixed.get("core:num_channels", 1), fixed.get(_KEY)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise ConfigError(f"not SigMF metadata: {type(err).__name__}: {str(err)[:80]}", where=where) from err
    if kind not in ("ci16_le", "cf32_le") or channels != 1:
        raise ConfigError(
            f"{str(kind)[:20]} with {str(channels)[:20]} channels is not a waveform",
            where=where,
            hint="one channel of ci16_le or cf32_le",
        )
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1e12:
        raise ConfigError(f"core:sample_rate {str(rate)[:20]!r} is not a rate", where=where)
    wire = np.dtype("<i2" if kind == "ci16_le" else "<f4")
    raw = _read(file.with_suffix(".sigmf-data"), MAX_SAMPLES * 2 * wire.itemsize)
    if len(raw) == 0 or len(raw) % (2 * wire.itemsize):
        raise ConfigError(f"{len(raw)} bytes are not whole samples of {kind}", where=where)
    pairs = np.frombuffer(raw, wire).reshape(-1, 2).astype(np.float32)
    if kind == "ci16_le":
        pairs = pairs * np.float32(SAMPLE_STEP)
    samples = np.ascontiguousarray(pairs).view(np.complex64)[:, 0]
    if settings is None:
        try:
            return Waveform("file", float(rate), samples, None, {"file": file.name})
        except ShapeError as err:
            raise ConfigError(str(err), where=where, hint="scale it under full scale") from err
    made = _from_table(settings, f"{where}: {_KEY}")
    if made.fs_hz != rate or not np.array_equal(made.samples, samples):
        raise ConfigError(
            "the samples are not those of the settings",
            where=where,
            hint="write the file again with hil waveform new",
        )
    return made


def save_waveform(waveform: Waveform, path: str | os.PathLike[str]) -> None:
    """Write a waveform: .toml holds the settings, .sigmf-meta also the samples (exact) beside it.

    Raises
    ------
    ConfigError : another ending, kind "file" as TOML, or a file that cannot be written.
    """
    file = Path(path)
    if file.suffix not in (".toml", ".sigmf-meta") or not file.stem:
        raise ConfigError("not the name of a waveform", where=str(file), hint=_NAMES)
    table = {"schema": SCHEMA, "kind": waveform.kind}
    table |= {key: value for key, value in waveform.settings.items() if value is not None}
    if file.suffix == ".toml":
        if waveform.kind == "file":
            raise ConfigError("samples of a file have no settings", where=str(file), hint="use .sigmf-meta")
        lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        text = "# Waveform; every key has a default: hil waveform new --help\n" + "\n".join(lines) + "\n"
        _write(file, text.encode())
        return
    pairs = np.ascontiguousarray(waveform.samples).view(np.float32).astype(np.float64) / SAMPLE_STEP
    exact = bool(np.all(pairs == np.rint(pairs)) and np.max(pairs) <= 32767)
    wire = pairs.astype("<i2") if exact else waveform.samples.view(np.float32).astype("<f4")
    fixed: dict[str, Any] = {
        "core:datatype": "ci16_le" if exact else "cf32_le",
        "core:version": "1.2.5",
        "core:sample_rate": waveform.fs_hz,
        "core:num_channels": 1,
        "core:description": f"one period of a waveform ({waveform.kind}), to be sent cyclically",
        "core:extensions": [{"name": "hil", "version": "1.0.0", "optional": True}],
    }
    if waveform.kind != "file":
        fixed[_KEY] = table
    meta = {"global": fixed, "captures": [{"core:sample_start": 0}], "annotations": []}
    _write(file.with_suffix(".sigmf-data"), wire.tobytes())
    _write(file, (json.dumps(meta, indent=2) + "\n").encode())


def _read(file: Path, limit: int) -> bytes:
    """The bytes of a regular file, at most `limit`."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ConfigError("not a regular file", where=str(file))
            data = opened.read(limit + 1)
    except (OSError, ValueError) as err:
        words = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise ConfigError(f"cannot read: {words}", where=str(file)) from err
    if len(data) > limit:
        raise ConfigError(f"more than {limit} bytes", where=str(file), hint="is it a waveform?")
    return data


def _write(file: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(data)
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except (OSError, ValueError) as err:
        words = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        raise ConfigError(f"cannot write: {words}", where=str(file)) from err


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
