"""The [faults] table of a scene: what goes wrong, when and where, in scene seconds.

The engine carries out those that change samples (sim_backend.fault_track), the network servers those of the
transport (sim_backend.fault_transport, the same for every protocol).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

#: Kinds that `Faults.due` knows.
TRANSPORT_KINDS = ("overflow", "drop_blocks", "disconnect", "stall", "half_reply")
#: As a board or channel: all of them.
ALL = -1
_MAX_DUE = 10_000


@dataclass(frozen=True, slots=True)
class Faults:
    """The [faults] table. Zero, false and empty mean: no such fault.

    `X_at_s` : scene seconds at which fault X begins. `X_board`, `X_channel` : where (channels are counted on
    their board; -1: all). `X_s` : for how long (0: for good). docs/simulation.md says what each one does.

    Attributes
    ----------
    overflow_every_s : the device loses `overflow_samples` every so many seconds and sets its overflow bit.
    drop_blocks_at_s : the DMA block that is filled then, and the following ones up to `drop_blocks` in all,
        never reach the client, and no overflow bit says so.
    disconnect_at_s : the server closes its connections. stall_at_s : it answers no reads for `stall_s`.
    half_reply_at_s : the first half of one reply is sent; then nothing for `half_reply_hang_s`, then the
        connection closes. network_mbit_s, network_latency_s : replies are slowed down so from
        `network_from_s` on.
    short_reads : the server answers reads with fewer bytes than asked for.
    phase_jump_at_s : the LO phase of chip `phase_jump_chip` jumps by `phase_jump_deg`, or "random".
    flip_at_s : the sign of a channel changes. agc_step_at_s : its gain steps up by `agc_step_db` and its
        phase by `agc_step_phase_deg`, every second time back. drift_at_s : its phase turns at
        `drift_deg_per_s` for `drift_s`.
    slip_samples_at_s : a channel or board slips by `slip_samples` (positive: samples are missing there).
    swap_at_s : the antennas of the two `swap_channels` (counted over all boards) change places.
    clip_at_s : a channel is driven as if the strongest emitter came at `clip_dbfs`.
    dead_at_s : a channel hears nothing; `dead_leaves` "noise" or "zero".
    iq_swap_at_s : I and Q change places. stuck_bit_at_s : bit `stuck_bit` of a converter reads 1.
    multipath_at_s : emitter `multipath_emitter` also arrives from `multipath_angle_deg`, coherently.
    carrier_drift_at_s : the carrier of an emitter moves at `carrier_drift_hz_per_s` for `carrier_drift_s`.
    garbage_after_retune : that many samples of full-scale noise on the whole board after an LO or rate write.
    """

    overflow_every_s: float = 0.0
    overflow_samples: int = 4096
    overflow_board: int = ALL
    drop_blocks_at_s: tuple[float, ...] = ()
    drop_blocks: int = 1
    drop_blocks_board: int = 0
    disconnect_at_s: tuple[float, ...] = ()
    disconnect_board: int = ALL
    stall_at_s: tuple[float, ...] = ()
    stall_s: float = 5.0
    stall_board: int = ALL
    half_reply_at_s: tuple[float, ...] = ()
    half_reply_hang_s: float = 0.0
    half_reply_board: int = 0
    network_mbit_s: float = 0.0
    network_latency_s: float = 0.0
    network_from_s: float = 0.0
    short_reads: bool = False
    phase_jump_at_s: tuple[float, ...] = ()
    phase_jump_deg: float | str = "random"
    phase_jump_board: int = 0
    phase_jump_chip: int = 0
    flip_at_s: tuple[float, ...] = ()
    flip_board: int = 0
    flip_channel: int = 1
    agc_step_at_s: tuple[float, ...] = ()
    agc_step_db: float = 6.0
    agc_step_phase_deg: float = 3.0
    agc_step_board: int = 0
    agc_step_channel: int = 1
    drift_at_s: tuple[float, ...] = ()
    drift_deg_per_s: float = 5.0
    drift_s: float = 0.0
    drift_board: int = 0
    drift_channel: int = 1
    slip_samples_at_s: tuple[float, ...] = ()
    slip_samples: int = 1
    slip_board: int = 0
    slip_channel: int = 1
    swap_at_s: tuple[float, ...] = ()
    swap_channels: tuple[int, int] = (0, 1)
    clip_at_s: tuple[float, ...] = ()
    clip_s: float = 0.1
    clip_dbfs: float = 20.0
    clip_board: int = 0
    clip_channel: int = 1
    dead_at_s: tuple[float, ...] = ()
    dead_s: float = 0.0
    dead_leaves: str = "noise"
    dead_board: int = 0
    dead_channel: int = 1
    iq_swap_at_s: tuple[float, ...] = ()
    iq_swap_board: int = 0
    iq_swap_channel: int = 1
    stuck_bit_at_s: tuple[float, ...] = ()
    stuck_bit: int = 7
    stuck_bit_board: int = 0
    stuck_bit_channel: int = 1
    multipath_at_s: tuple[float, ...] = ()
    multipath_s: float = 0.0
    multipath_angle_deg: float = 30.0
    multipath_power_db: float = -3.0
    multipath_delay_s: float = 0.0
    multipath_phase_deg: float = 0.0
    multipath_emitter: int = 0
    carrier_drift_at_s: tuple[float, ...] = ()
    carrier_drift_hz_per_s: float = 1000.0
    carrier_drift_s: float = 10.0
    carrier_drift_emitter: int = ALL
    garbage_after_retune: int = 0

    @property
    def any(self) -> bool:
        """True if some fault is switched on."""
        return bool(
            self.overflow_every_s or self.network_mbit_s or self.network_latency_s or self.short_reads
            or self.garbage_after_retune or any(getattr(self, name) for name in _TIMES)
        )  # fmt: skip

    @property
    def kinds(self) -> tuple[str, ...]:
        """The faults that are switched on, by the names that the truth file uses."""
        out = [_kind(name) for name in _TIMES if getattr(self, name)]
        if self.overflow_every_s:
            out.append("overflow")
        if self.network_mbit_s or self.network_latency_s:
            out.append("slow_network")
        if self.garbage_after_retune:
            out.append("garbage_after_retune")
        if self.short_reads:
            out.append("short_reads")
        return tuple(sorted(out))

    def due(self, kind: str, t0_s: float, t1_s: float) -> tuple[float, ...]:
        """Scene seconds in t0_s <= t < t1_s at which a fault of this kind begins, ascending.

        Raises ValueError for a kind that is not one of TRANSPORT_KINDS.
        """
        if kind not in TRANSPORT_KINDS:
            raise ValueError(f"fault kind {kind!r} is not one of {', '.join(TRANSPORT_KINDS)}")
        if kind != "overflow":
            return tuple(t for t in sorted(getattr(self, f"{kind}_at_s")) if t0_s <= t < t1_s)
        if not self.overflow_every_s > 0:
            return ()
        first = max(1, math.ceil(t0_s / self.overflow_every_s))
        times = (k * self.overflow_every_s for k in range(first, first + _MAX_DUE))
        out: list[float] = []
        for t in times:
            if t >= t1_s:
                break
            out.append(t)
        return tuple(out)

    def concerns(self, kind: str, board: int) -> bool:
        """True if a fault of the transport is one of this board."""
        return getattr(self, f"{kind}_board") in (ALL, board)


_TIMES: Sequence[str] = tuple(f.name for f in fields(Faults) if f.name.endswith("_at_s"))


def _kind(name: str) -> str:
    return "slip" if name == "slip_samples_at_s" else name.removesuffix("_at_s")


def border(t_s: float, fs_hz: float) -> int:
    """First scene sample of what begins at scene second t_s; the margin undoes rounding of n / fs * fs."""
    return math.ceil(t_s * fs_hz - 1e-6)
