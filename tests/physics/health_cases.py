"""Faults that the health watch must name, on arrays drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.health.event import HealthEvent
from hil.health.watch import HealthWatch
from tests.physics.health_scenes import SimStream

#: The fault comes at a time that no block begins at; carriers need 120 blocks for a reference.
AT_S, CARRIER_AT_S = 0.803, 2.003
BOARDS = {"fmcomms5": 0.6e6, "adrv9009-zu11eg": 3.84e6}


@dataclass(frozen=True, slots=True)
class Array:
    """What is drawn: elements, board, SNR, emitters and how they move."""

    seed: int
    n_elements: int
    board: str
    snr_db: float
    n_sources: int
    motion: str
    waveform: str

    @property
    def toml(self) -> str:
        """The scene without faults."""
        fs_hz = BOARDS[self.board]
        text = (
            f"seed = {self.seed}\n[array]\nn_elements = {self.n_elements}\n[receiver]\nboard = '{self.board}'\n"
            f"snr_db = {self.snr_db}\nfs_hz = {fs_hz}\npeak_dbfs = -16.0\n"
        )
        for k in range(self.n_sources):
            text += f"[[emitter]]\nwaveform = '{self.waveform}'\noffset_hz = {fs_hz / 25 * (1 - 2.3 * k)}\n"
            text += f"power_db = {-3.0 * k}\n"
            if self.waveform in ("qpsk", "noise"):
                text += f"symbol_rate_hz = {fs_hz / 5}\n"
            if self.motion == "hop":
                text += "hop = {period_s = 0.01, min_deg = -60.0, max_deg = 60.0}\n"
            elif self.motion == "slow hop":
                text += "hop = {period_s = 0.5, min_deg = -60.0, max_deg = 60.0}\n"
            elif self.motion == "track":
                text += f"angle_deg = {-30 + 50 * k}\n"
                text += "track = {rate_deg_per_s = 10.0, min_deg = -60.0, max_deg = 60.0}\n"
            else:
                text += f"angle_deg = {-25 + 40 * k}\n"
        return text


def draw_array(seed: int, *, waveforms: tuple[str, ...] = ("qpsk", "noise", "ofdm", "cw"), least_snr_db: float = 0.0,
               least_elements: int = 4) -> Array:  # fmt: skip
    """An array of a seed."""
    rng = np.random.default_rng([seed, 77])
    snr = [s for s in (0.0, 10.0, 20.0, 30.0) if s >= least_snr_db]
    return Array(
        seed, int(rng.choice([m for m in (4, 8, 16) if m >= least_elements])), str(rng.choice(list(BOARDS))), float(rng.choice(snr)),
        int(rng.choice([1, 2])), str(rng.choice(["hop", "slow hop", "track", "static"])), str(rng.choice(waveforms)),
    )  # fmt: skip


def draw_echoes(seed: int) -> str:
    """A scene of a seed in which the array hears itself: leakage, targets, sometimes an emitter."""
    rng = np.random.default_rng([seed, 76])
    text = (
        f"seed = {seed}\n[array]\nn_elements = {rng.choice([4, 8])}\n[receiver]\nfs_hz = 0.6e6\n"
        f"snr_db = {rng.choice([10.0, 20.0, 30.0])}\npeak_dbfs = -16.0\n"
    )
    if rng.integers(2):
        text += (
            "[[emitter]]\nsymbol_rate_hz = 1e5\nhop = {period_s = 0.02, min_deg = -60.0, max_deg = 60.0}\n"
        )
    for _ in range(rng.integers(1, 4)):
        text += (
            f"[[target]]\nangle_deg = {rng.uniform(-60, 60):.1f}\nrange_m = {rng.uniform(200, 3000):.0f}\n"
        )
        text += f"speed_m_s = {rng.uniform(-20, 20):.1f}\n"
        text += rng.choice([
            "", "hop = {period_s = 0.5, min_deg = -60.0, max_deg = 60.0}\n",
            "track = {rate_deg_per_s = 10.0, min_deg = -60.0, max_deg = 60.0}\n",
        ])  # fmt: skip
    return text + f"[transmit]\nleakage_db = {rng.choice([-10.0, 0.0, 10.0, 20.0])}\n"


@dataclass(frozen=True, slots=True)
class Case:
    """faults : (array, rng) -> TOML of [faults]. names : kinds that are right. seconds : watched after the fault.    check : does the event say the right channels and size?"""

    name: str
    faults: Callable[[Array, np.random.Generator], str]
    names: tuple[str, ...]
    seconds: float = 0.4
    waveforms: tuple[str, ...] = ("qpsk", "noise", "ofdm", "cw")
    least_elements: int = 4
    at_s: float = AT_S


def _place(array: Array, rng: np.random.Generator, prefix: str) -> str:
    channel = int(rng.integers(array.n_elements))
    return f"{prefix}_board = {channel // 4}\n{prefix}_channel = {channel % 4}\n"


def _jump(array: Array, rng: np.random.Generator) -> str:
    chip = int(rng.integers(array.n_elements // 2))
    degrees = float(rng.uniform(30, 330))
    return (
        f"phase_jump_at_s = {AT_S}\nphase_jump_deg = {degrees:.1f}\nphase_jump_board = {chip // 2}\n"
        f"phase_jump_chip = {chip % 2}\n"
    )


def _board_slip(array: Array, rng: np.random.Generator) -> str:
    board = int(rng.integers(max(array.n_elements // 4, 1)))
    return f"slip_samples_at_s = {AT_S}\nslip_samples = 5\nslip_channel = -1\nslip_board = {board}\n"


def _swap(array: Array, rng: np.random.Generator) -> str:
    i, j = rng.choice(array.n_elements, 2, replace=False)
    return f"swap_at_s = {AT_S}\nswap_channels = [{i}, {j}]\n"


_WIDE = ("qpsk", "noise", "ofdm")

SAMPLE_CASES = (
    Case("LO phase jump of a chip, 30 to 330 degrees", _jump, ("lo-phase-jump",)),
    Case("0/180 flip of a channel", lambda a, r: f"flip_at_s = {AT_S}\n" + _place(a, r, "flip"), ("phase-flip",)),
    Case("slip by 1 sample, one channel",
         lambda a, r: f"slip_samples_at_s = {AT_S}\n" + _place(a, r, "slip"), ("slip",), waveforms=_WIDE),
    Case("slip by -7 samples, one channel",
         lambda a, r: f"slip_samples_at_s = {AT_S}\nslip_samples = -7\n" + _place(a, r, "slip"), ("slip",),
         waveforms=_WIDE),
    Case("slip by 5 samples, a whole board", _board_slip, ("slip",), waveforms=_WIDE,
         least_elements=8),
    Case("AGC step, 6 dB", lambda a, r: f"agc_step_at_s = {AT_S}\n" + _place(a, r, "agc_step"), ("agc-step",)),
    Case("AGC step, -2 dB",
         lambda a, r: f"agc_step_at_s = {AT_S}\nagc_step_db = -2.0\n" + _place(a, r, "agc_step"), ("agc-step",)),
    Case("drift, 20 degrees/s", lambda a, r: f"drift_at_s = {AT_S}\ndrift_deg_per_s = 20.0\n" + _place(a, r, "drift"),
         ("drift",), seconds=2.5),
    Case("swapped ports", _swap, ("swapped-ports",)),
    Case("clipped channel", lambda a, r: f"clip_at_s = {AT_S}\nclip_s = 0.3\n" + _place(a, r, "clip"), ("clipped",)),
    Case("dead channel, noise left", lambda a, r: f"dead_at_s = {AT_S}\n" + _place(a, r, "dead"), ("dead-channel",)),
    Case("dead channel, zeros", lambda a, r: f"dead_at_s = {AT_S}\ndead_leaves = 'zero'\n" + _place(a, r, "dead"),
         ("dead-channel",)),
    Case("stuck bit of a converter",
         lambda a, r: f"stuck_bit_at_s = {AT_S}\nstuck_bit = {r.integers(3, 9)}\n" + _place(a, r, "stuck_bit"),
         ("stuck-bit",)),
    Case("I and Q exchanged", lambda a, r: f"iq_swap_at_s = {AT_S}\n" + _place(a, r, "iq_swap"), ("swapped-iq",),
         waveforms=_WIDE),
    Case("coherent multipath, -3 dB", lambda a, r: f"multipath_at_s = {AT_S}\n", ("multipath",)),
    Case("carrier drift, 1 % of the rate per second",
         lambda a, r: f"carrier_drift_at_s = {CARRIER_AT_S}\ncarrier_drift_hz_per_s = {BOARDS[a.board] / 100}\n",
         ("carrier-drift",), seconds=3.0, at_s=CARRIER_AT_S),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """array, first event after the fault (None: none), blocks until it was told, false alarms before it."""

    array: Array
    event: HealthEvent | None
    blocks: float
    early: int


def run_case(case: Case, seed: int, *, calibrated: bool = True) -> Outcome:
    """One fault on one drawn array."""
    array = draw_array(seed, waveforms=case.waveforms, least_snr_db=10.0, least_elements=case.least_elements)
    rng = np.random.default_rng([seed, 78])
    stream = SimStream(array.toml + "[faults]\n" + case.faults(array, rng), error_deg=0.3, seed=seed)
    watch = HealthWatch(stream.stream, stream.calibration if calibrated else None)
    fs_hz, early = stream.stream.fs_hz, 0
    block = watch.block_samples
    try:
        for frame, clipped in stream.frames(case.at_s + case.seconds):
            for event in watch.frame(frame, clipped):
                if event.last_sample < case.at_s * fs_hz:
                    early += 1
                else:
                    return Outcome(array, event, (event.last_sample - case.at_s * fs_hz) / block, early)
        return Outcome(array, None, float("nan"), early)
    finally:
        stream.close()
