"""Faults of the transport over a network server in a process of its own, watched through the real client library."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from hil.core.device import RxConfig
from hil.core.errors import HilError
from hil.health.event import HealthEvent
from hil.jobs.watched import Watched
from hil.session import open_session
from hil.sim_server import serve

_BOARD = "seed = {seed}\n[array]\nn_elements = 4\n[receiver]\nboard = 'fmcomms5'\nfs_hz = 2.5e6\n"

#: name -> (TOML of [faults], kinds that are right, seconds watched at most). Scene seconds count from the start of the
#: server; the client needs about one to come.
TRANSPORT_CASES: dict[str, tuple[str, tuple[str, ...], float]] = {
    "overflow": ("overflow_every_s = 3.0\noverflow_samples = 20000\n", ("overflow",), 8.0),
    "dropped blocks": ("drop_blocks_at_s = [4.0]\ndrop_blocks = 4\n", ("dropped-blocks", "overflow"), 9.0),
    "stall, 2 s": ("stall_at_s = [4.0]\nstall_s = 2.0\n", ("stall",), 9.0),
    "disconnect": ("disconnect_at_s = [4.0]\n", ("disconnect",), 9.0),
    "half-written reply, hangs": (
        "half_reply_at_s = [4.0]\nhalf_reply_hang_s = 20.0\n",
        ("half-reply",),
        15.0,
    ),
    "half-written reply, closes": ("half_reply_at_s = [4.0]\n", ("disconnect", "half-reply"), 9.0),
    "slow network": ("network_mbit_s = 100.0\nnetwork_from_s = 4.0\n", ("slow-network",), 14.0),
}


@dataclass(frozen=True, slots=True)
class Watching:
    """events : in order. seconds : from the first frame to the first event (nan: none). error : that ended it."""

    events: list[HealthEvent]
    seconds: float
    error: HilError | None


def watch_device(uri: str, seconds: float, want_kinds: tuple[str, ...]) -> Watching:
    """Watch a device until one of these kinds is told, an error ends the stream, or the time is over."""
    began, told, error = time.monotonic(), float("nan"), None
    with open_session(uri, None, lambda n: RxConfig(channels=(0, 1, 2, 3))) as session:
        watched = Watched(session.stream)
        session.start(on_frame=watched)
        try:
            while time.monotonic() - began < seconds:
                session.wait(0.05)
                watched.tick()
                if any(e.kind in want_kinds for e in watched.events):
                    break
        except HilError as err:
            error = err
            watched.failed(err)
        if watched.events:
            told = time.monotonic() - began
        session.stop()
    return Watching(list(watched.events), told, error)


def run_transport(name: str, folder: Path, address: str, seed: int = 0) -> Watching:
    """One transport fault over IIOD."""
    faults, kinds, seconds = TRANSPORT_CASES[name]
    scene = folder / "scene.toml"
    scene.write_text(_BOARD.format(seed=seed) + "[faults]\n" + faults)
    with serve(folder, scene=scene, iio=address) as server:
        return watch_device(server.device_uris["iio"], seconds, kinds)
