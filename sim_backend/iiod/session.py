"""Commands of one IIOD connection (text protocol 0.x)."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Callable

from hil.core.errors import HilError
from sim_backend.iiod.board import Board
from sim_backend.iiod.errors import HungUp, IioError
from sim_backend.iiod.registers import Registers
from sim_backend.iiod.rx_dma import Block
from sim_backend.iiod.tables import Device
from sim_backend.iiod.wire import ConnectionDone, Wire

#: Longest attribute payload that is read; a longer one cannot be skipped in bounded time: the connection ends.
MAX_WRITE_BYTES = 1 << 20
MAX_READBUF_BYTES = 1 << 31
_DIRECT_REG = "debug/direct_reg_access"
_log = logging.getLogger(__name__)
_HEX = frozenset("0123456789abcdefABCDEF")
_HELP = "PRINT VERSION TIMEOUT READ WRITE GETTRIG SETTRIG SET OPEN CLOSE READBUF WRITEBUF HELP EXIT"


class Session:
    """Serves one connection until it ends.

    `shorten(bytes) -> bytes` may shorten what one READBUF returns (fault injection).
    """

    def __init__(self, board: Board, wire: Wire, shorten: Callable[[int], int] = lambda n: n) -> None:
        self.board, self.wire = board, wire
        self.commands = 0
        self._shorten = shorten
        self._latched: dict[str, int] = {}
        self._rest: dict[str, tuple[memoryview, int]] = {}
        self._handlers: dict[str, Callable[[list[str]], None]] = {
            "VERSION": lambda _: self.wire.send(b"0.24.v0.24  \n"),
            "PRINT": self._print,
            "TIMEOUT": self._timeout,
            "HELP": lambda _: self.wire.send(_HELP.encode() + b"\n"),
            "READ": self._read,
            "WRITE": self._write,
            "GETTRIG": self._trigger,
            "SETTRIG": self._trigger,
            "SET": self._set,
            "OPEN": self._open,
            "CLOSE": self._close,
            "READBUF": self._readbuf,
            "WRITEBUF": self._writebuf,
        }

    def run(self) -> None:
        """Read and answer commands; returns when the connection ended. What was open is closed."""
        try:
            while True:
                fields = self.wire.read_line().split()
                if not fields:
                    continue
                verb = fields[0]
                if verb in ("EXIT", "QUIT", "exit", "quit"):
                    return
                handler = self._handlers.get(verb.upper()) if verb in (verb.upper(), verb.lower()) else None
                try:
                    if handler is None:
                        raise IioError(errno.EINVAL)
                    self.commands += 1
                    handler(fields[1:])
                except IioError as err:
                    self.wire.send_status(-err.errno)
                except HilError as err:  # the scene cannot do what was asked
                    _log.warning("%s: %s", " ".join(fields[:4]), err)
                    self.wire.send_status(-errno.EIO)
        except (ConnectionDone, HungUp):
            return
        finally:
            self.board.forget(self)

    # -- context -----------------------------------------------------------------------------------------------
    def _print(self, fields: list[str]) -> None:
        _expect(not fields)
        self.wire.send(b"%d\n" % len(self.board.xml), self.board.xml, b"\n")

    def _timeout(self, fields: list[str]) -> None:
        _expect(len(fields) == 1)
        self.board.set_timeout(self, _number(fields[0], 0, 1 << 31))
        self.wire.send_status(0)

    def _trigger(self, fields: list[str]) -> None:
        _expect(len(fields) in (1, 2))
        self.board.find(fields[0])
        raise IioError(errno.ENOENT)

    def _set(self, fields: list[str]) -> None:
        _expect(len(fields) == 3 and fields[1].upper() == "BUFFERS_COUNT")
        device = self.board.find(fields[0])
        count = _number(fields[2], 0, 1 << 31)
        buffer = self.board.rx.get(device.id) or self.board.tx.get(device.id)
        if buffer is None:
            raise IioError(errno.EINVAL)
        buffer.set_blocks(count)
        self.wire.send_status(0)

    # -- attributes --------------------------------------------------------------------------------------------
    def _target(self, fields: list[str]) -> tuple[Device, dict[str, str], str | None]:
        """Device, its {attribute: file} of the addressed part, and the attribute or None for all."""
        _expect(bool(fields))
        device = self.board.find(fields[0])
        rest = fields[1:]
        kind = rest[0].upper() if rest and rest[0] in (rest[0].upper(), rest[0].lower()) else ""
        if kind in ("INPUT", "OUTPUT"):
            _expect(len(rest) in (2, 3))
            channel = device.channel(rest[1], output=kind == "OUTPUT")
            if channel is None:
                raise IioError(errno.ENXIO)
            files, rest = channel.attributes, rest[2:]
        elif kind == "DEBUG":
            files, rest = {name: "debug/" + name for name in device.debug_attributes}, rest[1:]
        elif kind == "BUFFER":
            files, rest = {name: "buffer/" + name for name in device.buffer_attributes}, rest[1:]
        else:
            files = {name: name for name in device.attributes}
        _expect(len(rest) <= 1)
        if rest and rest[0] not in files:
            raise IioError(errno.ENOENT)
        return device, files, rest[0] if rest else None

    def _read(self, fields: list[str]) -> None:
        device, files, attribute = self._target(fields)
        if attribute is not None:
            self.wire.send_value(self._read_file(device, files[attribute]))
            return
        blob = bytearray()
        for key in files.values():
            try:
                value = self._read_file(device, key).encode() + b"\0"
            except IioError as err:
                blob += struct.pack(">i", -err.errno)
                continue
            blob += struct.pack(">i", len(value)) + value + bytes(-len(value) % 4)
        self.wire.send(b"%d\n" % len(blob), bytes(blob), b"\n")

    def _read_file(self, device: Device, key: str) -> str:
        if key == _DIRECT_REG:
            with self.board.lock:
                return f"{self.board.registers[device.id].read(self._latched.get(device.id, 0)):#x}"
        return self.board.read(device, key)

    def _write(self, fields: list[str]) -> None:
        _expect(len(fields) >= 2)
        length = _number(fields[-1], 0, 1 << 62)
        if length > MAX_WRITE_BYTES:
            self.wire.send_status(-errno.ENOMEM)
            raise ConnectionDone
        payload = self.wire.read_exact(length)  # before anything can fail: else it would be read as commands
        device, files, attribute = self._target(fields[:-1])
        if attribute is None:
            raise IioError(errno.ENOSYS)
        text = payload.split(b"\0", 1)[0].decode("utf-8", errors="replace").strip()
        self._write_file(device, files[attribute], text)
        self.wire.send_status(length)

    def _write_file(self, device: Device, key: str, text: str) -> None:
        if key != _DIRECT_REG:
            self.board.write(device, key, text)
            return
        numbers = Registers.parse(text)
        registers = self.board.registers[device.id]
        with self.board.lock:
            self._latched[device.id] = registers.check(numbers[0])
            if len(numbers) == 2:
                registers.write(*numbers)

    # -- buffers -----------------------------------------------------------------------------------------------
    def _open(self, fields: list[str]) -> None:
        _expect(len(fields) in (3, 4))
        device = self.board.find(fields[0])
        samples = _number(fields[1], 0, 1 << 31)
        cyclic = len(fields) == 4
        _expect(not cyclic or fields[3].upper() == "CYCLIC")
        words = -(-len(device.channels) // 32)
        _expect(len(fields[2]) == 8 * words and all(digit in _HEX for digit in fields[2]))
        mask = int(fields[2], 16)
        if device.id in self.board.rx:
            _expect(not cyclic)
            self.board.rx[device.id].open(self, samples, mask)
        elif device.id in self.board.tx:
            self.board.tx[device.id].open(self, samples, mask, cyclic=cyclic)
        else:
            raise IioError(errno.EINVAL)
        self._rest.pop(device.id, None)
        self.wire.send_status(0)

    def _close(self, fields: list[str]) -> None:
        _expect(len(fields) == 1)
        device = self.board.find(fields[0])
        buffer = self.board.rx.get(device.id) or self.board.tx.get(device.id)
        if buffer is None:
            raise IioError(errno.ENXIO)
        buffer.close(self)
        self._rest.pop(device.id, None)
        self.wire.send_status(0)

    def _readbuf(self, fields: list[str]) -> None:
        _expect(len(fields) == 2)
        device = self.board.find(fields[0])
        wanted = _number(fields[1], 0, MAX_READBUF_BYTES)
        dma = self.board.rx.get(device.id)
        if dma is None:
            raise IioError(errno.EBADF)
        words = -(-len(device.channels) // 32)
        timeout_s = self.board.timeout_s(self)
        wanted_now = self._shorten(wanted)
        sent = 0
        frame_bytes = dma.frame_bytes(self)
        while wanted_now - sent >= frame_bytes:
            data, mask = self._rest.pop(device.id, None) or _bytes(
                dma.read_block(self, timeout_s, self.wire.hung_up)
            )
            frame_bytes = 2 * mask.bit_count()
            room = (wanted_now - sent) // frame_bytes * frame_bytes
            piece, rest = data[:room], data[room:]
            if len(rest) and not dma.is_shared:  # else dropped, as iiod does: no client may hoard blocks
                self._rest[device.id] = (rest, mask)
            line = f"{mask:0{8 * words}x}\n" if sent == 0 else ""
            self.wire.send(f"{len(piece)}\n{line}".encode(), piece)
            sent += len(piece)
        if sent < wanted or not wanted:
            self.wire.send_status(0)

    def _writebuf(self, fields: list[str]) -> None:
        _expect(len(fields) == 2)
        device = self.board.find(fields[0])
        length = _number(fields[1], 0, MAX_READBUF_BYTES)
        dma = self.board.tx.get(device.id)
        if dma is None:
            raise IioError(errno.EBADF)
        dma.check_write(self, length)
        self.wire.send_status(0)
        payload = self.wire.read_exact(length)
        dma.write(self, payload, self.board.timeout_s(self), self.wire.hung_up)
        self.wire.send_status(length)


def _expect(condition: bool) -> None:
    if not condition:
        raise IioError(errno.EINVAL)


def _number(text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not low <= int(text) <= high:
        raise IioError(errno.EINVAL)
    return int(text)


def _bytes(block: Block) -> tuple[memoryview, int]:
    return memoryview(block.samples.data).cast("B"), block.mask
