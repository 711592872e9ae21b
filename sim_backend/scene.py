"""A scene: array, receiver, errors and emitters, as written in a TOML file.

Angles in degrees (broadside angle or azimuth), because scene files are for people; Hz, s, m, dB. Every key is
optional, unknown keys are an error. The defaults are the default scene of the contract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hil.core.errors import SceneError
from hil.core.units import SPEED_OF_LIGHT_M_S
from sim_backend.boards import BOARDS, Board
from sim_backend.echo_spec import Target, TransmitSpec
from sim_backend.faults import Faults
from sim_backend.turntable import TableSpec

POSITIONERS = ("", "sim", "rotctld", "maturo", "scpi", "ets")
WAVEFORMS = ("cw", "noise", "qpsk", "ofdm", "srs", "file")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """Nominal array. Sizes in wavelengths at [receiver].fc_hz; `positions_m` (M, 3) metres.

    `ports[i]` is the receiver channel (counted over all boards) that element i is connected to.
    """

    kind: str = "ula"
    n_elements: int = 8
    spacing_wavelengths: float = 0.5
    radius_wavelengths: float = 0.6
    positions_m: tuple[tuple[float, float, float], ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverSpec:
    """Receiver at power-up. `fs_hz` None: the board's default; `adc_bits` None: the board's.

    `snr_db` per element and sample for the strongest emitter at |g| = 1; `peak_dbfs` is the RMS level of
    that emitter at the board's nominal gain (a full-scale complex tone is 0 dBFS).
    """

    board: str = "fmcomms5"
    fc_hz: float = 2.45e9
    fs_hz: float = 2.5e6
    snr_db: float = 20.0
    peak_dbfs: float = -12.0
    adc_bits: int = 12


@dataclass(frozen=True, slots=True)
class ImpairmentSpec:
    """Size of the errors that are drawn once from the seed (see sim_backend.drawn)."""

    gain_std: float = 0.3
    phase_std_deg: float | None = None  # None: uniform on the circle, "uniform" in the file
    position_std_wavelengths: float = 0.1
    coupling_db: float = -200.0
    delay_std_s: float = 0.0
    iq_image_db: float = -200.0
    dc_dbfs: float = -200.0
    relock_phase: bool = True
    drift_deg_per_minute: float = 0.0
    angle_dependent_phase_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Hop:
    """A new angle, uniform in min_deg..max_deg, every `period_s`."""

    period_s: float = 0.01
    min_deg: float = -60.0
    max_deg: float = 60.0


@dataclass(frozen=True, slots=True)
class Track:
    """To and fro between min_deg and max_deg, starting at the emitter's `angle_deg` (towards max_deg)."""

    rate_deg_per_s: float = 5.0
    min_deg: float = -60.0
    max_deg: float = 60.0


@dataclass(frozen=True, slots=True)
class Multipath:
    """A coherent copy of the emitter's signal from another direction, later and weaker."""

    angle_deg: float = 30.0
    delay_s: float = 0.0
    power_db: float = -6.0
    elevation_deg: float = 0.0
    phase_deg: float = 0.0


@dataclass(frozen=True, slots=True)
class Emitter:
    """One source. `offset_hz` from the LO (and follows it) or `rf_hz` absolute."""

    angle_deg: float = 0.0
    elevation_deg: float = 0.0
    power_db: float = 0.0
    waveform: str = "qpsk"
    file: str = ""
    offset_hz: float = 1.0e5
    rf_hz: float | None = None
    symbol_rate_hz: float | None = None
    hop: Hop | None = None
    track: Track | None = None
    paths: tuple[Multipath, ...] = ()

    @property
    def range_deg(self) -> tuple[float, float]:
        """Declared range of the angle."""
        move = self.hop or self.track
        return (move.min_deg, move.max_deg) if move else (self.angle_deg, self.angle_deg)


@dataclass(frozen=True, slots=True)
class OfdmSpec:
    """Numerology of "ofdm" and "srs" waveforms; cp_samples at the rate n_fft * spacing_hz."""

    n_subcarriers: int = 64
    spacing_hz: float = 15e3
    cp_samples: int = 16


@dataclass(frozen=True, slots=True)
class LearnSpec:
    """What the learner may assume. `support_deg` None: the emitters' range; `sources` None: automatic."""

    support_deg: tuple[float, float] | None = None
    sources: int | None = None


@dataclass(frozen=True, slots=True)
class ChamberSpec:
    """A turntable under the array: one that is commanded, or a programme.

    positioner : "" , "sim" or the family of controllers (sim_backend.rotators) that `hil sim serve --rotator` speaks.
    acceleration_deg_per_s2 : None: twice the speed in a second. backlash_deg : play between motor and plate.
    steps_deg : the table's programme: headings clockwise seen from above, relative to the array's pose in the
        scene file, `step_s` each; turns are instantaneous and the last heading is kept. () : it never turns.
    """

    positioner: str = ""
    speed_deg_per_s: float = 6.0
    acceleration_deg_per_s2: float | None = None
    backlash_deg: float = 0.0
    min_deg: float = -180.0
    max_deg: float = 180.0
    steps_deg: tuple[float, ...] = ()
    step_s: float = 0.2

    @property
    def table(self) -> TableSpec:
        """The table that is commanded; it begins at 0, or as near to it as it can."""
        start = min(max(0.0, self.min_deg), self.max_deg)
        return TableSpec(
            self.speed_deg_per_s, self.acceleration_deg_per_s2, self.backlash_deg, self.min_deg, self.max_deg, start
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scene:
    """A checked scene. Build it with `load_scene` or `parse_scene`; `folder` resolves relative files.

    duration_s : how long programs that run through a scene let it run; its signals go on after it.
    """

    seed: int = 7
    duration_s: float = 60.0
    array: ArraySpec = field(default_factory=ArraySpec)
    receiver: ReceiverSpec = field(default_factory=ReceiverSpec)
    impairments: ImpairmentSpec = field(default_factory=ImpairmentSpec)
    emitters: tuple[Emitter, ...] = (Emitter(hop=Hop()),)
    targets: tuple[Target, ...] = ()
    learn: LearnSpec = field(default_factory=LearnSpec)
    ofdm: OfdmSpec = field(default_factory=OfdmSpec)
    faults: Faults = field(default_factory=Faults)
    chamber: ChamberSpec = field(default_factory=ChamberSpec)
    folder: str = ""
    transmit: TransmitSpec = field(default_factory=TransmitSpec)

    @property
    def board(self) -> Board:
        """The board's table."""
        return BOARDS[self.receiver.board]

    @property
    def n_elements(self) -> int:
        """M."""
        return self.array.n_elements

    @property
    def n_boards(self) -> int:
        """Boards that carry the elements."""
        return -(-self.n_elements // self.board.n_channels)

    @property
    def wavelength_m(self) -> float:
        """c / fc_hz of the scene file, the unit of its `_wavelengths` keys."""
        return SPEED_OF_LIGHT_M_S / self.receiver.fc_hz

    @property
    def support_deg(self) -> tuple[float, float] | None:
        """Angles that the learner may assume: [learn].support_deg, or the hull of the emitters' declared
        ranges (the targets', where nothing emits); None if nothing moves and nothing is declared."""
        if self.learn.support_deg is not None:
            return self.learn.support_deg
        ranges = [source.range_deg for source in self.emitters or self.targets]
        steps = self.chamber.steps_deg or (0.0,)
        turns = max(steps) > min(steps)
        if not ranges or not (turns or any(s.hop or s.track for s in self.emitters or self.targets)):
            return None
        low, high = min(low for low, _ in ranges) - max(steps), max(high for _, high in ranges) - min(steps)
        return max(low, -180.0), min(high, 180.0)

    @property
    def sources(self) -> int | None:
        """Number of sources that the learner may assume; None: "auto" was asked for."""
        return self.learn.sources

    @property
    def not_simulated(self) -> tuple[str, ...]:
        """Parts of this scene that are read and checked, but have no effect in this version, in words."""
        return ()

    def to_toml(self) -> str:
        """The scene as TOML; `parse_scene` of it gives an equal scene."""
        return _to_toml(self)


def load_scene(path: str | Path | None) -> Scene:
    """Read and check a scene file; None gives the default scene.

    Raises
    ------
    SceneError : not readable, not TOML, an unknown key (with the nearest known one), or a bad value.
    """
    if path is None:
        return Scene(learn=LearnSpec((-60.0, 60.0), 1))
    path = Path(path)
    try:
        if path.stat().st_size > 4_000_000:
            raise SceneError(f"{path}: over 4 MB, not a scene file")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as err:
        raise SceneError(f"{path}: not UTF-8 text: {err}", hint="scene files are TOML text") from err
    except (OSError, ValueError) as err:
        reason = err.strerror if isinstance(err, OSError) and err.strerror else str(err)
        hint = f"write one with `hil scene new {path.name}`"
        raise SceneError(f"{path}: cannot read scene: {reason}", hint=hint) from err
    return parse_scene(text, str(path), folder=str(path.parent))


def parse_scene(text: str, where: str = "scene", *, folder: str = "") -> Scene:
    """Check scene text; `where` names it in errors. Raises SceneError."""
    from sim_backend.scene_reader import read_scene  # the reader imports the types of this module

    return read_scene(text, where, folder)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML basic strings know the escapes of JSON except \/ ; control characters as \uXXXX
        return '"' + "".join(_escape(ch) for ch in value) + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SceneError(f"value {value} cannot be written to a scene file")
        return repr(value)
    if is_dataclass(value):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in _items(value)) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    raise SceneError(f"cannot write a {type(value).__name__} to a scene file")


def _escape(ch: str) -> str:
    if ch in '"\\':
        return "\\" + ch
    return f"\\u{ord(ch):04x}" if ord(ch) < 32 or ord(ch) == 127 else ch


def _items(spec: Any) -> list[tuple[str, Any]]:
    """Keys to write: None, "" and () are left to their defaults."""
    pairs = [(f.name, getattr(spec, f.name)) for f in fields(spec)]
    return [(k, v) for k, v in pairs if v is not None and v != "" and v != ()]


def _table(name: str, spec: Any, *skip: str) -> list[str]:
    rows = [f"{k} = {_value(v)}" for k, v in _items(spec) if k not in skip]
    return ["", name, *rows] if rows else []


def _to_toml(scene: Scene) -> str:
    lines = [f"seed = {scene.seed}", f"duration_s = {scene.duration_s!r}"]
    kind = scene.array.kind
    sizes = {"ula": "spacing_wavelengths", "uca": "radius_wavelengths", "positions": "positions_m"}
    lines += _table("[array]", scene.array, *(key for k, key in sizes.items() if k != kind))
    lines += _table("[receiver]", scene.receiver)
    lines += _table("[impairments]", scene.impairments)
    if scene.impairments.phase_std_deg is None:
        lines.append('phase_std_deg = "uniform"')
    if not scene.emitters:
        lines.insert(0, "emitter = []")
    for emitter in scene.emitters:
        skip = ["offset_hz"] if emitter.rf_hz is not None else []
        if emitter.file:
            skip.append("waveform")
        lines += _table("[[emitter]]", emitter, *skip)
    for target in scene.targets:
        lines += _table("[[target]]", target)
    if scene.transmit != TransmitSpec():
        lines += _table("[transmit]", scene.transmit)
    lines += _table("[learn]", scene.learn)
    if scene.learn.sources is None:
        lines += (
            ['sources = "auto"']
            if lines[-1].startswith("support_deg")
            else ["", "[learn]", 'sources = "auto"']
        )
    lines += _table("[ofdm]", scene.ofdm)
    lines += _table("[faults]", scene.faults) if scene.faults.any else []
    lines += _table("[chamber]", scene.chamber) if scene.chamber != ChamberSpec() else []
    return "\n".join(lines) + "\n"
