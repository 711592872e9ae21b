"""Arrays from this process to a spawned one through shared memory: a few slots, the newest ones win.

One writer, one reader, no lock: neither side can block the other, whenever it dies. A slot is written
between two changes of its sequence number and carries a checksum, so a torn read is noticed on any CPU and
counted as superseded. Nothing is pickled but the `SharedSpec` that names the memory.

The memory belongs to the writer, which unlinks it in `close`. If the writer is killed, the resource tracker
of Python's multiprocessing, which a spawned process shares, unlinks it as soon as both sides are gone.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hil.core.errors import ConnectionLost, ShapeError
from hil.pipeline.ledger import EdgeCounts

#: Words of the head: slots written, samples written, closed, | reader: slots read, delivered, superseded.
_WRITTEN, _PRODUCED, _CLOSED, _READ, _DELIVERED, _SUPERSEDED, _HEAD_WORDS = 0, 1, 2, 8, 9, 10, 16
#: Words of a slot: sequence, items, samples, samples produced before, first sample, tag, checksum.
_SEQ, _ITEMS, _SAMPLES, _BEFORE, _FIRST, _TAG, _SUM, _SLOT_WORDS = 0, 1, 2, 3, 4, 5, 6, 8
#: The reader looks for news this often: 200 times a second costs 0.1 % of a core.
_POLL_S = 0.005


@dataclass(frozen=True, slots=True)
class SharedSpec:
    """Name and layout of the memory; an argument for the spawned process."""

    name: str
    edge: str
    item_shape: tuple[int, ...]
    max_items: int
    dtype: str
    n_slots: int


@dataclass(frozen=True, slots=True)
class SharedItems:
    """One slot as read.

    data : (items, *item_shape), a copy. n_samples : samples that it stands for, the first of them
    `first_sample`. tag : number from the writer, for example the counter of the coherence epoch.
    """

    data: NDArray[Any]
    n_samples: int
    first_sample: int
    tag: int


class _SharedSlots:
    """The memory as arrays, for either side."""

    def __init__(self, spec: SharedSpec, memory: SharedMemory) -> None:
        self.spec = spec
        self._memory = memory
        shape = (spec.n_slots, spec.max_items, *spec.item_shape)
        buffer, start = memory.buf, 8 * _HEAD_WORDS
        assert buffer is not None  # it is until close()
        self._head = np.frombuffer(buffer, np.int64, _HEAD_WORDS)
        words = np.frombuffer(buffer, np.int64, spec.n_slots * _SLOT_WORDS, start)
        self._slots = words.reshape(spec.n_slots, _SLOT_WORDS)
        start += words.nbytes
        self._data = np.frombuffer(buffer, spec.dtype, int(np.prod(shape)), start).reshape(shape)
        self._counts: EdgeCounts | None = None

    @property
    def name(self) -> str:
        """Name of the edge."""
        return self.spec.edge

    def counts(self) -> EdgeCounts:
        """Counters in samples. Exact while the reader rests or has ended; what it was overtaken by counts
        as superseded even before it notices. After `close` those of that moment."""
        if self._counts is not None:
            return self._counts
        # The reader's words first: what it takes meanwhile is then still in flight here, never lost.
        seen = None
        while seen != (words := self._head[_READ : _SUPERSEDED + 1].tolist()):
            seen = words
        _, delivered, noticed = words
        consumed = delivered + noticed
        written, produced = int(self._head[_WRITTEN]), int(self._head[_PRODUCED])
        in_slots = range(max(0, written - self.spec.n_slots), written)
        waiting = 0
        for k in in_slots:
            slot = self._slots[k % self.spec.n_slots]
            waiting += int(slot[_SAMPLES]) if slot[_BEFORE] >= consumed else 0
        oldest = int(self._slots[in_slots[0] % self.spec.n_slots, _BEFORE]) if in_slots else 0
        overtaken = max(0, oldest - consumed)
        return EdgeCounts(produced, delivered, 0, noticed + overtaken, waiting)

    def _detach(self) -> None:
        if self._counts is None:
            self._counts = self.counts()
            del self._head, self._slots, self._data
            self._memory.close()


class SharedLatestWriter(_SharedSlots):
    """The side that owns the memory; see the module. Use it from one thread, or as a context manager.

    Parameters
    ----------
    edge : name for the ledger. item_shape, dtype, max_items : a slot holds up to `max_items` arrays,
        for example covariances (M, M) complex128. n_slots : slots before the oldest is overwritten.
    """

    def __init__(
        self,
        edge: str,
        item_shape: tuple[int, ...],
        *,
        max_items: int = 1,
        dtype: DTypeLike = np.complex128,
        n_slots: int = 8,
    ) -> None:
        kind = np.dtype(dtype)
        if n_slots < 2 or max_items < 1 or min(item_shape, default=1) < 1 or kind.hasobject:
            raise ShapeError(f"{edge}: {n_slots} slots of {max_items} x {item_shape} {kind}")
        size = 8 * (_HEAD_WORDS + n_slots * _SLOT_WORDS)
        size += n_slots * max_items * int(np.prod(item_shape)) * kind.itemsize
        memory = SharedMemory(create=True, size=size)
        spec = SharedSpec(memory.name, edge, tuple(item_shape), max_items, kind.str, n_slots)
        super().__init__(spec, memory)

    def put(self, items: NDArray[Any], n_samples: int, first_sample: int = 0, tag: int = 0) -> None:
        """Write `items` (n, *item_shape), n <= max_items, over the oldest slot. Never waits."""
        spec = self.spec
        x = np.asarray(items)
        if x.ndim != 1 + len(spec.item_shape) or x.shape[1:] != spec.item_shape or len(x) > spec.max_items:
            raise ShapeError(
                f"{spec.edge}: items {x.shape}, expected (<= {spec.max_items}, *{spec.item_shape})"
            )
        k = int(self._head[_WRITTEN])
        slot, data = self._slots[k % spec.n_slots], self._data[k % spec.n_slots]
        slot[_SEQ] = 2 * k + 1
        data[: len(x)] = x
        slot[_ITEMS], slot[_SAMPLES], slot[_BEFORE] = len(x), n_samples, self._head[_PRODUCED]
        slot[_FIRST], slot[_TAG] = first_sample, tag
        slot[_SUM] = _checksum(slot, data[: len(x)])
        slot[_SEQ] = 2 * k + 2
        self._head[_PRODUCED] += n_samples
        self._head[_WRITTEN] = k + 1

    def end(self) -> None:
        """Tell the reader that nothing comes any more; it can still take what waits. Idempotent."""
        if self._counts is None:
            self._head[_CLOSED] = 1

    def close(self) -> None:
        """`end`, note the counts and remove the memory's name. Idempotent."""
        if self._counts is None:
            self.end()
            self._detach()
            self._memory.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self.close()


class SharedLatestReader(_SharedSlots):
    """The side in the spawned process; `spec` is the writer's. Raises ConnectionLost if the memory is gone."""

    def __init__(self, spec: SharedSpec) -> None:
        try:
            memory = SharedMemory(spec.name)
        except FileNotFoundError as err:
            raise ConnectionLost(
                f"{spec.edge}: the shared memory is gone", hint="the writer has ended"
            ) from err
        super().__init__(spec, memory)

    @property
    def finished(self) -> bool:
        """True when the writer has closed and every slot was taken."""
        return bool(self._head[_CLOSED]) and self._head[_READ] >= self._head[_WRITTEN]

    def take(self, timeout_s: float = 0.0) -> SharedItems | None:
        """The oldest slot not yet overwritten, or None if nothing came in time or the writer has closed.

        Raises
        ------
        ConnectionLost : the process that spawned this one has died.
        """
        end = time.monotonic() + timeout_s
        while True:
            found = self._take_now()
            if found is not None or self._head[_CLOSED]:
                return found
            parent = parent_process()
            if parent is not None and not parent.is_alive():
                raise ConnectionLost(f"{self.spec.edge}: the process that writes has died")
            left = end - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(_POLL_S, left))

    def close(self) -> None:
        """Leave; the writer goes on. Idempotent."""
        self._detach()

    def _take_now(self) -> SharedItems | None:
        n_slots = self.spec.n_slots
        while True:
            written, k = int(self._head[_WRITTEN]), int(self._head[_READ])
            k = max(k, written - n_slots)
            if k >= written:
                return None
            slot = self._slots[k % n_slots].copy()
            data = self._data[k % n_slots, : min(max(int(slot[_ITEMS]), 0), self.spec.max_items)].copy()
            intact = slot[_SEQ] == 2 * k + 2 == self._slots[k % n_slots, _SEQ]
            self._head[_READ] = k + 1
            if intact and slot[_SUM] == _checksum(slot, data):
                samples = int(slot[_SAMPLES])
                self._head[_SUPERSEDED] = int(slot[_BEFORE]) - int(self._head[_DELIVERED])
                self._head[_DELIVERED] += samples
                return SharedItems(data, samples, int(slot[_FIRST]), int(slot[_TAG]))


def _checksum(slot: NDArray[np.int64], data: NDArray[Any]) -> int:
    return zlib.crc32(data.data, zlib.crc32(slot[_ITEMS:_SUM].copy().data))
