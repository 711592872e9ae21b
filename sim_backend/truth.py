"""The truth file: what was drawn, what happened and where the emitters were.

JSON lines, flushed one by one, readable while the scene runs. Lines have an "event":

"drawn"   once, first: arrays in the order of the receiver channels (see `TruthWriter.drawn`).
"angles"  where one emitter is: {"emitter", "interpolation": "hold" or "linear", "t_s": [...], "angle_deg": [...]}
          in scene seconds, ahead of the samples that were generated. "hold": the angle from t_s on;
          "linear": straight lines between the points (exact). Relative to the array as the table has turned it.
          A line takes the place of what was said before about the time from its first "t_s" on.
"target_angles"  the same for one target: {"target", ..., "range_m": range at every t_s}; between two points
          of a moving target the range goes on with its "speed_m_s".
"transmit", "tx_scale", "tx_lo_write"  what a board sends from "scene_sample" on: "samples" of one period or of
          the first block of a stream (0: silence), "cyclic", "power_dbfs" and "scale" of its channels, and the
          "tx_phase_rad" of every chip's transmit LO.
"tx_write"  a client wrote a transmitter's setting ("attribute", "value", of "chip"), sending or not: attenuators
          (`..._hardwaregain`, minus the attenuation) and power-down. By IIO only.
"table"   the table rests at "heading_deg" (clockwise from above) from "t_s" on.
"fault"   an injected fault begins: "kind", "channel" (null: several) and what there is to say; "fault_end" where
          one ends that lasts only for a while. `fault_gain_re`, `fault_gain_im`, `fault_turn_rad_per_s`: factor of
          every channel of the board from then on, all faults together, and how fast its phase turns.
others    "lo_write", "rate_write", "gain_write", "open", "close", "stall", ... with "board", "scene_sample" (in
          samples of the board's rate `fs_hz`), "t_s", "epoch" and the `group_phase_rad` of every chip then.

Read it with `read_truth`; nothing of the engine is needed for that.
"""

from __future__ import annotations

import bisect
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hil.core.errors import SceneError

_MOST_BYTES = 1 << 30


class TruthWriter:
    """Appends lines to a truth file. Thread-safe.

    Raises SceneError if the file cannot be created.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self._file = self.path.open("w", encoding="utf-8")
        except (OSError, ValueError) as err:
            raise SceneError(f"{path}: cannot write the truth file: {err}") from err

    def write(self, event: str, **details: Any) -> None:
        """Append one line and flush it. Ignored after `close`."""
        line = json.dumps({"event": event, **details}, default=str)
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as err:
                raise SceneError(f"{self.path}: cannot write the truth file: {err}") from err

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._file.close()


@dataclass(frozen=True, slots=True)
class _State:
    """LO phases of one board from scene second t_s on."""

    t_s: float
    epoch: int
    phase_rad: tuple[float, ...]  # of every chip


@dataclass(frozen=True, slots=True, eq=False)
class _Wrong:
    """Factor of the channels of one board by faults, from scene second t_s on."""

    t_s: float
    factor: NDArray[np.complex128]  # (C,)
    turn_rad_per_s: NDArray[np.float64]  # (C,)


class Truth:
    """What a truth file says.

    Attributes
    ----------
    drawn : the first line. events : all other lines but angles, in file order.
    fs_hz, fc_hz : at the end of the file (of board 0); the scene's own are in `drawn`.
    opens : (board, scene_sample) of every "open", in file order.
    positions_m, position_error_m : (M, 3) metres. coupling : (M, M) complex128. gain : (M,) complex128
    without LO phase. delay_s : (M,). targets : angle, range, speed and level of every target at scene second 0.
    tx_gain : (M,) complex128 of the transmit chains without LO phase. leakage : (M, M) complex128, [transmit
    channel, receive element], relative to the echo of a target of rcs_db = 0.
    """

    def __init__(self, lines: list[dict[str, Any]], where: str) -> None:
        first = lines[0]
        if first.get("event") != "drawn":
            raise SceneError(f'{where}: the first line is not of event "drawn"', hint="not a truth file")
        self.drawn = first
        self.where = where
        self.events = [line for line in lines[1:] if line.get("event") not in ("angles", "target_angles")]
        m = int(first["n_elements"])
        self.positions_m = _array(first["positions_m"], (m, 3))
        self.position_error_m = _array(first["position_error_m"], (m, 3))
        self.coupling = _array(first["coupling_re"], (m, m)) + 1j * _array(first["coupling_im"], (m, m))
        self.gain = _array(first["gain_re"], (m,)) + 1j * _array(first["gain_im"], (m,))
        self.delay_s = _array(first["delay_s"], (m,))
        self._drift = _array(first["drift_rad_per_s"], (m,))
        self._chip = [(int(b), int(c)) for b, c in first["chips"]]
        if len(self._chip) != m:
            raise ValueError("chips: one pair per element")
        self._states = {
            b: [_State(0.0, 0, tuple(float(p) for p in phases))]
            for b, phases in enumerate(first["group_phase_rad"])
        }
        self.fs_hz, self.fc_hz = float(first["fs_hz"]), float(first["fc_hz"])
        if not (0 < self.fs_hz < 1e12 and 0 < self.fc_hz < 1e15):
            raise ValueError("fs_hz or fc_hz out of range")
        self.opens: list[tuple[int, int]] = []
        self._c = int(first["n_channels"])
        self._wrong: dict[int, list[_Wrong]] = {b: [] for b in self._states}
        for event in self.events:
            self._take(event)
        for states in (*self._states.values(), *self._wrong.values()):
            states.sort(key=lambda state: state.t_s)  # a fault is noted when its samples are made
        self.targets: list[dict[str, Any]] = list(first.get("targets", []))
        zero = [0.0] * m
        self.tx_gain = _array(first.get("tx_gain_re", zero), (m,)) + 1j * _array(
            first.get("tx_gain_im", zero), (m,)
        )
        none = [zero] * m
        self.leakage = _array(first.get("leakage_re", none), (m, m)) + 1j * _array(
            first.get("leakage_im", none), (m, m)
        )
        self._angles = _Angles(lines, int(first["n_emitters"]))
        self._target_angles = _Angles(lines, len(self.targets), "target_angles", "target")
        self._target_ranges = _Angles(lines, len(self.targets), "target_angles", "target", "range_m")
        speeds = [float(target["speed_m_s"]) for target in self.targets]
        starts = [float(target["range_m"]) for target in self.targets]
        self._speeds_m_s, self._starts_m = _array(speeds, (None,)), _array(starts, (None,))

    def _take(self, event: dict[str, Any]) -> None:
        board = int(event["board"])
        kind = event["event"]
        if kind == "open":
            self.opens.append((board, int(event["scene_sample"])))
        if "group_phase_rad" in event:
            phases = tuple(float(p) for p in event["group_phase_rad"])
            self._states[board].append(_State(float(event["t_s"]), int(event["epoch"]), phases))
        if "fault_gain_re" in event:
            re, im, turn = (
                _array(event[f"fault_{name}"], (self._c,))
                for name in ("gain_re", "gain_im", "turn_rad_per_s")
            )
            self._wrong[board].append(_Wrong(float(event["t_s"]), re + 1j * im, turn))
        if board == 0 and kind == "rate_write":
            self.fs_hz = float(event["fs_hz"])
        if board == 0 and kind == "lo_write" and int(event.get("chip", 0)) == 0:
            self.fc_hz = float(event["fc_hz"])

    @property
    def n_elements(self) -> int:
        """M."""
        return len(self.gain)

    @property
    def n_emitters(self) -> int:
        """K."""
        return self._angles.n_emitters

    def angles_deg(self, scene_samples: ArrayLike, fs_hz: float | None = None) -> NDArray[np.float64]:
        """Angle of every emitter (direct ray), (n, K) float64 degrees, at scene samples (n,).

        fs_hz : rate that counts these samples, default `fs_hz` of the file. NaN past the end of the file.
        """
        return self._angles.at(self._t_s(scene_samples, fs_hz))

    def targets_at(
        self, scene_samples: ArrayLike, fs_hz: float | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Angles (n, K) in degrees and ranges (n, K) in metres of every target, float64, at scene samples (n,)
        as they are received. NaN past the end of the file."""
        t_s = self._t_s(scene_samples, fs_hz)
        held = self._target_ranges.at(t_s)
        moved = np.abs(self._starts_m + self._speeds_m_s * t_s[:, None])
        return self._target_angles.at(t_s), np.where((self._speeds_m_s != 0) & np.isfinite(held), moved, held)

    def _t_s(self, scene_samples: ArrayLike, fs_hz: float | None) -> NDArray[np.float64]:
        # a thousandth of a sample, so that a dwell's first sample belongs to it whatever the rounding
        return (np.atleast_1d(np.asarray(scene_samples, dtype=np.float64)) + 1e-3) / (fs_hz or self.fs_hz)

    def gain_at(self, scene_sample: int, fs_hz: float | None = None) -> NDArray[np.complex128]:
        """(M,) complex128: total gain at a scene sample: drawn gain, LO phase of the chip, drift, faults.

        Gain settings in dB are not part of it: they are known to the user. Antennas that have changed places
        and channels that are dead are not told here, see `events`.
        """
        t_s = scene_sample / (fs_hz or self.fs_hz)
        phase = self._drift * t_s
        for m, (board, chip) in enumerate(self._chip):
            phase[m] += self._state(board, t_s).phase_rad[chip]
        wrong = np.concatenate([self._factor(board, t_s) for board in sorted(self._states)])
        return self.gain * np.exp(1j * phase) * wrong[: len(phase)]

    def _factor(self, board: int, t_s: float) -> NDArray[np.complex128]:
        """(C,) factor of the channels of a board by faults."""
        before = [wrong for wrong in self._wrong[board] if wrong.t_s <= t_s + 1e-9]
        if not before:
            return np.ones(self._c, complex)
        last = before[-1]
        return last.factor * np.exp(1j * last.turn_rad_per_s * (t_s - last.t_s))

    def epoch_at(self, board: int, scene_sample: int, fs_hz: float | None = None) -> int:
        """Coherence epoch of a board: counts redraws of its LO phases."""
        return self._state(board, scene_sample / (fs_hz or self.fs_hz)).epoch

    def _state(self, board: int, t_s: float) -> _State:
        states = self._states[board]
        # half a sample of the fastest rate: t_s of an event is that of its sample
        at = bisect.bisect_right([state.t_s for state in states], t_s + 1e-9)
        return states[max(0, at - 1)]


class _Angles:
    """Angles over time of K emitters, or another `value` of what `event` lines list by `name`."""

    def __init__(
        self,
        lines: list[dict[str, Any]],
        n_emitters: int,
        event: str = "angles",
        name: str = "emitter",
        value: str = "angle_deg",
    ) -> None:
        if not 0 <= n_emitters <= 10_000:
            raise ValueError("n_emitters out of range")
        self.n_emitters = n_emitters
        #: (3, n) of each line: scene second, value, 1.0 if a straight line leads on from there.
        self._lines: list[list[NDArray[np.float64]]] = [[] for _ in range(n_emitters)]
        self._until_s = 0.0
        for line in lines:
            if line.get("event") != event:
                continue
            k = int(line[name])
            t = _array(line["t_s"], (None,))
            straight = value == "angle_deg" and line["interpolation"] == "linear"
            self._add(k, np.array([t, _array(line[value], (len(t),)), np.full(len(t), float(straight))]))
            self._until_s = max(self._until_s, float(line["until_s"]))

    def at(self, t_s: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full((len(t_s), self.n_emitters), np.nan)
        inside = (t_s >= 0) & (t_s < self._until_s)
        for k in range(self.n_emitters):
            if not self._lines[k]:
                continue
            t, deg, straight = np.concatenate(self._lines[k], axis=1)
            index = np.searchsorted(t, t_s[inside], side="right") - 1
            held = np.where(index >= 0, deg[np.maximum(index, 0)], np.nan)
            angle = np.where(straight[np.maximum(index, 0)] > 0, np.interp(t_s[inside], t, deg), held)
            # a table may turn a straight line past the back
            out[inside, k] = np.where(np.abs(angle) > 180, (angle + 180) % 360 - 180, angle)
        return out

    def _add(self, k: int, line: NDArray[np.float64]) -> None:
        """A line takes the place of what was said before from its first moment on."""
        kept = self._lines[k]
        while line.shape[1] and kept and kept[-1][0, -1] >= line[0, 0]:
            last = kept.pop()
            before = last[:, last[0] < line[0, 0]]
            if before.shape[1]:
                kept.append(before)
                break
        if line.shape[1]:
            kept.append(line[:, np.append(np.diff(line[0]) > 0, True)])


def _array(value: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    out = np.asarray(value, dtype=np.float64)
    if out.ndim != len(shape) or any(w is not None and w != h for w, h in zip(shape, out.shape, strict=True)):
        raise ValueError(f"shape {out.shape}, expected {shape}")
    if not np.all(np.isfinite(out)):
        raise ValueError("values that are not finite")
    return out


def read_truth(path: str | Path) -> Truth:
    """Read a truth file, also one that is still being written (an unfinished last line is left out).

    Raises
    ------
    SceneError : not readable, not a truth file, or damaged.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SceneError(f"{path}: over 1 GiB, not read")
        text = path.read_bytes()
    except (OSError, ValueError) as err:
        raise SceneError(f"{path}: cannot read truth: {err}") from err
    whole = text[: text.rfind(b"\n") + 1]
    lines: list[dict[str, Any]] = []
    for number, raw in enumerate(whole.splitlines(), 1):
        try:
            line = json.loads(raw)
        except (ValueError, RecursionError) as err:
            raise SceneError(f"{path}: line {number} is not JSON") from err
        if not isinstance(line, dict):
            raise SceneError(f"{path}: line {number} is not an object")
        lines.append(line)
    if not lines:
        raise SceneError(f"{path}: no complete line", hint="is the simulation still starting?")
    try:
        return Truth(lines, str(path))
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, AttributeError) as err:
        raise SceneError(f"{path}: damaged truth file: {type(err).__name__}: {err}") from err
