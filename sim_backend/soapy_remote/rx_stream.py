"""Receive stream: a thread that sends the scene's samples as the device's sample clock makes them ready.

The device has a FIFO of FIFO_S. A client that does not keep up leaves it full: the samples that follow are lost,
what is in the FIFO is still delivered, then an OVERFLOW datagram with the time of the first lost sample, and the
stream goes on with what the ADC converts then. Free-running nothing is lost: the client's window holds it back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import HilError
from sim_backend.soapy_remote.board import RadioBoard
from sim_backend.soapy_remote.datagram import END_BURST, HAS_TIME, HEADER, Layout, control
from sim_backend.soapy_remote.errors import NOT_SUPPORTED, OVERFLOW, TIME_ERROR, LinkClosed
from sim_backend.soapy_remote.link import StreamLink

FIFO_S = 0.5
_BATCH_BYTES = 2 << 20
_BATCH_SAMPLES = 1 << 17
#: Samples are sent in pieces of this length where several datagrams fit: fewer wake-ups at low rates.
_PIECE_S = 2e-3
_POLL_S = 0.05
_WARNING = 4
_log = logging.getLogger(__name__)


class Losses(Protocol):
    """Says where the device loses samples by itself, and when it hangs."""

    def lost_at(self, first: int, n: int) -> tuple[int, int] | None:
        """(sample at which a loss begins, samples lost) within first..first+n, or None."""
        ...

    def dropped(self, first: int, n: int) -> int:
        """How many blocks from that of first..first+n on vanish without a word; 0: none."""
        ...

    def report(self, kind: str, at: int, **details: int) -> None:
        """A loss of this kind begins with scene sample `at`."""
        ...

    def blocked(self) -> bool:
        """True while the device sends nothing."""
        ...

    def latency_s(self) -> float:
        """Seconds by which samples are held back."""
        ...


class RxStream:
    """Samples of `channels` [(board, its channel)] to one client. Its methods may be called from any thread.

    Parameters
    ----------
    clock : the board whose clock stamps the samples. owner : for whom the receivers were claimed. start_offset() : samples between activation and the first sample, where no clock runs by itself.
    bits : of the converter. log(level, text) : to clients that forward logs.
    """

    def __init__(
        self,
        clock: RadioBoard,
        channels: list[tuple[RadioBoard, int]],
        layout: Layout,
        bits: int,
        link: StreamLink,
        owner: object,
        *,
        free_running: bool,
        losses: Losses | None = None,
        start_offset: Callable[[], int] = lambda: 0,
        log: Callable[[int, str], None] = lambda _level, _text: None,
    ) -> None:
        self.boards = list(dict.fromkeys(board for board, _ in channels))
        self._channels, self._layout, self._bits, self._link = channels, layout, bits, link
        self._free_running, self._losses, self._log = free_running, losses, log
        self._owner, self._start_offset = owner, start_offset
        self._clock = clock
        self._cond = threading.Condition()
        self._ended = threading.Event()
        self._next: int | None = None  # scene sample to send next; None: not active
        self._left: int | None = None  # samples left of a burst
        self._full_at: int | None = None  # first sample that the full FIFO lost
        self._thread = threading.Thread(target=self._run, name="soapy-rx", daemon=True)

    def start(self) -> None:
        """Answer what a client asks first, and wait for activation."""
        for board in self.boards:
            board.followers.append(self)
        self._link.status(NOT_SUPPORTED)
        self._thread.start()

    # -- control -----------------------------------------------------------------------------------------------
    def activate(self, flags: int, time_ns: int, n_elems: int) -> int:
        """Begin to send, at a time if HAS_TIME is set; n_elems samples if END_BURST is. 0 or a SoapySDR code."""
        with self._cond:
            now = self._clock.now()
            if flags & HAS_TIME:
                first = self._clock.sample_at(time_ns)
                if not self._clock.is_ahead(time_ns):
                    return TIME_ERROR
            elif self._next is not None and not flags & END_BURST:
                return 0
            else:
                first = now + (self._start_offset() if self._free_running else 0)
            if flags & END_BURST and n_elems <= 0:
                return NOT_SUPPORTED
            self._next, self._full_at = first, None
            self._left = n_elems if flags & END_BURST else None
            for board in self.boards:
                board.note("open", first, device_time_ns=board.time_ns(first))
            self._cond.notify_all()
        return 0

    def deactivate(self) -> int:
        """Stop sending. What the client has not read yet stays in its socket."""
        with self._cond:
            if self._next is not None:
                for board in self.boards:
                    board.note("close", self._next)
            self._next = None
            self._cond.notify_all()
        return 0

    @contextmanager
    def rate_change(self) -> Iterator[None]:
        """Around a change of the sample rate: nothing is read meanwhile, and the stream goes on with now."""
        with self._cond:
            now = self._clock.now()
            waits = None if self._next is None or self._next <= now else self._clock.time_ns(self._next)
            yield
            if self._next is not None:
                self._next = self._clock.now() if waits is None else self._clock.sample_at(waits)
                self._full_at = None

    def close(self, *, poison: bool) -> None:
        """End the thread and the stream; the sockets stay open until `dispose`. Idempotent."""
        self._ended.set()
        self.deactivate()
        if self._thread.is_alive():
            self._thread.join(5.0)
        for board in self.boards:
            board.release(self._owner)
            if self in board.followers:
                board.followers.remove(self)
        self._link.finish(poison=poison, timeout_s=0.5)

    def dispose(self, wait_s: float = 1.0, *, first: bool = False) -> None:
        """Release the sockets once the client has closed its own (see StreamLink.close), or after `wait_s`."""
        self._link.close(wait_s, first=first)

    # -- the thread --------------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                if not self._link.push(_POLL_S):
                    self._when_stuck()
                    continue
                self._turn()
        except LinkClosed:
            return
        except HilError as err:
            self._log(_WARNING, f"stream ended: {err}")
            _log.warning("stream ended: %s", err)
        except Exception:  # noqa: BLE001 - the top of a thread: one stream must not stop the others
            _log.exception("stream ended by an error")
        finally:
            for board in self.boards:
                board.release(self._owner)

    def _when_stuck(self) -> None:
        """The client does not read: time passes, and what was queued for a stopped stream is dropped."""
        with self._cond:
            if self._next is None:
                self._link.cut()
            else:
                self._account()

    def _turn(self) -> None:
        credit = self._link.credit()
        wait: Callable[[], object] | None = None
        with self._cond:
            if self._next is None:
                self._cond.wait(_POLL_S)
                return
            self._account()
            if self._losses is not None and self._losses.blocked():
                wait = lambda: self._ended.wait(0.01)  # noqa: E731
            elif credit == 0:
                wait = lambda: self._link.wait_ack(_POLL_S)  # noqa: E731
            else:
                target = self._send(credit)
                if target is not None:
                    wait = lambda: self._clock.source.wait_until(self._clock.index, target, _POLL_S)  # noqa: E731
        if wait is not None:
            wait()

    def _account(self) -> None:
        """Note that the FIFO is full, if it is."""
        if self._free_running or self._full_at is not None or self._next is None:
            return
        fs_hz = self._clock.source.fs_hz(self._clock.index)
        depth = max(round(FIFO_S * fs_hz), 4 * self._layout.buff_elems)
        if self._clock.now() - self._late() - self._next > depth:
            self._full_at = self._next + depth

    def _send(self, credit: int) -> int | None:
        """Queue what is ready; else the scene sample to wait for."""
        assert self._next is not None
        elems = self._layout.buff_elems
        if self._full_at is not None and self._next >= self._full_at:
            self._lose(self._full_at, max(self._clock.now() - self._late(), self._full_at))
            self._full_at = None
            return None
        most = min(credit, max(1, _BATCH_BYTES // self._layout.n_bytes(elems))) * elems
        most = max(elems, min(most, max(1, _BATCH_SAMPLES // elems) * elems))
        if self._left is not None:
            most = min(most, self._left)
        end = self._next + most
        if not self._free_running:
            fs_hz = self._clock.source.fs_hz(self._clock.index)
            piece = max(1, int(_PIECE_S * fs_hz) // elems) * elems
            late = self._late()
            ready = self._clock.now() - late if self._full_at is None else self._full_at
            least = self._next + min(most, elems if self._full_at is not None else piece)
            if self._full_at is not None:
                least = min(least, self._full_at)
            if ready < least:
                return least + late
            end = min(end, ready)
        n = end - self._next
        if n != self._left and end != self._full_at:
            n -= n % elems
        if self._losses is None:
            self._queue(self._next, n)
        else:
            self._send_with(self._losses, self._next, n)
        return None

    def _late(self) -> int:
        """Samples by which the network is behind the converter."""
        if self._losses is None:
            return 0
        return round(self._losses.latency_s() * self._clock.source.fs_hz(self._clock.index))

    def _send_with(self, losses: Losses, first: int, n: int) -> None:
        """Queue samples first..first+n up to the first loss among them, and the loss."""
        elems = self._layout.buff_elems
        loss = losses.lost_at(first, n)
        if loss is not None:
            n = loss[0] - first
        vanish = 0
        if n and losses.dropped(first, n):
            starts = range(first, first + n, elems)
            start = next(at for at in starts if losses.dropped(at, min(elems, first + n - at)))
            vanish = losses.dropped(start, min(elems, first + n - start)) * elems
            loss, n = None, start - first
        if n:
            self._queue(first, n)
        if self._next is None:
            return
        if vanish:
            losses.report("drop_blocks", self._next, blocks=vanish // elems, lost_samples=vanish)
            self._next += vanish
        elif loss is not None:
            losses.report("overflow", loss[0], lost_samples=loss[1])
            self._lose(loss[0], loss[0] + loss[1])

    def _lose(self, first: int, resumes: int) -> None:
        """Report the samples first..resumes as lost."""
        time_ns = self._clock.time_ns(first)
        self._link.queue(control(self._link.sequence, OVERFLOW, HAS_TIME, time_ns), HEADER.size)
        for board in self.boards:
            board.note("overflow", first, lost_samples=resumes - first)
        self._log(_WARNING, f"overflow: {resumes - first} samples lost at {time_ns} ns")
        self._next = resumes

    def _queue(self, first: int, n: int) -> None:
        """Make the datagrams of samples first..first+n; the last one may be short."""
        elems = self._layout.buff_elems
        columns = self._columns(first, n)
        whole = n // elems * elems
        self._left = None if self._left is None else self._left - n
        last = END_BURST if self._left == 0 else 0
        for low, high, size in ((0, whole, elems), (whole, n, n - whole)):
            if high == low:
                continue
            times = self._clock.times_ns(first + np.arange(low, high, size, dtype=np.int64))
            data = self._layout.pack(
                [column[low:high] for column in columns],
                self._bits,
                self._link.sequence,
                times,
                last if high == n else 0,
            )
            self._link.queue(data, self._layout.n_bytes(size))
        self._next = None if self._left == 0 else first + n

    def _columns(self, first: int, n: int) -> list[NDArray[np.int16]]:
        """(n, 2) int16 of every channel of the stream."""
        with ExitStack() as stack:
            for board in sorted(self.boards, key=lambda board: board.index):
                stack.enter_context(
                    board.lock
                )  # a setting must not claim to hold for samples that are being made
            blocks = {board: board.source.read(board.index, first, n) for board in self.boards}
        return [
            self._corrected(board, ch, blocks[board][:, 2 * ch : 2 * ch + 2]) for board, ch in self._channels
        ]

    def _corrected(self, board: RadioBoard, channel: int, iq: NDArray[np.int16]) -> NDArray[np.int16]:
        """Apply the device's DC and IQ corrections, if any."""
        dc, balance = board.dc_offset[channel], board.iq_balance[channel]
        if not dc and not balance:
            return iq
        top = float(1 << (self._bits - 1))
        x = iq[:, 0] + 1j * iq[:, 1]
        y = x + balance * np.conj(x) + dc * top
        out = np.rint(np.stack((y.real, y.imag), axis=-1))
        return np.clip(out, -top, top - 1).astype(np.int16)
