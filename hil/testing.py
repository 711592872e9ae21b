"""pytest plugin: simulated boards on the network for anybody's tests, behind the real client libraries.

    def test_my_receiver(simulated_iio_board):
        sdr = adi.Pluto(uri=simulated_iio_board.uri)

    @pytest.mark.simulated({"receiver": {"board": "fmcomms5"}, "faults": {"disconnect_at_s": [2.0]}})
    def test_it_reconnects(simulated_array):
        ...
        assert any(event["event"] == "disconnect" for event in simulated_array.events())

Three fixtures, ready when they return: `simulated_iio_board` (one board), `simulated_soapy_device` (one SoapyRemote
device) and `simulated_array` (all boards of a scene, both protocols). The mark `simulated(scene, free_running=False)`
gives the scene: a dict, TOML text, or a path. `hil_sim` starts servers by hand, as many at a time as you like:

    def test_two(hil_sim):
        with hil_sim(scene={"seed": 1}) as one, hil_sim(scene={"seed": 2}) as two:
            ...

Every server runs in a process of its own on a free loopback address and ends with the test. Nothing of this project
but files of standard library code is imported into the test process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hil.sim_scene import scene_file
from hil.sim_server import SimServer, serve

#: What is simulated unless the test's mark says otherwise.
ONE_BOARD: dict[str, Any] = {"array": {"n_elements": 2}, "receiver": {"board": "pluto"}}
SOAPY_DEVICE: dict[str, Any] = {"array": {"n_elements": 4}}


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line(
        "markers",
        "simulated(scene, free_running=False): scene of the simulated_* fixtures (dict, TOML text, path)",
    )


@pytest.fixture
def hil_sim(tmp_path: Path) -> Callable[..., AbstractContextManager[SimServer]]:
    """A factory: `with hil_sim(scene=None, iio="free", soapy=None, free_running=False) as server:`.

    scene : dict, TOML text, path or None. iio, soapy : HOST[:PORT], "free" for a loopback address where nobody
    listens, None for not at all.
    """

    def start(
        *,
        scene: dict[str, Any] | str | Path | None = None,
        iio: str | None = "free",
        soapy: str | None = None,
        free_running: bool = False,
    ) -> AbstractContextManager[SimServer]:
        path = scene_file(scene, tmp_path)
        return serve(tmp_path, scene=path, iio=iio, soapy=soapy, free_running=free_running)

    return start


@pytest.fixture
def simulated_iio_board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimServer]:
    """One simulated IIO board; `.uri` is what libiio and pyadi-iio open."""
    with _asked_for(request, tmp_path, ONE_BOARD, iio=True) as server:
        if len(server.iio) != 1:
            pytest.fail(f"the scene has {len(server.iio)} boards: use the fixture simulated_array")
        yield server


@pytest.fixture
def simulated_soapy_device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimServer]:
    """One simulated SoapyRemote device; `.soapy_args` is what SoapySDR.Device opens."""
    with _asked_for(request, tmp_path, SOAPY_DEVICE, soapy=True) as server:
        yield server


@pytest.fixture
def simulated_array(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimServer]:
    """All boards of a scene over IIO (`.iio`) and as one SoapyRemote device (`.soapy`); default: 8 elements."""
    with _asked_for(request, tmp_path, {}, iio=True, soapy=True) as server:
        yield server


@contextmanager
def _asked_for(
    request: pytest.FixtureRequest,
    folder: Path,
    default: dict[str, Any],
    *,
    iio: bool = False,
    soapy: bool = False,
) -> Iterator[SimServer]:
    """A server with the scene of the test's mark."""
    mark = request.node.get_closest_marker("simulated")
    scene = mark.args[0] if mark and mark.args else default
    options = mark.kwargs if mark else {}
    if set(options) - {"free_running"} or (mark and len(mark.args) > 1):
        pytest.fail("the mark is simulated(scene, free_running=False)")
    with serve(
        folder,
        scene=scene_file(scene, folder),
        iio="free" if iio else None,
        soapy="free" if soapy else None,
        free_running=bool(options.get("free_running", False)),
    ) as server:
        yield server
