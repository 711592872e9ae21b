"""Registers behind `direct_reg_access`: SPI registers of a chip, or AXI registers of a core at 0x80000000."""

from __future__ import annotations

import errno
from collections.abc import Callable

from sim_backend.iiod.errors import IioError

AXI = 0x80000000
#: Overflow (bit 2) and underflow (bit 0) of the DMA, write 1 to clear.
XFLOW_STATUS = AXI | 0x88
SYNC_CONTROL = AXI | 0x44
SYNC_STATUS = AXI | 0x68
OVERFLOW_BIT, UNDERFLOW_BIT, SYNC_ARM_BIT = 0x4, 0x1, 0x8


class Registers:
    """Registers of one device; unknown ones read 0 and keep what is written.

    `refresh` runs before a read, so that a status bit is up to date.
    """

    def __init__(self, initial: dict[int, int] | None = None) -> None:
        self._values = dict(initial or {})
        self.refresh: Callable[[], None] | None = None
        self.on_sync: Callable[[], None] | None = None
        self.sync_armed: Callable[[], bool] | None = None

    @staticmethod
    def parse(text: str) -> list[int]:
        """Address, or address and value, decimal or 0x hexadecimal."""
        try:
            numbers = [int(word, 16 if word.lower().startswith("0x") else 10) for word in text.split()]
        except ValueError:
            raise IioError(errno.EINVAL) from None
        if len(numbers) not in (1, 2) or any(not 0 <= n <= 0xFFFFFFFF for n in numbers):
            raise IioError(errno.EINVAL)
        return numbers

    @staticmethod
    def check(address: int) -> int:
        """The address if such a register exists: SPI up to 0xFFF, AXI up to 0xFFFC in words."""
        if address & AXI:
            if address & 0x7FFF0003:
                raise IioError(errno.EINVAL)
        elif address > 0xFFF:
            raise IioError(errno.EINVAL)
        return address

    def read(self, address: int) -> int:
        """Value of a register."""
        self.check(address)
        if self.refresh:
            self.refresh()
        if address == SYNC_STATUS and self.sync_armed:
            return int(self.sync_armed())
        return self._values.get(address, 0)

    def write(self, address: int, value: int) -> None:
        """Write a register; the status register is write-1-to-clear."""
        self.check(address)
        if address == XFLOW_STATUS:
            if self.refresh:
                self.refresh()
            self._values[address] = self._values.get(address, 0) & ~value
            return
        if address == SYNC_CONTROL and value & SYNC_ARM_BIT and self.on_sync:
            self.on_sync()
            return
        self._values[address] = value & (0xFFFFFFFF if address & AXI else 0xFF)

    def set_bits(self, address: int, bits: int) -> None:
        """What the hardware sets by itself."""
        self._values[address] = self._values.get(address, 0) | bits
