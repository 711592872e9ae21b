"""Strict reading of the [faults] table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sim_backend.boards import Board
from sim_backend.faults import ALL, Faults

if TYPE_CHECKING:
    from sim_backend.scene_reader import Table

_MOST_S = 1e6
_SHORTEST_PERIOD_S = 1e-3


class _Places:
    """Which boards, channels and emitters there are to be broken."""

    def __init__(self, t: Table, n_elements: int, board: Board, n_emitters: int) -> None:
        self.table, self.n_elements, self.board, self.n_emitters = t, n_elements, board, n_emitters
        self.n_boards = -(-n_elements // board.n_channels)

    def of_board(self, kind: str, default: int, low: int = 0) -> int:
        return self.table.integer(f"{kind}_board", default, low, self.n_boards - 1)

    def of_channel(self, kind: str, given: bool) -> tuple[int, int]:
        """`X_board` and `X_channel` (-1: all); a channel without an element is refused if the fault is on."""
        board = self.of_board(kind, 0)
        channel = self.table.integer(f"{kind}_channel", 1, ALL, self.board.n_channels - 1)
        if given and channel != ALL and board * self.board.n_channels + channel >= self.n_elements:
            raise self.table.error(
                f"{kind}_channel", f"channel {channel} of board {board} has no element",
                f"the array has {self.n_elements} elements",
            )  # fmt: skip
        return board, channel

    def of_emitter(self, key: str, default: int, low: int, given: bool) -> int:
        emitter = self.table.integer(key, default, low, 15)
        if given and emitter >= self.n_emitters:
            raise self.table.error(key, f"there is no emitter {emitter}, the scene has {self.n_emitters}")
        return emitter


def read_faults(
    t: Table, n_elements: int, board: Board, n_emitters: int, fs_hz: float, adc_bits: int
) -> Faults:
    """The checked [faults] table of a scene with these elements, boards and emitters. Raises SceneError."""
    d, places = Faults(), _Places(t, n_elements, board, n_emitters)
    values: dict[str, Any] = {}
    for kind in ("drop_blocks", "disconnect", "stall", "half_reply", "phase_jump", "flip", "agc_step", "drift",
                 "slip_samples", "swap", "clip", "dead", "iq_swap", "stuck_bit", "multipath",
                 "carrier_drift"):  # fmt: skip
        values[f"{kind}_at_s"] = t.times(f"{kind}_at_s")
    for kind in ("flip", "agc_step", "drift", "slip", "clip", "dead", "iq_swap", "stuck_bit"):
        given = bool(values["slip_samples_at_s" if kind == "slip" else f"{kind}_at_s"])
        values[f"{kind}_board"], values[f"{kind}_channel"] = places.of_channel(kind, given)
    for kind in ("overflow", "disconnect", "stall"):
        values[f"{kind}_board"] = places.of_board(kind, ALL, ALL)
    for kind in ("drop_blocks", "half_reply", "phase_jump"):
        values[f"{kind}_board"] = places.of_board(kind, 0, ALL if kind != "phase_jump" else 0)
    for key in ("drift_s", "dead_s", "multipath_s", "half_reply_hang_s", "network_from_s"):
        values[key] = t.number(key, getattr(d, key), 0.0, _MOST_S)
    jump_deg = t.raw("phase_jump_deg", d.phase_jump_deg)
    if jump_deg != "random":
        if isinstance(jump_deg, str):
            raise t.error("phase_jump_deg", f'{jump_deg[:40]!r} is neither a number nor "random"')
        jump_deg = t.checked("phase_jump_deg", jump_deg, -360.0, 360.0)
    spec = Faults(
        overflow_every_s=t.number("overflow_every_s", 0.0, 0.0, _MOST_S),
        overflow_samples=t.integer("overflow_samples", d.overflow_samples, 1, 10**9),
        drop_blocks=t.integer("drop_blocks", d.drop_blocks, 1, 1000),
        stall_s=t.number("stall_s", d.stall_s, 0.0, 1e5),
        network_mbit_s=t.number("network_mbit_s", 0.0, 0.0, 1e6),
        network_latency_s=t.number("network_latency_s", 0.0, 0.0, 60.0),
        short_reads=t.flag("short_reads", False),
        phase_jump_deg=jump_deg,
        phase_jump_chip=t.integer("phase_jump_chip", d.phase_jump_chip, ALL, len(board.chips) - 1),
        agc_step_db=t.number("agc_step_db", d.agc_step_db, -100.0, 100.0),
        agc_step_phase_deg=t.number("agc_step_phase_deg", d.agc_step_phase_deg, -360.0, 360.0),
        drift_deg_per_s=t.number("drift_deg_per_s", d.drift_deg_per_s, -36000.0, 36000.0),
        slip_samples=t.integer("slip_samples", d.slip_samples, -1_000_000, 1_000_000),
        swap_channels=_swap(t, n_elements, bool(values["swap_at_s"])),
        clip_s=t.number("clip_s", d.clip_s, 0.0, _MOST_S, above=True),
        clip_dbfs=t.number("clip_dbfs", d.clip_dbfs, -100.0, 100.0),
        dead_leaves=t.choice("dead_leaves", d.dead_leaves, ("noise", "zero")),
        stuck_bit=t.integer("stuck_bit", min(d.stuck_bit, adc_bits - 2), 0, adc_bits - 2),
        multipath_angle_deg=t.number("multipath_angle_deg", d.multipath_angle_deg, -180.0, 180.0),
        multipath_power_db=t.number("multipath_power_db", d.multipath_power_db, -200.0, 60.0),
        multipath_delay_s=t.number("multipath_delay_s", 0.0, 0.0, 1e-2),
        multipath_phase_deg=t.number("multipath_phase_deg", 0.0, -360.0, 360.0),
        multipath_emitter=places.of_emitter("multipath_emitter", 0, 0, bool(values["multipath_at_s"])),
        carrier_drift_hz_per_s=t.number("carrier_drift_hz_per_s", d.carrier_drift_hz_per_s, -1e8, 1e8),
        carrier_drift_s=t.number("carrier_drift_s", d.carrier_drift_s, 0.0, _MOST_S, above=True),
        carrier_drift_emitter=places.of_emitter(
            "carrier_drift_emitter", d.carrier_drift_emitter, ALL, bool(values["carrier_drift_at_s"])
        ),
        garbage_after_retune=t.integer("garbage_after_retune", 0, 0, 1_000_000),
        **values,
    )
    if 0 < spec.overflow_every_s < _SHORTEST_PERIOD_S:
        raise t.error("overflow_every_s", f"must be 0 or at least {_SHORTEST_PERIOD_S:g}")
    if 0 < spec.network_mbit_s < 1e-3:
        raise t.error("network_mbit_s", "must be 0 or at least 0.001")
    away_hz = abs(spec.carrier_drift_hz_per_s) * spec.carrier_drift_s * len(spec.carrier_drift_at_s)
    if away_hz > fs_hz / 2:
        raise t.error(
            "carrier_drift_hz_per_s", f"moves the carrier by {away_hz:g} Hz in all, more than half the band",
            f"use a lower rate or a shorter carrier_drift_s: at most {fs_hz / 2:g} Hz",
        )  # fmt: skip
    t.done()
    return spec


def _swap(t: Table, n_elements: int, given: bool) -> tuple[int, int]:
    """Two different channels that have elements, counted over all boards."""
    pair = t.list("swap_channels", 2) if t.has("swap_channels") else t.raw("swap_channels") or [0, 1]
    numbers = [v for v in pair if isinstance(v, int) and not isinstance(v, bool)]
    if len(pair) != 2 or len(numbers) != 2 or numbers[0] == numbers[1] or min(numbers) < 0:
        raise t.error("swap_channels", "must be two different channels, counted over all boards")
    if (given or numbers != [0, 1]) and max(numbers) >= n_elements:
        raise t.error("swap_channels", f"the array has channels 0..{n_elements - 1}")
    return numbers[0], numbers[1]
