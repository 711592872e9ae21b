"""After a lost connection the settings are those of before, not those of power-up."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from drivers.registry import open_device
from drivers.settings import restored
from hil.core.device import GainMode, RxConfig, RxDevice
from hil.core.errors import HilError
from hil.sim_scene import scene_file
from hil.sim_server import free_address, serve

SCENE = "[array]\nn_elements = 4\n[receiver]\nfs_hz = 2.5e6\n"


def _read_for(device: RxDevice, buffer: np.ndarray, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        device.read(buffer, 1.0)


@pytest.mark.timeout(120)
def test_a_board_that_lost_power_gets_its_settings_back(tmp_path: Path) -> None:
    address, path = free_address(), scene_file(SCENE, tmp_path)
    with serve(tmp_path, scene=path, iio=address) as server:
        device = open_device(f"iio:{server.uri}")
        before = device.configure(RxConfig(fc_hz=1.2e9, fs_hz=4e6, gain_db=20.0, channels=(0, 1)))
        device.start()
        buffer = np.zeros((16384, 2, 2), np.int16)
        device.read(buffer, 5.0)
        server.kill()
        with pytest.raises(HilError):
            _read_for(device, buffer, 30.0)
        device.stop()
    with device, serve(tmp_path, scene=path, iio=address):
        device.start()
        now = device.read(buffer, 10.0).stream
        assert (now.fc_hz, now.fs_hz, now.gains_db) == (before.fc_hz, before.fs_hz, before.gains_db)
        assert now.config.channels == (0, 1)
        assert now.epoch.id != before.epoch.id


def test_what_a_request_leaves_open_is_as_it_was() -> None:
    old = RxConfig(1e9, 4e6, 3e6, (20.0, 20.0), GainMode.MANUAL, (0, 1), 8192)
    assert restored(None, RxConfig(fc_hz=2e9)) == RxConfig(fc_hz=2e9)
    assert restored(old, RxConfig()) == old
    assert restored(old, RxConfig(fs_hz=2e6)).bandwidth_hz is None  # goes with the rate
    assert restored(old, RxConfig(channels=(0, 1, 2))).gain_db is None
    assert restored(old, RxConfig(gain_mode=GainMode.SLOW_ATTACK)).gain_db is None
