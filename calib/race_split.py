"""Which blocks teach and which judge: whole dwells are held out, so that judging angles were not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calib.observations import Observations, Prepared, prepare
from hil.core.errors import ConfigError, NotIdentifiable

_JUMP = 12.0  # change of the subspace, in what noise explains, that begins another dwell
_MIN_DWELLS = 25
_SEGMENTS = 25
_MIN_HELD_OUT = 5
_GLIDE = 0.3


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the observations' blocks; how they were chosen, in words; n_sources K."""

    training: NDArray[np.intp]
    held_out: NDArray[np.intp]
    words: str
    n_sources: int


def split_blocks(obs: Observations, n_sources: int | None, held_out: float) -> Split:
    """Interleave training and held-out blocks by dwell, or by stretches of time where the emitters glide.

    held_out : share of the blocks that judge, 0.05..0.5.

    Raises
    ------
    ConfigError : share out of range. NotIdentifiable : too few blocks to hold any out.
    """
    if not 0.05 <= held_out <= 0.5:
        raise ConfigError(f"held_out {held_out:g} is not within 0.05..0.5")
    prepared = prepare(obs, n_sources)
    dwell, gliding = _dwells(prepared)
    b = obs.n_blocks
    count = int(dwell[-1]) + 1 if b else 0
    period = round(1 / held_out)
    if count >= _MIN_DWELLS and not gliding:
        # drawn within each run of dwells: emitters that hop in a fixed cycle would else show one angle only
        runs = np.random.default_rng(0).integers(period, size=count // period + 1)
        chosen = dwell % period == runs[dwell // period]
        words = f"one of every {period} of {count} dwells is held out, drawn at random: whole dwells, so that other angles judge"
    else:
        part = np.arange(b) * min(_SEGMENTS, b) // max(b, 1)
        chosen = part % period == period // 2
        why = "they glide" if gliding else f"they show only {count} separate dwells"
        words = (
            f"every {_nth(period)} of {min(_SEGMENTS, b)} stretches of time is held out ({why}: an angle that the "
            "emitters come back to may teach and judge)"
        )
    training, judging = np.flatnonzero(~chosen), np.flatnonzero(chosen)
    if len(np.intersect1d(judging, prepared.index)) < _MIN_HELD_OUT:
        raise NotIdentifiable(
            f"only {len(prepared.index)} usable blocks: too few to hold some out and judge methods on them",
            parameters=["score"], hint="capture longer, or name one method",
        )  # fmt: skip
    return Split(training, judging, words, prepared.n_sources)


def part_of(obs: Observations, index: NDArray[np.intp]) -> Observations:
    """Some of the blocks, with their times."""
    time_s = None if obs.time_s is None else obs.time_s[index]
    return Observations(obs.covariance[index], obs.n_snapshots, time_s)


def _dwells(prepared: Prepared) -> tuple[NDArray[np.intp], bool]:
    """(B,) number of the dwell of every block: another one begins where the signal subspace jumps; and whether
    the emitters glide: neighbours in time are far closer than blocks picked at random."""
    b = len(prepared.rank)
    begins = np.zeros(b, np.intp)
    if len(prepared.index) < 2:
        return begins, False
    sub = prepared.sub
    n, k = sub.signal.shape[1:]

    def apart(order: NDArray[np.intp]) -> NDArray[np.float64]:
        u = sub.signal[order]
        return k - np.sum(np.abs(u[1:].conj().transpose(0, 2, 1) @ u[:-1]) ** 2, axis=(1, 2))

    change = apart(np.arange(len(sub)))
    noise = 2 * (n - k) * (sub.variance[1:].sum(axis=1) + sub.variance[:-1].sum(axis=1))
    jump = change > _JUMP * noise
    begins[prepared.index[1:][jump]] = 1
    mixed = apart(np.random.default_rng(0).permutation(len(sub)))
    gliding = bool(jump.mean() > 0.5 and np.median(change) < _GLIDE * np.median(mixed))
    return np.cumsum(begins), gliding


def _nth(period: int) -> str:
    return {2: "second", 3: "third", 4: "fourth", 5: "fifth", 10: "tenth", 20: "twentieth"}.get(
        period, f"{period}th"
    )
