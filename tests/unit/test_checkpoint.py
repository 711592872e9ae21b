"""Files of networks: what was written is read back, and no other file does harm."""

from __future__ import annotations

import errno
import json
import os
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calib import checkpoint
from calib.checkpoint import read_checkpoint, write_checkpoint
from hil.core.errors import ConfigError


def _whole(path: Path) -> Path:
    write_checkpoint(
        path, {"a": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}, {"method": "x", "v": [1]}
    )
    return path


def _forged(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    tensors, card = read_checkpoint(_whole(tmp_path / "f"))
    assert card == {"method": "x", "v": [1]}
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3))
    assert int(tensors["n"]) == 3
    from safetensors import safe_open

    with safe_open(tmp_path / "f", "pt") as file:  # for every program that reads safetensors
        assert sorted(file.keys()) == ["a", "n"]
        assert json.loads(file.metadata()["card"])["method"] == "x"


_META = {"format": checkpoint.FORMAT, "card": "{}"}
FORGED: dict[str, tuple[Any, bytes]] = {
    "no header": (b"", b""),
    "not JSON": (b"{]", b""),
    "a list": ([1], b""),
    "deep": (b"[" * 100_000, b""),
    "foreign": ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "card not JSON": ({"__metadata__": _META | {"card": "{"}}, b""),
    "huge shape": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 4]}}, b"\0" * 4),
    "overflowing shape": (
        {"__metadata__": _META, "a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 0]}}, b""),
    "negative": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}, b""),
    "true": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"\0" * 4),
    "many axes": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [1] * 99, "data_offsets": [0, 4]}}, b"\0" * 4),
    "unknown type": ({"__metadata__": _META, "a": {"dtype": "F3", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "overlap": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                 "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "longer": ({"__metadata__": _META}, b"\0" * 4),
    "not a number": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
                     struct.pack("<f", np.nan)),
    "infinite": ({"__metadata__": _META, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
                 struct.pack("<f", np.inf)),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_forged_files_are_one_line(name: str, tmp_path: Path) -> None:
    path = _forged(tmp_path / "f", *FORGED[name])
    with pytest.raises(ConfigError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_header_length_beyond_the_file_asks_for_no_memory(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for length in (1 << 62, (1 << 64) - 1, 1 << 30, 9):
        (tmp_path / "f").write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(ConfigError, match="not a file of a trained network"):
            read_checkpoint(tmp_path / "f")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_any_damage_is_one_line_or_still_a_network(tmp_path: Path) -> None:
    data = _whole(tmp_path / "f").read_bytes()
    rng = np.random.default_rng(0)
    for k in range(200):
        broken = bytearray(data)
        if k % 3 == 0:
            broken = broken[: int(rng.integers(0, len(data)))]
        else:
            for place in rng.integers(0, len(data), 3):
                broken[place] ^= int(rng.integers(1, 256))
        (tmp_path / "g").write_bytes(broken)
        try:
            read_checkpoint(tmp_path / "g")
        except ConfigError as err:
            assert "\n" not in str(err)  # noqa: PT017 - either outcome is right


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(checkpoint.MAX_FILE_BYTES + 1)
    for name in ("none", "fifo", "empty", "huge", ".", "nul\0"):
        with pytest.raises(ConfigError) as caught:
            read_checkpoint(f"{tmp_path}/{name}")
        assert "\n" not in str(caught.value)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _whole(tmp_path / "f")
    old = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_checkpoint(path, {"a": torch.zeros(3)}, {})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_checkpoint(tmp_path / "no" / "f", {"a": torch.zeros(3)}, {})
