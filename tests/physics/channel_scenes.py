"""Simulated arrays with delays, IQ images and DC, learned from their own echoes; what was drawn is known."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.convert import wire_to_complex
from drivers.sigmf_files import open_recording
from hil import store
from hil.cli.main import call
from hil.core.calibration import Calibration
from hil.core.frame import Block, FrameFlag
from hil.core.waveform import ofdm, save_waveform
from hil.recorder import Recorder
from sim_backend.drawn import Drawn, draw
from sim_backend.scene import load_scene

_SCENE = """
seed = {seed}
[array]
n_elements = {elements}
[receiver]
board = "{board}"
fs_hz = {fs_hz}
[impairments]
position_std_wavelengths = 0.0
relock_phase = false
delay_std_s = {delay_std_s}
iq_image_db = {iq_image_db}
dc_dbfs = {dc_dbfs}
[transmit]
leakage_db = 15.0
[[target]]
angle_deg = 17.0
range_m = {near}
[[target]]
angle_deg = -33.0
range_m = {middle}
rcs_db = -3.0
[[target]]
angle_deg = 41.0
range_m = {far}
rcs_db = -6.0
"""


@dataclass(frozen=True, slots=True)
class Learned:
    """What `hil learn` said and stored, and what the simulator drew. Errors over their stated sigma."""

    json: dict[str, Any]
    calibration: Calibration
    drawn: Drawn

    @property
    def delay_errors(self) -> NDArray[np.float64]:
        """(M - 1,) relative to element 0."""
        have, sigma = self.calibration.impairments.delay_s, self.calibration.sigma.delay_s
        return ((have - (self.drawn.delay_s - self.drawn.delay_s[0])) / np.where(sigma > 0, sigma, 1))[1:]

    @property
    def iq_errors(self) -> NDArray[np.float64]:
        """(2 M,) real and imaginary parts."""
        sigma = self.calibration.sigma.iq_image
        assert sigma is not None
        return _parts((self.calibration.impairments.iq_image - self.drawn.iq_image) / sigma)

    @property
    def dc_errors(self) -> NDArray[np.float64]:
        """(2 M,) real and imaginary parts."""
        sigma = self.calibration.sigma.dc_offset
        assert sigma is not None
        return _parts((self.calibration.impairments.dc_offset - self.drawn.dc_offset) / sigma)

    @property
    def phase_error_deg(self) -> float:
        """rms of the learned phases, without the ramp over the line that an anchor fixes."""
        ratio = self.calibration.impairments.gain / self.drawn.gain
        phase = np.unwrap(np.angle(ratio / ratio[0]))
        x = np.arange(len(phase))
        return float(np.rad2deg(np.std(phase - np.polyval(np.polyfit(x, phase, 1), x))))


def _parts(values: NDArray[np.complex128]) -> NDArray[np.float64]:
    return np.ascontiguousarray(values).view(np.float64)


def command(text: str, *codes: int) -> dict[str, Any]:
    """JSON object of a command that must succeed, or end with one of the codes."""
    out = io.StringIO()
    with redirect_stdout(out):
        code = call([*text.split(), "--json", "-"])
    found = json.loads(out.getvalue())
    assert code in (0, *codes), (text, found)
    return found


def capture(
    folder: Path,
    seed: int,
    *,
    fs_hz: float = 2.5e6,
    board: str = "fmcomms5",
    elements: int = 8,
    n_samples: int = 80_000,
    n_symbols: int = 10,
    delay_std_s: float = 2e-9,
    iq_image_db: float = -35.0,
    dc_dbfs: float = -45.0,
) -> float:
    """r.sigmf-meta of three targets that echo w.toml; returns the range of the anchor, which stands at 17 degrees."""
    near = 300.0 * 2.5e6 / fs_hz
    wave = ofdm(52, fs_hz / 64, n_fft=64, cp_samples=16, n_symbols=n_symbols, seed=1)
    save_waveform(wave, folder / "w.toml")
    scene = _SCENE.format(
        seed=seed, elements=elements, board=board, fs_hz=fs_hz, delay_std_s=delay_std_s, iq_image_db=iq_image_db,
        dc_dbfs=dc_dbfs, near=near, middle=1.6 * near, far=near * 13 / 6,
    )  # fmt: skip
    (folder / "s.toml").write_text(scene, encoding="utf-8")
    for old in folder.glob("r.*"):
        old.unlink()
    command(
        f"capture sim:{folder}/s.toml?free {folder}/r.sigmf-meta --samples {n_samples} --array ula:{elements}:0.5 --gaps "
        f"--fs {fs_hz} --transmit {folder}/w.toml --tx-attenuation 25"
    )  # fmt: skip
    return near


_HOPS = """
seed = {seed}
[array]
n_elements = 8
[impairments]
position_std_wavelengths = 0.0
relock_phase = false
delay_std_s = 2e-9
iq_image_db = -35.0
dc_dbfs = -45.0
[ofdm]
spacing_hz = 39062.5
n_subcarriers = 52
[[emitter]]
waveform = "ofdm"
offset_hz = {offset_hz}
hop = {{ period_s = 0.004, min_deg = -60.0, max_deg = 60.0 }}
"""


def capture_hops(folder: Path, seed: int, *, offset_hz: float = 1e5, seconds: float = 0.4) -> None:
    """r.sigmf-meta of an emitter at a carrier of its own that takes a new angle every 4 ms, and its w.toml."""
    (folder / "s.toml").write_text(_HOPS.format(seed=seed, offset_hz=offset_hz), encoding="utf-8")
    for old in (*folder.glob("r.*"), *folder.glob("f.*"), folder / "w.toml"):
        old.unlink(missing_ok=True)
    command(f"waveform from-scene {folder}/s.toml {folder}/w.toml")
    command(
        f"capture sim:{folder}/s.toml?free {folder}/r.sigmf-meta --seconds {seconds} --array ula:8:0.5 --gaps"
    )


def learn_hops(folder: Path, name: str = "r") -> Learned:
    """From the recording of `capture_hops`; so few angles leave their offset open, which is exit code 4."""
    found = command(
        f"learn {folder}/{name}.sigmf-meta --waveform {folder}/w.toml --method gain-phase-isac --support -60:60 "
        f"--out {folder}/{name}.h5", 4,
    )  # fmt: skip
    return Learned(found, store.load(folder / f"{name}.h5"), draw(load_scene(folder / "s.toml")))


def learn(folder: Path, anchor_range_m: float, name: str = "r") -> Learned:
    """From the recording of `capture`."""
    found = command(
        f"learn {folder}/{name}.sigmf-meta --waveform {folder}/w.toml --method gain-phase-isac --anchor 17 "
        f"--anchor-range {anchor_range_m} --out {folder}/{name}.h5"
    )  # fmt: skip
    return Learned(found, store.load(folder / f"{name}.h5"), draw(load_scene(folder / "s.toml")))


def filtered(folder: Path, taps: NDArray[np.complex128]) -> None:
    """f.sigmf-meta: the recording r with every channel behind a filter of its own, taps (M, T)."""
    with open_recording(folder / "r.sigmf-meta") as recording:
        stream = recording.stream
        x, _ = wire_to_complex(recording.read(0, recording.n_samples), stream.device.full_scale_bits)
    y = np.stack([np.convolve(row, h)[: x.shape[1]] for row, h in zip(x, taps, strict=True)])
    full = 2.0 ** (stream.device.full_scale_bits - 1)
    parts = np.ascontiguousarray(y.T).view(np.float64).reshape(y.shape[1], len(y), 2)
    wire = np.rint(parts * full).astype(np.int16)
    with Recorder(folder / "f.sigmf-meta", stream) as recorder:
        recorder.write(Block(wire, 0, 0, 0, 0, FrameFlag.NONE, stream, 0))
