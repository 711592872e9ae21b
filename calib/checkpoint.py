"""One file for trained weights and all that is needed to use them: safetensors, its header holding a card in JSON.

The header is read and checked here before a tensor is made of it: a forged file cannot ask for more memory than it is long.
"""

from __future__ import annotations

import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

FORMAT = "hil-network-1"
MAX_FILE_BYTES = 1 << 30
_MAX_HEADER_BYTES = 8 << 20
_MAX_TENSORS = 4096
_MAX_AXES = 8
_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "C64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_AGAIN = "hil train makes such files; train it again, or restore the file from a backup"


def write_checkpoint(
    path: str | os.PathLike[str], tensors: dict[str, torch.Tensor], card: dict[str, Any]
) -> None:
    """Replace the file at once, flushed to the disk: an interruption or a full disk leaves the old one.

    card : what JSON can hold. Raises ConfigError: it cannot be written, or a weight is not a number, which could not be read.
    """
    import torch
    from safetensors.torch import save

    file = Path(path)
    kept = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    wrong = [n for n, v in kept.items() if not bool(torch.isfinite(v).all())]
    if wrong:
        raise ConfigError(
            f"{wrong[0]} holds values that are no numbers", where=str(path), hint="train it again"
        )
    data = save(kept, {"format": FORMAT, "card": json.dumps(card)})
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{len(data) >> 20} MB, a network may take {MAX_FILE_BYTES >> 20}", where=str(path))
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{file.name[:100]}.", dir=file.parent)
        with os.fdopen(fd, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(file)
    except BaseException as err:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(err, OSError | ValueError):
            raise
        reason = getattr(err, "strerror", None) or str(err)
        raise ConfigError(
            f"cannot be written: {reason}", where=str(path), hint="check the folder and the free space"
        ) from err


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and card of a file.

    Raises ConfigError : not there, not such a file, damaged, or hostile; one line.
    """
    file = Path(path)
    try:
        info = file.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ConfigError("not a plain file")
        if info.st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{info.st_size >> 20} MB, a network may take {MAX_FILE_BYTES >> 20}")
        with file.open("rb") as stream:
            card = _card(stream.read(8), stream, info.st_size)
            stream.seek(0)
            data = stream.read(info.st_size)
        if len(data) != info.st_size:
            raise ConfigError("ends too early", hint=_AGAIN)
        return _tensors(data), card
    except ConfigError as err:
        raise ConfigError(str(err), where=str(path), hint=err.hint) from err
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or "not a path"
        raise ConfigError(reason, where=str(path), hint="check the file name") from err


def _card(length: bytes, stream: Any, n_bytes: int) -> dict[str, Any]:
    """Of the file's header, all of which is checked against its size."""
    n_header = int.from_bytes(length, "little")
    if len(length) < 8 or not 2 <= n_header <= min(n_bytes - 8, _MAX_HEADER_BYTES):
        raise ConfigError("not a file of a trained network", hint=_AGAIN)
    header = _object(stream.read(n_header), "header")
    told = header.pop("__metadata__", None)
    if not isinstance(told, dict) or told.get("format") != FORMAT or not isinstance(told.get("card"), str):
        raise ConfigError("weights of another program, not a network of hil train", hint=_AGAIN)
    if len(header) > _MAX_TENSORS:
        raise ConfigError(f"damaged: {len(header)} tensors", hint=_AGAIN)
    at = 0
    spans = sorted((_span(name, entry) for name, entry in header.items()), key=lambda span: span)
    for first, last in spans:
        if first != at:
            raise ConfigError("damaged: its tensors do not lie one after the other", hint=_AGAIN)
        at = last
    if at != n_bytes - 8 - n_header:
        raise ConfigError("damaged: it is not as long as its header says", hint=_AGAIN)
    return _object(told["card"].encode(), "card")


def _span(name: str, entry: Any) -> tuple[int, int]:
    """First and last byte of a tensor that is exactly as large as its shape."""
    try:
        shape, (first, last) = entry["shape"], entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, first, last))
        fits = whole and len(shape) <= _MAX_AXES and math.prod(shape) * _BYTES[entry["dtype"]] == last - first
    except (TypeError, KeyError, ValueError):
        fits, first, last = False, 0, 0
    if not fits:
        raise ConfigError(f"damaged: tensor {name[:40]!r} is not as large as its shape", hint=_AGAIN)
    return first, last


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConfigError(f"damaged: its {what} is no JSON object", hint=_AGAIN)
    return value


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as err:
        raise ConfigError("damaged: its tensors cannot be read", hint=_AGAIN) from err
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ConfigError(f"tensor {name[:40]!r} holds values that are not finite", hint=_AGAIN)
    return tensors
