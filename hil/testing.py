"""pytest plugin: a simulated array on the network for anybody's tests.

    def test_my_script(hil_sim):
        with hil_sim() as server:
            sdr = adi.FMComms5(uri=server.iio[0])
            ...

The server runs in its own process. Nothing of this project but a file of standard library code is imported
into the test process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hil.sim_server import SimServer, serve


@pytest.fixture
def hil_sim(tmp_path: Path) -> Callable[..., AbstractContextManager[SimServer]]:
    """A factory: `hil_sim(scene=Path|None, iio="127.0.0.2", free_running=False)` is a context manager."""

    def start(
        *, scene: Path | None = None, iio: str = "127.0.0.2", free_running: bool = False
    ) -> AbstractContextManager[SimServer]:
        return serve(tmp_path, scene=scene, iio=iio, free_running=free_running)

    return start
