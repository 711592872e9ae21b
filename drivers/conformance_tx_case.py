"""A transmitter under test, and what the checks of the transmitters' conformance kit share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.conformance_case import require
from hil.core.device import Transceiver, TxConfig, TxDevice

_SETTLE_S = 5.0


@dataclass(frozen=True, slots=True)
class TxOutside:
    """What somebody sees who does not trust the driver; None: not known.

    Attributes
    ----------
    attenuation_db : of every transmit channel. powered : some LO or channel is powered up.
    sending : samples or tones go out. starts : transmissions begun so far. underflows : so far.
    """

    attenuation_db: tuple[float, ...] | None = None
    powered: bool | None = None
    sending: bool | None = None
    starts: int | None = None
    underflows: int | None = None


@dataclass(frozen=True, slots=True)
class TxCase:
    """A transmitter under test.

    Attributes
    ----------
    name : for messages. open : opens a fresh device that can transmit.
    real_time : samples are consumed at their rate, and a stream that is not fed runs dry.
    look : the state of the hardware by another way than the driver, or None.
    leave_on : does what a crashed program leaves behind: power up, tones on; or None.
    disconnect : cuts the connection of the open device for good, or None if there is none.
    n_reopen : how often the leak check opens and closes.
    """

    name: str
    open: Callable[[], Transceiver]
    real_time: bool = True
    look: Callable[[], TxOutside] | None = None
    leave_on: Callable[[], None] | None = None
    disconnect: Callable[[], None] | None = None
    n_reopen: int = 20


@contextmanager
def opened(case: TxCase) -> Iterator[tuple[Transceiver, TxDevice]]:
    """An opened device and its transmitter."""
    with case.open() as device:
        yield device, device.transmitter()


def tone(n_channels: int, n: int, cycles: int = 7, level: float = 0.5) -> NDArray[np.complex64]:
    """(n_channels, n) whole cycles of a tone, another phase on every channel."""
    phase = 2j * np.pi * (cycles * np.arange(n) / n + np.arange(n_channels)[:, np.newaxis] / 8)
    return (level * np.exp(phase)).astype(np.complex64)


def levels_of(config: TxConfig) -> tuple[float, ...]:
    """Attenuations of a read-back."""
    level = config.attenuation_db
    require(
        isinstance(level, tuple), f"attenuation_db is {level!r} in a read-back, not one value per channel"
    )
    return level if isinstance(level, tuple) else ()


def require_silent(case: TxCase, what: str, *, greatest_db: float) -> None:
    """Seen from outside: no samples, no power, every attenuator closed (within a deadline: closing takes time)."""
    if case.look is None:
        return
    seen = case.look()
    end = time.monotonic() + _SETTLE_S
    while not _silent(seen, greatest_db) and time.monotonic() < end:
        time.sleep(0.02)
        seen = case.look()
    require(_silent(seen, greatest_db), f"{what}: not silent: {seen}")


def _silent(seen: TxOutside, greatest_db: float) -> bool:
    closed = all(level >= greatest_db - 1e-3 for level in seen.attenuation_db or ())
    return closed and not seen.powered and not seen.sending


def require_sending(case: TxCase, what: str) -> TxOutside:
    """Seen from outside: something goes out."""
    if case.look is None:
        return TxOutside()
    seen = case.look()
    end = time.monotonic() + _SETTLE_S
    while seen.sending is False and time.monotonic() < end:
        time.sleep(0.02)
        seen = case.look()
    require(seen.sending is not False and seen.powered is not False, f"{what}: nothing goes out: {seen}")
    return seen
