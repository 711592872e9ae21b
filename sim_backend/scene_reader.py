"""Strict reading of scene TOML: unknown keys, types and ranges are checked, with the file and key named."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterable
from typing import Any

from hil.core.errors import SceneError
from sim_backend import scene as s
from sim_backend.boards import BOARDS, Board
from sim_backend.fault_reader import read_faults
from sim_backend.target_reader import read_target, read_transmit

_MAX_ELEMENTS = 256
_MAX_EMITTERS = 16
_MAX_STEPS = 10_000
_MAX_PATHS = 8
_MAX_TIMES = 1000


class Table:
    """One TOML table that is used up key by key; what is left over is an error. Raises SceneError."""

    def __init__(self, value: Any, where: str, name: str) -> None:
        self._prefix = f"{name}." if name else ""
        self._where = where
        if not isinstance(value, dict):
            raise SceneError(f"{where}: {name or 'the file'} must be a table")
        self._left = dict(value)
        self._known: list[str] = []

    def error(self, key: str, message: str, hint: str = "") -> SceneError:
        return SceneError(f"{self._where}: {self._prefix}{key}: {message}", hint=hint)

    def has(self, key: str) -> bool:
        return key in self._left

    def raw(self, key: str, default: Any = None) -> Any:
        self._known.append(key)
        return self._left.pop(key, default)

    def number(self, key: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """A finite number in low..high; `above`: greater than low."""
        value = self.raw(key, default)
        return self.checked(key, value, low, high, above=above)

    def checked(self, key: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"{_shown(value)} is not a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not low <= number <= high or (above and number == low):
            span = f"more than {low:g} and at most {high:g}" if above else f"between {low:g} and {high:g}"
            raise self.error(key, f"{number:g} must be {span}")
        return number

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.raw(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(key, f"{_shown(value)} is not an integer")
        if not low <= value <= high:
            raise self.error(key, f"must be between {low} and {high}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.raw(key, default)
        if not isinstance(value, bool):
            raise self.error(key, f"{_shown(value)} is not true or false")
        return value

    def choice(self, key: str, default: str, allowed: Iterable[str]) -> str:
        value, allowed = self.raw(key, default), list(allowed)
        if value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise self.error(key, f"{_shown(value)} is not one of {', '.join(filter(None, allowed))}", hint)
        return value

    def list(self, key: str, most: int) -> list[Any]:
        value = self.raw(key, [])
        if not isinstance(value, list):
            raise self.error(key, "must be a list")
        if len(value) > most:
            raise self.error(key, f"{len(value)} entries, at most {most} are allowed")
        return value

    def times(self, key: str) -> tuple[float, ...]:
        """One scene second, a list of them, or { every_s, first_s, count } for a row of them."""
        value = self.raw(key, [])
        if isinstance(value, dict):
            row = Table(value, self._where, f"{self._prefix}{key}")
            every_s = row.number("every_s", 1.0, 1e-3, 1e6)
            first_s = row.number("first_s", every_s, 0.0, 1e6)
            count = row.integer("count", _MAX_TIMES, 1, _MAX_TIMES)
            row.done()
            return tuple(first_s + k * every_s for k in range(count) if first_s + k * every_s <= 1e6)
        value = value if isinstance(value, list) else [value]
        if len(value) > _MAX_TIMES:
            raise self.error(key, f"{len(value)} entries, at most {_MAX_TIMES} are allowed")
        return tuple(sorted(self.checked(key, v, 0.0, 1e6) for v in value))

    def range_deg(self, low: float, high: float) -> tuple[float, float]:
        """`min_deg` and `max_deg`."""
        pair = self.number("min_deg", low, -180, 180), self.number("max_deg", high, -180, 180)
        if not pair[0] < pair[1]:
            raise self.error("min_deg", "must be less than max_deg")
        return pair

    def sub(self, key: str, name: str = "") -> Table:
        return Table(self.raw(key, {}), self._where, name or f"{self._prefix}{key}")

    def done(self) -> None:
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, 1)
            known = f"known: {', '.join(sorted(set(self._known)))}"
            hint = f"did you mean {near[0]!r}?" if near else known
            raise self.error(key[:60], "unknown key", hint)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_scene(text: str, where: str, folder: str) -> s.Scene:
    """The checked scene of this text. Raises SceneError."""
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as err:
        raise SceneError(f"{where}: not valid TOML: {err}", hint="compare with `hil scene new`") from err
    top = Table(data, where, "")
    seed = top.integer("seed", 7, 0, 2**63 - 1)
    duration_s = top.number("duration_s", 60.0, 0.0, 1e6, above=True)
    receiver, board = _receiver(top.sub("receiver"))
    array = _array(top.sub("array"))
    ofdm = _ofdm(top.sub("ofdm"))
    given = top.has("emitter")
    emitters = tuple(
        _emitter(Table(entry, where, f"emitter[{k}]"), receiver)
        for k, entry in enumerate(top.list("emitter", _MAX_EMITTERS))
    )
    targets = tuple(
        read_target(Table(entry, where, f"target[{k}]")) for k, entry in enumerate(top.list("target", 64))
    )
    if not given and not targets:  # a scene of targets has no emitters but those that it names
        emitters = s.Scene().emitters
    scene = s.Scene(
        seed, duration_s, array, receiver, _impairments(top.sub("impairments"), board), emitters, targets,
        _learn(top.sub("learn"), array.n_elements, len(emitters)), ofdm,
        read_faults(
            top.sub("faults"), array.n_elements, board, len(emitters), receiver.fs_hz, receiver.adc_bits
        ), _chamber(top.sub("chamber")), folder,
        read_transmit(top.sub("transmit")),
    )  # fmt: skip
    top.done()
    return scene


def _receiver(t: Table) -> tuple[s.ReceiverSpec, Board]:
    board = BOARDS[t.choice("board", "fmcomms5", BOARDS)]
    limits = (1.0, 1e12) if board.fs_fixed_hz else board.fs_hz
    fs_hz = t.number("fs_hz", board.default_fs_hz, *limits)
    if board.fs_fixed_hz and fs_hz not in board.fs_fixed_hz:
        rates = ", ".join(f"{rate:g}" for rate in board.fs_fixed_hz)
        raise t.error("fs_hz", f"{fs_hz:g} is not a rate of {board.name}'s profiles", f"one of {rates}")
    spec = s.ReceiverSpec(
        board.name,
        t.number("fc_hz", 2.45e9, *board.fc_hz),
        fs_hz,
        t.number("snr_db", 20.0, -60.0, 120.0),
        t.number("peak_dbfs", -12.0, -120.0, 20.0),
        t.integer("adc_bits", board.adc_bits, 2, 16),
    )
    t.done()
    return spec, board


def _array(t: Table) -> s.ArraySpec:
    kind = t.choice("kind", "positions" if t.has("positions_m") else "ula", ("ula", "uca", "positions"))
    rows = t.list("positions_m", _MAX_ELEMENTS)
    positions: list[tuple[float, float, float]] = []
    for k, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 3:
            raise t.error(f"positions_m[{k}]", "must be [x, y, z] in metres")
        x, y, z = (t.checked(f"positions_m[{k}]", v, -100.0, 100.0) for v in row)
        positions.append((x, y, z))
    if bool(positions) != (kind == "positions"):
        raise t.error("positions_m", 'belongs to kind = "positions", and is needed there')
    n = t.integer("n_elements", len(positions) or 8, 1, _MAX_ELEMENTS)
    if positions and n != len(positions):
        raise t.error("n_elements", f"{n}, but positions_m lists {len(positions)} elements")
    for key, belongs in (("spacing_wavelengths", "ula"), ("radius_wavelengths", "uca")):
        if t.has(key) and kind != belongs:
            raise t.error(key, f'belongs to kind = "{belongs}", not to "{kind}"')
    ports = t.list("ports", _MAX_ELEMENTS)
    ports_ok = all(isinstance(p, int) and not isinstance(p, bool) for p in ports)
    if ports and not (ports_ok and sorted(ports) == list(range(n))):
        raise t.error("ports", f"must name each channel 0..{n - 1} once")
    spec = s.ArraySpec(
        kind, n, t.number("spacing_wavelengths", 0.5, 0.0, 100.0, above=True),
        t.number("radius_wavelengths", 0.6, 0.0, 100.0, above=True), tuple(positions), tuple(ports),
    )  # fmt: skip
    t.done()
    return spec


def _impairments(t: Table, board: Board) -> s.ImpairmentSpec:
    phase = t.raw("phase_std_deg", "uniform")
    if isinstance(phase, str) and phase != "uniform":
        raise t.error("phase_std_deg", f'{_shown(phase)} is neither a number nor "uniform"')
    spec = s.ImpairmentSpec(
        t.number("gain_std", 0.3, 0.0, 10.0),
        None if phase == "uniform" else t.checked("phase_std_deg", phase, 0.0, 360.0),
        t.number("position_std_wavelengths", 0.1, 0.0, 10.0),
        t.number("coupling_db", -200.0, -400.0, -3.0),
        t.number("delay_std_s", 0.0, 0.0, 1e-4),
        t.number("iq_image_db", -200.0, -400.0, -3.0),
        t.number("dc_dbfs", -200.0, -400.0, 0.0),
        t.flag("relock_phase", board.relock_phase),
        t.number("drift_deg_per_minute", 0.0, 0.0, 36000.0),
        t.number("angle_dependent_phase_deg", 0.0, 0.0, 180.0),
    )
    t.done()
    return spec


def _emitter(t: Table, receiver: s.ReceiverSpec) -> s.Emitter:
    if t.has("hop") and t.has("track"):
        raise t.error("track", "an emitter has either hop or track")
    if t.has("offset_hz") and t.has("rf_hz"):
        raise t.error("rf_hz", "an emitter has either offset_hz or rf_hz")
    if t.has("file") and t.has("waveform"):
        raise t.error("file", "an emitter has either waveform or file")
    file = t.raw("file", "")
    if not isinstance(file, str) or (file and not file.endswith(".sigmf-meta")) or "\0" in file:
        raise t.error("file", "must be the name of a .sigmf-meta file")
    hop = track = None
    if t.has("hop"):
        sub = t.sub("hop")
        hop = s.Hop(sub.number("period_s", 0.01, 1e-4, 1e6), *sub.range_deg(-60.0, 60.0))
        sub.done()
    if t.has("track"):
        sub = t.sub("track")
        low, high = sub.range_deg(-60.0, 60.0)
        rate = sub.number("rate_deg_per_s", 5.0, 0.0, 1e4, above=True)
        track = s.Track(rate, low, high)
        sub.done()
        if rate > 1000 * (high - low):
            raise t.error("track", "turns more than 1000 times a second", "use a wider range or a lower rate")
    paths: list[s.Multipath] = []
    for k, entry in enumerate(t.list("paths", _MAX_PATHS)):
        p = Table(entry, t._where, f"{t._prefix}paths[{k}]")
        paths.append(
            s.Multipath(
                p.number("angle_deg", 30.0, -180, 180),
                p.number("delay_s", 0.0, 0.0, 1e-2),
                p.number("power_db", -6.0, -200, 60),
                p.number("elevation_deg", 0.0, -90, 90),
                p.number("phase_deg", 0.0, -360, 360),
            )
        )
        p.done()
    rate_hz = t.raw("symbol_rate_hz")
    spec = s.Emitter(
        t.number("angle_deg", 0.0, -180, 180),
        t.number("elevation_deg", 0.0, -90, 90),
        t.number("power_db", 0.0, -200, 100),
        "file" if file else t.choice("waveform", "qpsk", [w for w in s.WAVEFORMS if w != "file"]),
        file,
        t.number("offset_hz", 1.0e5, -1e9, 1e9),
        t.number("rf_hz", receiver.fc_hz, 1.0, 1e11) if t.has("rf_hz") else t.raw("rf_hz"),
        None if rate_hz is None else t.checked("symbol_rate_hz", rate_hz, 10.0, 1e9),
        hop,
        track,
        tuple(paths),
    )
    t.done()
    if track and not track.min_deg <= spec.angle_deg <= track.max_deg:
        raise t.error("angle_deg", "the start of a track must lie in its min_deg..max_deg")
    return spec


def _ofdm(t: Table) -> s.OfdmSpec:
    n = t.integer("n_subcarriers", 64, 1, 4096)
    spec = s.OfdmSpec(
        n, t.number("spacing_hz", 15e3, 1e3, 1e7), t.integer("cp_samples", 16, 0, 4 * max(n, 64))
    )
    t.done()
    return spec


def _learn(t: Table, n_elements: int, n_emitters: int) -> s.LearnSpec:
    support = None
    if t.has("support_deg"):
        pair = t.list("support_deg", 2)
        if len(pair) != 2:
            raise t.error("support_deg", "must be [lowest, highest] in degrees")
        low, high = (t.checked("support_deg", v, -180.0, 180.0) for v in pair)
        if not low < high:
            raise t.error("support_deg", "the first angle must be less than the second")
        support = (low, high)
    asked = t.has("sources")
    sources = t.raw("sources", max(1, n_emitters))
    if sources == "auto":
        sources = None
    elif isinstance(sources, bool) or not isinstance(sources, int) or not 1 <= sources <= 256:
        raise t.error("sources", f'{_shown(sources)} is neither "auto" nor a positive integer')
    elif asked and sources >= n_elements > 1:
        raise t.error("sources", f"{sources} sources need more than {n_elements} elements")
    t.done()
    return s.LearnSpec(support, sources)


def _chamber(t: Table) -> s.ChamberSpec:
    d = s.ChamberSpec()
    positioner = t.choice("positioner", "", s.POSITIONERS)
    speed = t.number("speed_deg_per_s", d.speed_deg_per_s, 0.0, 1e4, above=True)
    ramp = t.raw("acceleration_deg_per_s2")
    if ramp is not None:
        ramp = t.checked("acceleration_deg_per_s2", ramp, 0.0, 1e6, above=True)
    backlash = t.number("backlash_deg", d.backlash_deg, 0.0, 10.0)
    low, high = t.number("min_deg", d.min_deg, -3600, 3600), t.number("max_deg", d.max_deg, -3600, 3600)
    if not low < high:
        raise t.error("min_deg", "must be less than max_deg")
    steps = t.raw("steps_deg", [])
    if not isinstance(steps, list) or len(steps) > _MAX_STEPS:
        raise t.error("steps_deg", f"must be a list of at most {_MAX_STEPS} angles in degrees")
    headings = tuple(t.checked("steps_deg", v, -360.0, 360.0) for v in steps)
    step_s = t.number("step_s", d.step_s, 1e-3, 1e6)
    if positioner and headings:
        raise t.error(
            "steps_deg", "is a programme, and positioner a table that is commanded", "keep one of them"
        )
    t.done()
    return s.ChamberSpec(positioner, speed, ramp, backlash, low, high, headings, step_s)
