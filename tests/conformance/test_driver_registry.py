"""URIs, the simulator's stream, and injected faults."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from drivers import list_devices, open_device
from drivers.conformance import Case, NonConformance, check_rx_device
from drivers.iio.board_table import board_tables, find_board
from drivers.rate_watch import RateWatch
from drivers.registry import DRIVERS, DriverEntry
from hil.core.device import RxConfig, RxDevice
from hil.core.epoch import EpochEvent
from hil.core.errors import ConfigError, DeviceNotFound, DeviceTimeout, DriverUnavailable, UnsupportedSetting
from hil.core.frame import FrameFlag


@pytest.mark.parametrize(
    "uri",
    ["", "sim", "usb:", "ip:1.2.3.4", "iio:", "iio:ip:", "iio:1.2.3.4", "iio:ip:a,", "iio:ip:a,ip:a",
     "sim:?fast", "faults:sim", "faults:nonsense=1:sim:", "faults:drop_every=x:sim:", "faults:drop_every=-1:sim:"],
)  # fmt: skip
def test_a_wrong_uri_is_a_config_error(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_device(uri)
    assert caught.value.hint or "twice" in str(caught.value)


def test_a_planned_driver_says_that_it_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "later", DriverEntry("later", "", "later:", planned=True))
    with pytest.raises(DriverUnavailable, match="comes later"):
        open_device("later:x")


def test_devices_are_listed_with_what_a_user_needs() -> None:
    rows = list_devices()
    assert all({"uri", "driver", "model", "serial", "n_channels"} <= set(row) for row in rows)
    assert "sim:" in [row["uri"] for row in rows]


def test_boards_are_told_by_their_devices() -> None:
    phy, lpc = "ad9361-phy", "cf-ad9361-lpc"
    assert find_board([phy, lpc, "xadc"], "ip:x").name == "pluto"
    assert find_board([phy, "ad9361-phy-B", "cf-ad9361-A", "cf-ad9361-B"], "ip:x").name == "fmcomms5"
    adrv = ["adrv9009-phy", "axi-adrv9009-rx-hpc"]
    assert find_board(adrv, "ip:x").name == "adrv9009"
    assert find_board([*adrv, "adrv9009-phy-b"], "ip:x").name == "adrv9009-zu11eg"
    with pytest.raises(DeviceNotFound) as caught:
        find_board(["thermometer"], "ip:x")
    assert "thermometer" in str(caught.value)


def test_every_board_states_a_scope_for_every_event() -> None:
    for table in board_tables().values():
        assert set(table.epoch) == set(EpochEvent)
        assert table.groups(table.max_channels, 4)[0][0] == 4


def _read(device: RxDevice, n_reads: int) -> list:
    stream = device.configure(RxConfig(block_samples=1000))
    device.start()
    out = np.zeros((1000, stream.n_channels, 2), np.int16)
    return [device.read(out, 5.0) for _ in range(n_reads)]


def test_simulated_loss_is_exact() -> None:
    with open_device("sim:") as device:
        stream = device.configure(RxConfig())
        device.start()
        out = np.zeros((stream.config.block_samples or 1, stream.n_channels, 2), np.int16)
        first = device.read(out, 5.0)
        threading.Event().wait(1.0)  # the pause under test
        late = device.read(out, 5.0)
    assert late.flags & FrameFlag.OVERFLOW
    assert late.flags & FrameFlag.GAP_BEFORE
    assert late.lost_before == late.first_sample - first.n
    assert late.lost_before > 0.3 * (stream.config.fs_hz or 0.0)


def test_free_running_simulation_does_not_wait() -> None:
    with open_device("sim:?free") as device:
        began = time.monotonic()
        results = _read(device, 500)
        assert results[-1].first_sample == 499_000
        assert time.monotonic() - began < 20.0


def test_the_simulator_keeps_no_setting_that_it_cannot_do() -> None:
    with open_device("sim:?free") as device:
        for bad in (RxConfig(bandwidth_hz=1e6), RxConfig(gain_db=(1.0, 2.0)), RxConfig(block_samples=0)):
            with pytest.raises(UnsupportedSetting):
                device.configure(bad)


def test_dropped_blocks_are_reported_with_their_number() -> None:
    with open_device("faults:drop_every=3:sim:?free") as device:
        results = _read(device, 7)
    lost = [r.lost_before for r in results]
    assert lost == [0, 0, 1000, 0, 0, 1000, 0]
    ends = np.cumsum([r.n + (r.lost_before or 0) for r in results])
    assert [r.first_sample + r.n for r in results] == ends.tolist()
    assert results[0].stream.device.driver == "faults"


def test_hidden_and_inexact_drops() -> None:
    with open_device("faults:drop_every=2,hide_gaps=1:sim:?free") as device:
        results = _read(device, 2)
        assert results[1].first_sample == 2000
        assert not results[1].flags & FrameFlag.GAP_BEFORE
    with open_device("faults:drop_every=2,inexact=1:sim:?free") as device:
        assert _read(device, 2)[1].lost_before is None


def test_a_stall_on_purpose_times_out_and_ends() -> None:
    with open_device("faults:stall_after=1,stall_s=0.3:sim:?free") as device:
        _read(device, 1)
        out = np.zeros((1000, 8, 2), np.int16)
        with pytest.raises(DeviceTimeout):
            device.read(out, 0.05)
        assert device.read(out, 5.0).n == 1000


def test_the_kit_catches_a_driver_that_hides_its_gaps() -> None:
    with pytest.raises(NonConformance, match="counting"):
        check_rx_device(Case("liar", lambda: open_device("faults:drop_every=2,hide_gaps=1:sim:?free")))


def _watch_stream(watch: RateWatch, blocks: list[tuple[float, int]]) -> int:
    """Feed (arrival time, samples) with a reader that waits for each; returns how often loss was seen."""
    before, seen = 0.0, 0
    for now, n in blocks:
        seen += watch.block_arrived(n, before, now)
        before = now
    return seen


def test_a_lasting_deficit_is_a_loss_and_jitter_is_not() -> None:
    rng = np.random.default_rng(4)
    times = 0.01 * np.arange(1, 2000)
    steady = [(t + 0.004 * rng.random(), 10_000) for t in times]
    assert _watch_stream(RateWatch(1e6, 40_000, True), steady) == 0
    drifting = [(t * (1 + 1e-4), 10_000) for t in times]
    assert _watch_stream(RateWatch(1e6, 40_000, False), drifting) == 0
    step = [(t + (0.5 if t > 5 else 0.0), 10_000) for t in times]
    assert _watch_stream(RateWatch(1e6, 40_000, True), step) == 1
    fast = [(t / 7, 10_000) for t in times]
    assert _watch_stream(RateWatch(1e6, 40_000, False), fast) == 0
    slow = [(t * 2, 10_000) for t in times]
    assert _watch_stream(RateWatch(1e6, 40_000, True), slow) == 0  # the register would have told
    assert _watch_stream(RateWatch(1e6, 40_000, False), slow) > 0
