"""Blocks shorter than a millisecond or two: the same stream and the same words for faults, fetched one by one or several at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from drivers import open_device
from drivers.conformance_cases import emulator, emulator_scene
from drivers.iio import received
from drivers.iio.stream import BoardStream
from hil.core import compiled
from hil.core.device import RxConfig, RxDevice
from hil.core.errors import ConnectionLost, DeviceTimeout, StreamStopped
from hil.core.frame import FrameFlag

BLOCK = 1000  # 0.4 ms at the boards' 2.5 MS/s
SHORT = RxConfig(block_samples=BLOCK)
LOST = FrameFlag.GAP_BEFORE | FrameFlag.OVERFLOW


@pytest.fixture(params=["one by one", "several"])
def fetched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Both ways; what each fetch of several brought."""
    counts: list[int] = []
    if request.param == "one by one":
        monkeypatch.setattr(compiled, "_kernels", {})
        yield counts
        assert not any(counts)
        return
    assert compiled.prepare(wait=True), compiled.why_not()
    plain = received.ReceivedSamples.fetch

    def counted(self: received.ReceivedSamples, *asked):
        found = plain(self, *asked)
        counts.append(found[0])
        return found

    monkeypatch.setattr(received.ReceivedSamples, "fetch", counted)
    yield counts
    assert max(counts) > 1


def _scene(faults: str = "", board: str = "pluto") -> str:
    return emulator_scene(board) + (f"[faults]\n{faults}\n" if faults else "")


def _started(uri: str, want: RxConfig = SHORT) -> tuple[RxDevice, np.ndarray]:
    device = open_device(f"iio:{uri}")
    stream = device.configure(want)
    device.start()
    return device, np.zeros((8 * BLOCK, stream.n_channels, 2), np.int16)


def _read_for(device: RxDevice, out: np.ndarray, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        device.read(out, 5.0)


def _samples(uri: str, n: int) -> np.ndarray:
    device, out = _started(uri)
    with device:
        pieces = []
        while sum(map(len, pieces)) < n:
            result = device.read(out, 5.0)
            assert not result.flags & LOST
            pieces.append(out[: result.n].copy())
    return np.concatenate(pieces)[:n]


def test_samples_are_those_of_long_blocks(fetched: list[int]) -> None:
    with emulator(_scene(), "--free-running") as (_, one), emulator(_scene(), "--free-running") as (_, other):
        short = _samples(one[0], 100_000)
        device, _ = _started(other[0], RxConfig(block_samples=100_000))
        with device:
            long = np.zeros((100_000, short.shape[1], 2), np.int16)
            assert device.read(long, 10.0).n == 100_000
    assert np.array_equal(short, long)


def test_replies_cut_short_lose_nothing(fetched: list[int]) -> None:
    with (
        emulator(_scene("short_reads = true"), "--free-running") as (_, cut),
        emulator(_scene(), "--free-running") as (_, whole),
    ):
        assert np.array_equal(_samples(cut[0], 60_000), _samples(whole[0], 60_000))


def test_overflows_are_flagged(fetched: list[int]) -> None:
    with emulator(_scene("overflow_every_s = 1.0")) as (_, uris):
        device, out = _started(uris[0])
        with device:
            gaps = seen = 0
            while seen < 3.6 * 2.5e6:
                result = device.read(out, 5.0)
                assert result.first_sample == seen
                seen += result.n
                gaps += bool(result.flags & FrameFlag.GAP_BEFORE)
    assert gaps >= 3


def test_a_board_that_hangs_for_a_while_goes_on(fetched: list[int]) -> None:
    with emulator(_scene("stall_at_s = [1.0]\nstall_s = 0.8")) as (_, uris):
        device, out = _started(uris[0])
        with device:
            timeouts, seen, deadline = 0, 0, time.monotonic() + 60.0
            while seen < 3 * 2.5e6 and time.monotonic() < deadline:
                try:
                    seen += device.read(out, 0.2).n
                except DeviceTimeout:
                    timeouts += 1
    assert timeouts >= 1
    assert seen >= 3 * 2.5e6


def test_a_connection_that_breaks_is_told(fetched: list[int]) -> None:
    with emulator(_scene("disconnect_at_s = [1.5]")) as (_, uris):
        device, out = _started(uris[0])
        with device:
            with pytest.raises(ConnectionLost) as caught:
                _read_for(device, out, 30.0)
            assert caught.value.hint
            device.stop()
            device.configure(SHORT)
            device.start()
            assert device.read(out, 5.0).n > 0


def test_another_client_with_all_channels_does_not_scramble_ours(fetched: list[int]) -> None:
    import adi

    with emulator(_scene(board="fmcomms5")) as (_, uris):
        first, out = _started(uris[0], RxConfig(channels=(1,), gain_db=40.0, block_samples=BLOCK))
        with first:
            alone = [float(out[: first.read(out, 5.0).n].astype(float).std()) for _ in range(30)][-1]
            second = adi.FMComms5(uri=uris[0])
            second.rx_buffer_size = 4096
            gaps = 0
            for _ in range(60):
                second.rx()
                result = first.read(out[:BLOCK], 5.0)
                gaps += bool(result.flags & FrameFlag.GAP_BEFORE)
                assert abs(float(out[: result.n].astype(float).std()) / alone - 1) < 0.3
            second.rx_destroy_buffer()
            after = 0
            deadline = time.monotonic() + 30.0
            while not after and time.monotonic() < deadline:  # back among its own: a gap again
                after += bool(first.read(out[:BLOCK], 5.0).flags & FrameFlag.GAP_BEFORE)
            assert gaps + after >= 2


def test_stopped_while_a_fetch_waits(fetched: list[int]) -> None:
    """Nothing comes for a while: stop ends the read at once and the buffer soon; then it streams again."""
    with emulator(_scene("stall_at_s = [1.0]\nstall_s = 1.5")) as (_, uris):
        device, out = _started(uris[0])
        with device:
            stopper = threading.Timer(2.0, device.stop)
            stopper.start()
            with pytest.raises(StreamStopped):
                _read_for(device, out, 30.0)
            stopper.join()
            device.start()
            assert device.read(out, 5.0).n > 0


def test_a_block_lands_with_the_reader_that_waits_and_with_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory that a read gave back without samples is not written to; what landed is what the board sent."""
    landed: list[bool] = []
    plain = BoardStream.head

    def watched(self: BoardStream, *asked):
        block = plain(self, *asked)
        landed.append(block is not None and block.landed)
        return block

    monkeypatch.setattr(BoardStream, "head", watched)
    n, untouched = 50_000, 12_345  # a block takes 20 ms, and the samples have 12 bits
    with emulator(_scene()) as (_, uris):
        device, _ = _started(uris[0], RxConfig(block_samples=n))
        with device:
            out = np.zeros((n, device.caps.n_channels, 2), np.int16)
            timeouts = reads = 0
            deadline = time.monotonic() + 60.0
            while (timeouts < 20 or reads < 20) and time.monotonic() < deadline:
                out[:] = untouched
                try:
                    result = device.read(out, 0.004 if timeouts < 20 else 5.0)
                except DeviceTimeout:
                    timeouts += 1
                    time.sleep(0.03)
                    assert (out == untouched).all()
                else:
                    reads += 1
                    assert abs(out[: result.n]).max() < untouched
    assert timeouts >= 20
    assert reads >= 20
    assert any(landed)
