"""Faults over network servers in processes of their own, watched through the real client libraries.

A fault's time is when the server's truth file says so, its detection when the event is there; both are seen by polling
every 10 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hil.core.calibration import Calibration
from hil.core.device import RxConfig
from hil.core.errors import HilError
from hil.core.frame import StreamInfo
from hil.health.event import HealthEvent
from hil.jobs.watched import Watched
from hil.session import open_session
from hil.sim_server import SimServer, serve
from sim_backend.truth import read_truth
from tests.physics.health_scenes import calibration_of

PROTOCOLS = {"iio": "IIOD", "soapy": "SoapyRemote"}
FS_HZ = 1.5e6
_ATTEMPTS = 4
#: As wire samples of a 4-channel stream: 192 Mbit/s.
_BOARD = "seed = {seed}\n[array]\nn_elements = 4\n[receiver]\nboard = 'fmcomms5'\nfs_hz = 1.5e6\n"


@dataclass(frozen=True, slots=True)
class TransportCase:
    """faults : (rng, scene second) -> TOML of [faults]. names : kinds that are right. kind : in the truth file.
    seconds : watched at most after the fault. calibrated : with the calibration of the truth."""

    faults: Callable[[np.random.Generator, float], str]
    names: tuple[str, ...]
    kind: str
    seconds: float = 6.0
    calibrated: bool = False


TRANSPORT_CASES: dict[str, TransportCase] = {
    "overflow": TransportCase(
        lambda r, t: f"overflow_every_s = {t}\noverflow_samples = {r.integers(2000, 40000)}\n",
        ("overflow",),
        "overflow",
    ),
    "dropped blocks": TransportCase(
        lambda r, t: f"drop_blocks_at_s = [{t}]\ndrop_blocks = {r.integers(2, 7)}\n",
        ("dropped-blocks", "overflow"),
        "drop_blocks",
    ),
    "stall, 2 to 3 s": TransportCase(
        lambda r, t: f"stall_at_s = [{t}]\nstall_s = {r.uniform(2.0, 2.9):.2f}\n", ("stall",), "stall"
    ),
    "disconnect": TransportCase(lambda r, t: f"disconnect_at_s = [{t}]\n", ("disconnect",), "disconnect"),
    "half-written reply, hangs": TransportCase(
        lambda r, t: f"half_reply_at_s = [{t}]\nhalf_reply_hang_s = 20.0\n",
        ("half-reply",),
        "half_reply",
        15.0,
    ),
    "half-written reply, closes": TransportCase(
        lambda r, t: f"half_reply_at_s = [{t}]\n", ("disconnect", "half-reply"), "half_reply"
    ),
    "slow network": TransportCase(
        lambda r, t: f"network_mbit_s = {r.uniform(60, 150):.0f}\nnetwork_from_s = {t}\n",
        ("slow-network",),
        "slow_network",
        12.0,
    ),
}

#: A few of the samples' faults over the same way: nothing about them depends on the transport.
NETWORK_CASES: dict[str, TransportCase] = {
    "slip by 3 samples, one channel": TransportCase(
        lambda r, t: f"slip_samples_at_s = [{t}]\nslip_samples = 3\nslip_channel = {r.integers(4)}\n",
        ("slip",),
        "slip",
    ),
    "AGC step, 6 dB": TransportCase(
        lambda r, t: f"agc_step_at_s = [{t}]\nagc_step_channel = {r.integers(4)}\n",
        ("agc-step",),
        "agc_step",
    ),
    "dead channel, noise left": TransportCase(
        lambda r, t: f"dead_at_s = [{t}]\ndead_channel = {r.integers(4)}\n", ("dead-channel",), "dead"
    ),
    "0/180 flip of a channel": TransportCase(
        lambda r, t: f"flip_at_s = [{t}]\nflip_channel = {r.integers(4)}\n",
        ("phase-flip",),
        "flip",
        calibrated=True,
    ),
    "swapped ports": TransportCase(
        lambda r, t: f"swap_at_s = [{t}]\nswap_channels = [0, {r.integers(1, 4)}]\n",
        ("swapped-ports",),
        "swap",
        calibrated=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Watching:
    """events : in order. delay_s : from the fault to the first event after it (nan: none). block_s : of the
    device's blocks. early : events before the fault. error : that ended the stream. began : the stream was running
    when the fault came."""

    events: list[HealthEvent]
    delay_s: float
    block_s: float
    early: list[HealthEvent]
    error: HilError | None
    began: bool = True


def watch_server(server: SimServer, uri: str, case: TransportCase, most_s: float) -> Watching:
    """Watch until a right kind is told, an error ends the stream, or the time is over."""
    fault_at, told_at, error = float("nan"), float("nan"), None
    early: list[HealthEvent] = []
    with open_session(uri, None, lambda n: RxConfig(channels=(0, 1, 2, 3))) as session:
        stream = session.stream
        calibration = truth_calibration(server.truth, stream) if case.calibrated else None
        watched = Watched(stream, calibration=calibration)
        session.start(on_frame=watched)
        began = time.monotonic()
        session.wait(0.5)
        if _begun(server, case.kind):
            session.stop()
            return Watching([], float("nan"), float("nan"), [], None, began=False)
        try:
            while True:
                now = time.monotonic()
                if np.isnan(fault_at):
                    so_far = list(watched.events)
                    if _begun(server, case.kind):
                        fault_at = now
                        # what was told within the polls' interval is no false alarm
                        early = [e for e in so_far if e.kind not in case.names]
                    elif now - began > most_s:
                        break
                elif now - fault_at > case.seconds:
                    break
                elif any(e.kind in case.names for e in watched.events):
                    told_at = now
                    break
                session.wait(0.01)
                watched.tick()
        except HilError as err:
            error = err
            watched.failed(err)
            told_at = time.monotonic()
            if np.isnan(fault_at) and _begun(server, case.kind):
                fault_at = told_at
        session.stop()
    block_s = (stream.config.block_samples or 16384) / stream.fs_hz
    events = [e for e in watched.events if e not in early]
    return Watching(events, told_at - fault_at if events else float("nan"), block_s, early, error)


def _begun(server: SimServer, kind: str) -> bool:
    return any(e.get("event") == "fault" and e.get("kind") == kind for e in server.events())


def truth_calibration(truth_file: Path, stream: StreamInfo) -> Calibration:
    """The calibration that holds for a stream that has just been configured."""
    truth = read_truth(truth_file)
    latest = max((s for _, s in truth.opens), default=0)
    return calibration_of(truth, stream, scene_sample=latest, error_deg=0.3, seed=1)


def run_transport(name: str, folder: Path, address: str, seed: int = 0, protocol: str = "iio") -> Watching:
    """One fault over IIOD or SoapyRemote; when it comes is drawn from the seed.

    The scene's clock starts with the server: where a busy computer needs longer to open the device than until the
    fault comes, the trial is made again with more time.
    """
    case = (TRANSPORT_CASES | NETWORK_CASES)[name]
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, 79])
        at_s = round(float(rng.uniform(4.5, 7.0)) + 6.0 * attempt, 3)
        scene = folder / "scene.toml"
        scene.write_text(_BOARD.format(seed=seed) + "[faults]\n" + case.faults(rng, at_s))
        iio, soapy = (address, None) if protocol == "iio" else (None, f"{address}:0")
        with serve(folder, scene=scene, iio=iio, soapy=soapy) as server:
            found = watch_server(server, server.device_uris[protocol], case, at_s + 8.0)
        if found.began:
            return found
    raise AssertionError(f"{name}: the stream never ran before the fault came")
