"""libiio contexts: finding the library, opening a board through pyadi-iio, errors of the wire."""

from __future__ import annotations

import errno
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.iio.board_table import BoardTable, find_board
from drivers.iio.messages import to_logging
from hil.core.errors import (
    ConnectionLost,
    DeviceNotFound,
    DeviceTimeout,
    DriverUnavailable,
    ProtocolError,
)

_APT_HINT = "install the C library: sudo apt-get install -y libiio0 (it is not part of any Python package)"

#: errno values that a server sends as an answer: the connection is still in step after them.
_ANSWERS = frozenset(
    {
        errno.EINVAL, errno.ERANGE, errno.EBUSY, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENODEV,
        errno.ENXIO, errno.EPROTO, errno.ENOSYS, errno.EOPNOTSUPP,
        errno.ENOMEM, 524,  # 524: ENOTSUPP of the kernel
    }
)  # fmt: skip


class AttributeRefused(Exception):
    """The device answered an attribute access with an error; the connection is in step."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def import_iio() -> Any:
    """The `iio` module of pylibiio.

    Raises DriverUnavailable when it or the C library is missing, or when an unrelated module of that name
    is in the way.
    """
    try:
        import iio
    except (ImportError, OSError, AttributeError, TypeError) as err:
        # pylibiio loads the C library at import: a missing one is an OSError or, from ctypes, an AttributeError
        raise DriverUnavailable(f"libiio cannot be loaded: {err}", hint=_APT_HINT) from err
    if not hasattr(iio, "Context"):
        raise DriverUnavailable(
            f"the module iio of this environment ({getattr(iio, '__file__', '?')}) is not pylibiio",
            hint="pip uninstall iio; pip install 'pylibiio>=0.25,<1'",
        )
    to_logging()
    return iio


def import_adi() -> Any:
    """The `adi` module of pyadi-iio. Raises DriverUnavailable."""
    import_iio()
    try:
        import adi
    except (ImportError, OSError, AttributeError) as err:
        raise DriverUnavailable(
            f"pyadi-iio cannot be loaded: {err}", hint="pip install pyadi-iio==0.0.21 'pylibiio>=0.25,<1'"
        ) from err
    return adi


@contextmanager
def wire_errors(uri: str, what: str) -> Iterator[None]:
    """Turn OSError of libiio into AttributeRefused (an answer), ConnectionLost or DeviceTimeout.

    After the latter two the control connection is out of step (a late answer is taken for that to the next
    question): the caller must drop the context.
    """
    try:
        yield
    except OSError as err:
        code = err.errno or 0
        if code in _ANSWERS:
            raise AttributeRefused(code, f"{what}: {err.strerror or err}") from err
        if code == errno.ETIMEDOUT:
            raise DeviceTimeout(f"{uri}: {what}: the device reports a timeout", uri=uri) from err
        raise ConnectionLost(
            f"{uri}: {what}: {err.strerror or err}", uri=uri, hint="check power and cable, then open it again"
        ) from err
    except (KeyError, AttributeError, ValueError, TypeError) as err:
        # pyadi-iio on a context that lacks a channel or attribute, or on an answer that is no number
        raise ProtocolError(f"{uri}: {what}: unexpected answer ({err})", uri=uri) from err


def probe_board(uri: str) -> tuple[BoardTable, int, dict[str, str]]:
    """Look at a context without keeping it: the board, its number of receivers, the context attributes.

    Raises DeviceNotFound, DriverUnavailable.
    """
    iio = import_iio()
    try:
        context = iio.Context(uri)
    except OSError as err:
        raise DeviceNotFound(
            f"{uri}: no IIO device answers ({err.strerror or err})",
            uri=uri,
            hint="check address, cable and power; hil devices --discover asks the network",
        ) from err
    try:
        names = [d.name for d in context.devices if d.name]
        table = find_board(names, uri)
        scan = [c for c in context.find_device(table.rx_device).channels if c.scan_element and not c.output]
        return table, min(len(scan) // 2, table.max_channels), dict(context.attrs)
    finally:
        del context


def open_board(uri: str, table: BoardTable, n_channels: int) -> Any:
    """The pyadi-iio object of the board, on its own context. Raises DeviceNotFound, DriverUnavailable."""
    name = table.class_by_channels.get(n_channels)
    if name is None:
        raise ProtocolError(
            f"{uri}: {table.model} with {n_channels} receivers, expected {sorted(table.class_by_channels)}",
            uri=uri,
        )
    adi_class = getattr(import_adi(), name)
    try:
        return adi_class(uri=uri)
    except Exception as err:  # pyadi-iio makes a bare Exception of every failure
        raise DeviceNotFound(f"{uri}: pyadi-iio cannot open it: {err}", uri=uri) from err


def release(sdr: Any) -> None:
    """Let go of a pyadi-iio object so that its context is destroyed now, buffers first."""
    sdr.rx_destroy_buffer()
    sdr.tx_destroy_buffer()
    sdr._ctrl = sdr._rxadc = sdr._txdac = None
    sdr.__dict__.clear()
    gc.collect(0)


def _boards_on_this_machine() -> bool:
    """True if Linux shows an IIO device or an Analog Devices USB device."""
    vendors = Path("/sys/bus/usb/devices").glob("*/idVendor")
    if any(v.read_text("ascii", "replace").strip() == "0456" for v in vendors):
        return True
    return any(Path("/sys/bus/iio/devices").glob("iio:device*"))


def list_iio(*, discover: bool = False) -> list[dict[str, Any]]:
    """Boards on USB and this machine's own bus; with `discover` also those that answer mDNS."""
    iio = import_iio()
    if not discover and not _boards_on_this_machine():
        return []  # libiio's scan asks the network too
    try:
        found = dict(iio.scan_contexts())
    except OSError:
        found = {}
    rows = []
    for uri, description in found.items():
        if uri.startswith("ip:") and not discover:
            continue
        row = {"uri": f"iio:{uri}", "driver": "iio", "model": description, "serial": "", "n_channels": None}
        try:
            table, n_channels, attrs = probe_board(uri)
        except (DeviceNotFound, OSError):
            continue
        row |= {
            "model": attrs.get("hw_model", table.model),
            "serial": attrs.get("hw_serial", ""),
            "n_channels": n_channels,
        }
        rows.append(row)
    return rows
