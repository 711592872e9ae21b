"""A scene with three targets, and what an angle-delay map must say of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from gui.echo_map import EchoMap
from gui.station import Station
from hil.core.device import TxConfig
from hil.core.frame import StreamInfo
from hil.core.waveform import Waveform, make
from hil.dsp.angle_delay_paths import Path as EchoPath

#: angle in degrees, range in metres, level in dB, speed in m/s.
TARGETS = ((17.0, 300.0, 0.0, 0.0), (-33.0, 480.0, -3.0, 0.5), (41.0, 650.0, -6.0, 0.0))
RANGE_BIN_M = 75.0
HANG_S = 60.0


def scene(n_elements: int = 4, *, errors: bool = False, seed: int = 11, moving: bool = True) -> str:
    """TOML of a board whose own transmission comes back from TARGETS. errors : gains and phases are not those of the nominal array."""
    std = "0.3" if errors else "0.0"
    phase = '"uniform"' if errors else "0.0"
    head = f"""
seed = {seed}
[array]
n_elements = {n_elements}
[receiver]
board = "fmcomms5"
[impairments]
position_std_wavelengths = 0.0
gain_std = {std}
phase_std_deg = {phase}
relock_phase = false
[transmit]
leakage_db = 15.0
"""
    return head + "".join(
        f"[[target]]\nangle_deg = {a}\nrange_m = {r}\nrcs_db = {p}\nspeed_m_s = {v * moving}\n"
        for a, r, p, v in TARGETS
    )


def waveform_for(stream: StreamInfo, n_fft: int = 256) -> Waveform:
    """OFDM over four fifths of the band."""
    settings = {
        "n_subcarriers": n_fft * 4 // 5, "spacing_hz": stream.fs_hz / n_fft, "n_fft": n_fft, "cp_samples": n_fft // 4,
        "n_symbols": 4, "seed": 1,
    }  # fmt: skip
    return make("ofdm", settings)


def until(true: Callable[[], Any], poll: Callable[[], object] = lambda: None, seconds: float = HANG_S) -> Any:
    """The first true value."""
    end = time.monotonic() + seconds
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end, "it did not happen"
        poll()
        time.sleep(0.01)


def streaming(station: Station, uri: str, array: str | None) -> StreamInfo:
    """Connect and start; what streams."""
    station.connect(uri, array)
    until(lambda: station.facts().link in ("ready", "lost"))
    station.start()
    until(lambda: station.facts().link in ("streaming", "lost"))
    session = station.session
    assert session is not None, station.facts().error
    return session.stream


def sending(station: Station, uri: str, array: str | None, attenuation_db: float = 25.0) -> None:
    """The same, with OFDM on the air."""
    stream = streaming(station, uri, array)
    station.transmit(waveform_for(stream), "made", TxConfig(attenuation_db=attenuation_db))


def complete(station: Station, wanted: int = len(TARGETS), *, calibrated: bool = False) -> EchoMap:
    """The first map with so many paths."""

    def look() -> EchoMap | None:
        made = station.echoes.latest()
        good = made is not None and len(made.paths) == wanted and bool(made.calibration_id) == calibrated
        return made if good else None

    return until(look, station.poll)


def check_paths(paths: Iterable[EchoPath], targets: Iterable[tuple[float, ...]] = TARGETS) -> None:
    """Each target once within half a degree, half a range bin and its stated deviation, and nothing else."""
    paths, targets = list(paths), list(targets)
    assert len(paths) == len(targets), paths
    for angle_deg, range_m, _, speed_m_s in targets:
        near = min(paths, key=lambda p: abs(p.range_m - range_m))
        assert abs(near.angle_deg - angle_deg) < 0.5
        assert abs(near.range_m - range_m) < RANGE_BIN_M / 2
        assert 0 < near.angle_sigma_deg < 0.5
        assert abs(near.angle_deg - angle_deg) < 5 * near.angle_sigma_deg + 0.05
        assert abs(near.range_rate_m_s - speed_m_s) < 0.3


def check_map(made: EchoMap, targets: Iterable[tuple[float, ...]] = TARGETS) -> None:
    """The map itself has a maximum at each target, as strong as the path says; side lobes pull at it."""
    for angle_deg, range_m, _, _ in targets:
        a, d = np.meshgrid(made.angles_deg, made.range_m, indexing="ij")
        here = (np.abs(a - angle_deg) < 8) & (np.abs(d - range_m) < RANGE_BIN_M)
        level = np.where(here, made.level_db, -np.inf)
        at = np.unravel_index(int(np.argmax(level)), level.shape)
        assert abs(made.angles_deg[at[0]] - angle_deg) < made.beamwidth_deg / 8
        assert abs(made.range_m[at[1]] - range_m) < RANGE_BIN_M / 2
        path = min(made.paths, key=lambda p: abs(p.range_m - range_m))
        assert abs(level[at] - path.power_db) < 2.0


def write_scene(folder: Path, text: str) -> str:
    """URI of the scene in this process."""
    (folder / "echo.toml").write_text(text, encoding="utf-8")
    return f"sim:{folder / 'echo.toml'}"
