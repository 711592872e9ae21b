"""A session that transmits: between blocks, from any thread, silent however it ends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.conformance_tx_case import tone
from drivers.conformance_tx_cases import sent_so_far
from drivers.sim import SimDevice
from hil.core.device import RxConfig, TxConfig
from hil.core.errors import ConfigError, ConnectionLost, DriverUnavailable, ShapeError, UnsupportedSetting
from hil.core.frame import Frame, FrameFlag
from hil.core.waveform import cw
from hil.session import Session
from hil.transmission import Transmission
from sim_backend.engine import ArrayEngine
from sim_backend.scene import load_scene


class _Sim:
    """A simulated array in real time, its truth file, and the frames of a session."""

    def __init__(self, folder: Path) -> None:
        self.truth = folder / "truth.jsonl"
        (folder / "scene.toml").write_text(
            '[array]\nn_elements = 2\n[receiver]\nboard = "pluto"\nfs_hz = 1.0e6\n'
        )
        self.engine = ArrayEngine(load_scene(folder / "scene.toml"), truth=self.truth)
        self.session = Session(SimDevice(self.engine))
        self.session.configure(RxConfig())
        self.flags: list[FrameFlag] = []
        self.power: list[float] = []

    def take(self, frame: Frame, clipped: Any) -> None:
        del clipped
        self.flags.append(frame.flags)
        self.power.append(float(np.mean(np.abs(frame.samples) ** 2)))

    @property
    def sending(self) -> bool:
        return sent_so_far(self.truth)[0]


@pytest.fixture
def sim(tmp_path: Path) -> Any:
    sim = _Sim(tmp_path)
    yield sim
    sim.session.close()
    sim.engine.close()


def test_a_running_session_starts_changes_and_ends_a_transmission(sim: _Sim, until: Any) -> None:
    session = sim.session
    session.start(on_frame=sim.take)
    until(lambda: len(sim.power) > 3)
    quiet = sim.power[-1]
    taken = session.transmit(cw(fs_hz=1e6), TxConfig(attenuation_db=0.0))
    assert taken.attenuation_db == (0.0,)
    assert taken.fc_hz == session.stream.fc_hz
    assert sim.sending
    until(lambda: sim.power[-1] > 4 * quiet)
    assert FrameFlag.TRANSMITTING in sim.flags[-1]
    epoch = session.stream.epoch
    session.transmit(tone(2, 500), TxConfig(channels=(1, 0), attenuation_db=(80.0, 89.75)))
    until(lambda: sim.power[-1] < 2 * quiet)
    assert session.stream.epoch == epoch
    session.stop_transmitting()
    assert not sim.sending
    n = len(sim.flags)
    until(lambda: len(sim.flags) > n + 60 or FrameFlag.TRANSMITTING not in sim.flags[-1])
    summary = session.stop()
    session.raise_error()
    assert (summary.lost, summary.gaps) == (0, 0)


def test_what_is_refused_sends_nothing_and_keeps_no_level(sim: _Sim) -> None:
    session = sim.session
    with pytest.raises(ConfigError, match="2000000 samples/s, the receiver runs at 1000000"):
        session.transmit(cw(fs_hz=2e6), TxConfig(attenuation_db=10.0))
    with pytest.raises(UnsupportedSetting):
        session.transmit(cw(fs_hz=1e6), TxConfig(attenuation_db=-1.0))
    session.start(on_frame=sim.take)
    with pytest.raises(ShapeError):  # raised in the reader's thread, told here
        session.transmit(tone(2, 500), TxConfig(attenuation_db=10.0))
    transmitter = session.device.transmitter()  # pyright: ignore[reportAttributeAccessIssue]
    assert transmitter.configure(TxConfig()).attenuation_db == (89.75,)
    assert not sim.sending
    session.stop()
    session.raise_error()


@pytest.mark.parametrize("end", ["stop", "close", "failing stage", "finished"])
def test_every_end_of_a_session_silences_it(sim: _Sim, until: Any, end: str) -> None:
    session = sim.session
    session.transmit(cw(fs_hz=1e6), TxConfig(attenuation_db=20.0))
    assert sim.sending, "before the start"
    broken = threading.Event()

    def fail(frame: Frame, clipped: Any) -> None:
        if end == "failing stage":
            broken.set()
            raise RuntimeError("boom")

    session.start(on_frame=fail, n_samples=50_000 if end == "finished" else None)
    until(lambda: session.finished or session.samples > 20_000)
    if end == "close":
        session.close()
    elif end == "finished":
        until(lambda: session.wait(0.05))
        until(lambda: not sim.sending)  # with the last sample
        session.stop()
    else:
        session.stop()
    assert not sim.sending
    if end == "failing stage":
        assert broken.is_set()
        with pytest.raises(RuntimeError, match="boom"):
            session.raise_error()


def test_a_receiver_without_transmitter_is_named() -> None:
    class Receiver:
        class info:  # noqa: N801
            uri = "x:"

    stream: Any = None
    with pytest.raises(DriverUnavailable, match="only receives"):
        Transmission(Receiver()).send(tone(1, 64), TxConfig(fc_hz=1e9), stream)  # pyright: ignore


def test_the_hint_of_a_transmitter_out_of_reach_is_added_to_what_ended_the_session() -> None:
    class Gone:
        def stop(self) -> None:
            raise ConnectionLost("no answer", hint="the board may still be transmitting")

    transmission = Transmission(Gone())  # pyright: ignore
    transmission._transmitter = Gone()  # pyright: ignore
    first = ConnectionLost("the connection broke", hint="check the cable")
    assert transmission.silenced(first) is first
    assert first.hint == "check the cable; the board may still be transmitting"
    assert transmission.silenced(first) is first
    assert first.hint.count("transmitting") == 1
    alone = transmission.silenced(None)
    assert isinstance(alone, ConnectionLost)
    foreign = RuntimeError("boom")
    assert transmission.silenced(foreign) is foreign
