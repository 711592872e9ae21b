"""The receive buffer of one board: a thread that only refills, a bounded queue, loss detection."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.board_blocks import WireBlock
from drivers.iio.board import Board
from drivers.iio.context import AttributeRefused, import_iio, wire_errors
from drivers.iio.received import ReceivedSamples
from drivers.rate_watch import RateWatch
from hil.core.errors import (
    ConnectionLost,
    DeviceError,
    DeviceStateError,
    DeviceTimeout,
    ProtocolError,
    UnsupportedSetting,
)

_OVERFLOW_POLL_S = 0.25
_KERNEL_BUFFER_S = 0.3  # at least, and up to a second where the board's memory allows it
_KERNEL_BUFFER_MAX_S = 1.0
_KERNEL_BUFFER_BYTES = 32 * 2**20
_MAX_KERNEL_BLOCKS = 64
_QUEUE_S = 0.5
_GRACE_S = 0.1
_BUSY_S = 2.0
_FETCH_S = 4e-3  # short blocks are fetched so many at once, where that is compiled
_FREE_BYTES = 32 * 2**20  # kept for the next blocks: new pages cost as much as the copy into them
_QUEUE_MAX_BYTES = 256 * 2**20


def kernel_blocks(fs_hz: float, block_samples: int, n_channels: int) -> int:
    """Blocks that the device keeps while nobody reads, 4..64: 1 s of stream if that fits into 32 MiB of the
    board's contiguous memory, else what fits, but not less than 0.3 s."""
    fits_s = _KERNEL_BUFFER_BYTES / (4 * n_channels * fs_hz)
    seconds = max(min(_KERNEL_BUFFER_MAX_S, fits_s), _KERNEL_BUFFER_S)
    return int(min(max(-(-seconds * fs_hz // block_samples), 4), _MAX_KERNEL_BLOCKS))


class BoardStream:
    """Opens the receive buffer and keeps fetching until closed.

    Parameters
    ----------
    board : the board; its settings must not be touched while the stream is open.
    channels : receivers of this board, ascending.
    block_samples : samples per channel of one hardware block.
    link_timeout_s : silence after which the connection counts as lost.
    """

    def __init__(
        self, board: Board, channels: tuple[int, ...], fs_hz: float, block_samples: int, link_timeout_s: float
    ) -> None:
        self._board = board
        self._channels = channels
        self._block = block_samples
        self._fs_hz = fs_hz
        self._link_timeout_s = max(link_timeout_s, 8.0 * block_samples / fs_hz)
        self._kernel_blocks = kernel_blocks(fs_hz, block_samples, len(channels))
        self._watch = (
            RateWatch(fs_hz, self._kernel_blocks * block_samples, board.reports_overflow)
            if not board.free_running
            else None
        )
        self._block_bytes = block_bytes = 4 * len(channels) * block_samples
        self._at_once = max(int(_FETCH_S * fs_hz / block_samples), 1)
        self._queue_samples = block_samples * int(
            max(min(_QUEUE_S * fs_hz // block_samples, _QUEUE_MAX_BYTES // block_bytes), 2)
        )
        self._queue_limit = self._queue_samples
        self._queued = 0
        self._free_blocks = max(_FREE_BYTES // (block_bytes * self._at_once), 4)
        self._ready = threading.Condition()
        self._queue: deque[WireBlock] = deque()
        self._free: list[NDArray[np.int16]] = []
        self._room: NDArray[np.int16] | None = None  # of a reader that waits
        self._landing = False
        self._error: DeviceError | None = None
        self._closing = False
        self._left: int | None = None  # how a fetch ended, to be told after the blocks that came before
        self._doubtful_left = 0
        self._width = 2 * len(channels)  # values per sample on the wire
        self._relaid = False
        self._buffer: Any = None
        self._buffer_lock = threading.Lock()
        self._last_data = self._began = self._next_poll = time.monotonic()
        self._open()
        self._thread = threading.Thread(target=self._run, name=f"iio-rx {board.uri}", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self._device = self._board.rx_device
        wanted = {2 * c + k for c in self._channels for k in (0, 1)}
        scan = [c for c in self._device.channels if c.scan_element and not c.output]
        self._total_channels = len(scan) // 2
        for element in scan:
            element.enabled = element.index in wanted
        try:
            with wire_errors(self._board.uri, "open the receive buffer"):
                self._board.sdr.ctx.set_timeout(int(1000 * self._link_timeout_s))
                self._buffer = self._create_buffer()
                self._received = ReceivedSamples(self._buffer, self._block_bytes, 4 * len(self._channels))
        except DeviceError:
            self._board.drop()
            raise
        except AttributeRefused as err:
            raise self._refused(err) from err
        if self._board.reports_overflow:
            self._board.clear_overflow()

    def _create_buffer(self) -> Any:
        """iio.Buffer; waits a little while the device still closes an earlier one."""
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._device.set_kernel_buffers_count(self._kernel_blocks)
                return import_iio().Buffer(self._device, self._block, False)
            except OSError as err:
                if err.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _refused(self, err: AttributeRefused) -> DeviceError:
        uri = self._board.uri
        if err.code == errno.EBUSY:
            return DeviceStateError(
                f"{uri}: the receive buffer is in use",
                uri=uri,
                hint="another program receives from this board",
            )
        return UnsupportedSetting("block_samples", self._block, f"what its memory holds ({err})", uri=uri)

    # ---- the thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._fetch()
        except DeviceError as err:
            self._fail(err)
        except Exception as err:  # noqa: BLE001 - top of the thread; the reader gets it
            self._fail(ProtocolError(f"{self._board.uri}: {type(err).__name__}: {err}", uri=self._board.uri))
        finally:
            self._destroy_buffer()

    def _destroy_buffer(self) -> None:
        """Destroy the C buffer now, whoever still refers to the object (a traceback does).

        Left to the cycle collector it could go after its context, which crashes the interpreter.
        """
        with self._buffer_lock:
            buffer, self._buffer = self._buffer, None
            if buffer is not None:
                buffer.__del__()
                buffer._buffer = None

    def _fail(self, err: DeviceError) -> None:
        with self._ready:
            self._landing = False
            if not self._closing:
                self._error = err
            self._ready.notify_all()

    def _fetch(self) -> None:
        self._next_poll = time.monotonic() + _OVERFLOW_POLL_S
        while not self._closing:
            began = self._began = time.monotonic()
            try:
                wire = self._arrived()
            except OSError as err:
                if self._closing:
                    return
                self._refill_failed(err, began)
                continue
            now = time.monotonic() if self._left is None else began  # how it ended took its own time
            self._last_data = now
            lost = self._relaid  # a reply that is cut short comes with its rest later; else the watch sees it
            if self._poll_due() and not self._landing:
                self._next_poll = now + _OVERFLOW_POLL_S
                lost |= self._board.poll_overflow(self._device)
            if self._watch is not None:
                if lost:
                    self._watch.forget()
                lost |= self._watch.block_arrived(len(wire), began, now)
            self._put(wire, lost)

    def _arrived(self) -> NDArray[np.int16]:
        """(n, C, 2) of the next block, or of several short ones in one piece where that is compiled. Raises OSError."""
        memory, wanted = self._memory(), 2 * len(self._channels)
        if self._left is None and self._at_once > 1:
            n_blocks, self._left = self._received.fetch(memory, self._at_once)
            if n_blocks:
                self._relaid, self._width = self._width != wanted, wanted
                return memory[: n_blocks * self._block_bytes // 2].reshape(-1, len(self._channels), 2)
        left, self._left = self._left, None
        if left is None:
            self._buffer.refill()
        elif left < 0:
            raise OSError(-left, os.strerror(-left))
        return self._wire(self._readers(memory))

    def _readers(self, memory: NDArray[np.int16]) -> NDArray[np.int16]:
        """In place of `memory` that of a reader that waits for this very block, if there is one."""
        plain = self._received.values_per_sample == 2 * len(self._channels)
        with self._ready:
            room = None if self._queue or not plain or self._poll_due() else self._room
            if room is None or self._received.n_bytes > room.nbytes:
                return memory
            self._free.append(memory)
            self._landing = True
            return room.reshape(-1)

    def _poll_due(self) -> bool:
        """Whether the board is asked for overflows before the next block: now and then, and where a fetch took long."""
        now = time.monotonic()
        return self._board.reports_overflow and (
            now >= self._next_poll or now - self._began > _OVERFLOW_POLL_S
        )

    def _refill_failed(self, err: OSError, began: float) -> None:
        err.with_traceback(None)  # its frames hold the buffer
        uri, silent_s = self._board.uri, time.monotonic() - self._last_data
        if err.errno == errno.ETIMEDOUT and silent_s < self._link_timeout_s:
            return  # the server had no block in time; the connection is in step
        if (
            err.errno in (errno.ETIMEDOUT, errno.EPIPE)
            and time.monotonic() - began > 0.4 * self._link_timeout_s
        ):
            raise ConnectionLost(
                f"{uri}: no samples for {silent_s:.1f} s", uri=uri, hint="check cable and power of the board"
            ) from err
        raise ConnectionLost(
            f"{uri}: the connection broke while receiving ({err.strerror or err})",
            uri=uri,
            hint="check cable and power of the board, then open it again",
        ) from err

    def _memory(self) -> NDArray[np.int16]:
        """For what is fetched next; used again, since fresh pages cost as much as the copy into them."""
        with self._ready:
            if self._free:
                return self._free.pop()
        return np.empty(self._at_once * self._block_bytes // 2, np.int16)

    def _wire(self, memory: NDArray[np.int16]) -> NDArray[np.int16]:
        """(n, C, 2) of the block that libiio holds, copied into `memory` where it fits."""
        data = self._received.copied(memory)
        width, wanted = self._received.values_per_sample, 2 * len(self._channels)
        # when another client comes or goes the server makes the buffer anew: a gap
        self._relaid, self._width = width != self._width, width
        if width == wanted:
            rows = len(data) // width
            return data[: rows * width].reshape(rows, len(self._channels), 2)
        if width == 2 * self._total_channels:
            # another client enabled all channels: the server sends them to everybody
            rows = len(data) // width
            all_channels = data[: rows * width].reshape(rows, self._total_channels, 2)
            return np.ascontiguousarray(all_channels[:, list(self._channels)])
        raise ProtocolError(
            f"{self._board.uri}: {width} values per sample arrive, expected {wanted}",
            uri=self._board.uri,
            hint="another program receives from the same board with other channels: close it",
        )

    def _put(self, wire: NDArray[np.int16], lost: bool) -> None:
        if lost:
            # the device keeps its oldest blocks: the gap lies behind those that were queued there
            self._doubtful_left = self._kernel_blocks + 1
        else:
            self._doubtful_left = max(self._doubtful_left - max(len(wire) // self._block, 1), 0)
        block = WireBlock(
            wire, lost, self._doubtful_left > 0, time.monotonic_ns(), time.time_ns(), landed=self._landing
        )
        with self._ready:
            self._landing = False
            while self._queued >= self._queue_limit and not self._closing:
                self._ready.wait()
            self._queue.append(block)
            self._queued += len(wire)
            self._ready.notify_all()

    @property
    def uri(self) -> str:
        """The board's URI."""
        return self._board.uri

    @property
    def failed(self) -> bool:
        """True if the stream ended by an error."""
        return self._error is not None

    @property
    def waiting(self) -> bool:
        """Whether a block waits in the queue."""
        return bool(self._queue)

    @property
    def queued_samples(self) -> int:
        """Samples that wait in the queue."""
        return self._queued

    def hold_everything(self, on: bool) -> None:
        """Let the queue grow up to 1 GiB, for a reader that is busy aligning boards."""
        with self._ready:
            most = max(2**30 // self._block_bytes, 2) * self._block
            self._queue_limit = most if on else self._queue_samples
            self._ready.notify_all()

    # ---- the reader -----------------------------------------------------------------------------------

    def head(self, timeout_s: float, interrupted: Any, room: NDArray[Any] | None = None) -> WireBlock | None:
        """The oldest block (left in the queue), or None when `interrupted()` became true.

        room : see BlockStream. Raises DeviceTimeout, or the error that ended the stream once the queue is empty.
        """
        deadline = time.monotonic() + timeout_s
        with self._ready:
            self._room = room
            try:
                return self._awaited(timeout_s, deadline, interrupted)
            finally:
                self._room = None

    def _awaited(self, timeout_s: float, deadline: float, interrupted: Any) -> WireBlock | None:
        """With the lock held."""
        while not self._queue:
            left = deadline - time.monotonic()
            if not self._landing:  # else it is there at once, and its memory may not be taken back
                if interrupted():
                    return None
                if self._error is not None:
                    raise self._error
                if time.monotonic() - self._last_data > 2.0 * self._link_timeout_s + 1.0:
                    raise ConnectionLost(  # a refill that hangs for ever, as libiio's USB backend does
                        f"{self._board.uri}: the receive buffer hangs", uri=self._board.uri
                    )
                if left <= 0:
                    raise DeviceTimeout(
                        f"{self._board.uri}: no block within {timeout_s:g} s", uri=self._board.uri
                    )
            self._ready.wait(min(max(left, 0.01), 0.5))
        return self._queue[0]

    def pop(self) -> None:
        """Drop the oldest block; its memory is used again."""
        with self._ready:
            block = self._queue.popleft()
            self._queued -= len(block.wire)
            memory = block.wire.base
            if (
                memory is not None
                and memory.ndim == 1
                and not block.landed
                and len(self._free) < self._free_blocks
            ):
                self._free.append(memory)
            self._ready.notify_all()

    def wake(self) -> None:
        """Make a waiting `head` look at `interrupted` again."""
        with self._ready:
            self._ready.notify_all()

    def end(self) -> None:
        """Tell the thread to end after the block that is under way."""
        with self._ready:
            self._closing = True
            self._ready.notify_all()

    def close(self) -> None:
        """End the thread and destroy the buffer.

        A block that is about to arrive is awaited, because a buffer that is cancelled goes without saying
        CLOSE, and the device stays busy until it notices.
        """
        self.end()
        self._thread.join(min(2.0 * self._block / self._fs_hz, _GRACE_S))
        with self._buffer_lock:
            if self._buffer is not None:
                self._buffer.cancel()
        self._thread.join(2.0 * self._link_timeout_s + 2.0)
        if self._thread.is_alive():
            raise DeviceTimeout(
                f"{self._board.uri}: the thread {self._thread.name} does not end", uri=self._board.uri
            )
        self._queue.clear()
        self._queued = 0
