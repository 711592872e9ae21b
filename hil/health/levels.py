"""Levels and noise of the channels against what they were: gain steps, silence, lost antennas, clipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hil.health.readings import Readings, median

_SIGMAS = 8.0
_LEAST_STEP_DB = 0.8
_LEAST_LOSS_DB = 6.0
_DEAD_DB = 20.0
#: dBFS; every receiver that works has noise.
NOTHING_DB = -200.0
#: Share of the samples at full scale that is told when it comes; less is none.
CLIPPED = 0.01
#: Share that is told from the start (peaks of wide signals reach 4 %) and that does not follow from a gain step.
OVERDRIVEN = 0.05
_SAME_DB = 1.5
_FOLLOW_EVERY = 4  # good blocks
_BLEND = 1 / 32  # of these: how fast the reference follows slow changes
_LEAST_TAIL = 0.35


@dataclass(frozen=True, slots=True)
class Statistic:
    """Mean and spread of something per block while all was well."""

    mean: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @staticmethod
    def of(values: list[NDArray[np.float64]]) -> Statistic:
        """Robust, from (B, ...) values; NaN where there are too few."""
        data = np.array(values)
        good = np.isfinite(data).sum(axis=0) >= max(3, len(data) // 2)
        filled = np.where(good, data, 0.0)
        mean = np.nanmedian(filled, axis=0)
        sigma = 1.4826 * np.nanmedian(np.abs(filled - mean), axis=0)
        far = np.sort(np.abs(filled - mean), axis=0)[int(0.9 * (len(data) - 1))]
        return Statistic(np.where(good, mean, np.nan), np.maximum(sigma, far / 1.7))


@dataclass(frozen=True, slots=True)
class LevelChange:
    """Changes against the reference, dB, (M,): noise, and level relative to the other channels' median.
    dead, stepped, weak : channels. clipped : channels at full scale. stuck : with a bit that never changes."""

    noise_db: NDArray[np.float64]
    level_db: NDArray[np.float64]
    dead: tuple[int, ...] = ()
    stepped: tuple[int, ...] = ()
    weak: tuple[int, ...] = ()
    clipped: tuple[int, ...] = ()
    stuck: tuple[int, ...] = ()


class LevelWatch:
    """References of one configuration and epoch."""

    def __init__(self, readings: list[Readings]) -> None:
        self._level = Statistic.of([r.level_db for r in readings])
        self._relative = Statistic.of([self._beside(r.level_db) for r in readings])
        self._noise = Statistic.of([r.noise_db for r in readings])
        self._tail = Statistic.of([np.array(np.median(r.tail)) for r in readings])
        #: (M,) usual share of samples at full scale; channels in which it is so large that little else is seen.
        self.clipped = np.median([r.block.clipped for r in readings], axis=0)
        self.overdriven = self.clipped > OVERDRIVEN
        self._followed = 0
        #: (M,) channels that were silent from the start, without even noise.
        self.silent = self._level.mean < NOTHING_DB
        #: (M,) bits that never change, None if the samples are no integers.
        self.stuck = _mostly_stuck(readings)
        windows = np.concatenate([r.tail for r in readings])
        middle = float(np.median(windows))
        spread = 1.4826 * float(np.median(np.abs(windows - middle)))
        #: Of one window: beyond it something more than the expected sources is in it.
        self.window_tail = middle + max(_LEAST_TAIL, 4 * spread)

    @property
    def usual_db(self) -> NDArray[np.float64]:
        """(M,) levels of the reference, dBFS."""
        return self._level.mean

    def _beside(self, level_db: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M,) change of every channel against that of the others."""
        fall = level_db - self._level.mean
        return fall - median(fall)

    def mean_change(self, readings: Sequence[Readings], *, sending: bool = False) -> LevelChange:
        """What several blocks show together: smaller steps stand out of the noise of their mean."""
        mean = replace(
            readings[-1],
            level_db=np.mean([r.level_db for r in readings], axis=0),
            noise_db=np.mean([r.noise_db for r in readings], axis=0),
        )
        return self.change(mean, sending=sending, blocks=len(readings))

    def change(self, readings: Readings, *, sending: bool = False, blocks: int = 1) -> LevelChange:
        """What this block shows.

        blocks : that the readings are the mean of. sending : the device hears itself; echoes move, and what levels alone say counts for nothing.
        """
        level = self._beside(readings.level_db) - self._relative.mean
        noise = readings.noise_db - self._noise.mean
        fall = readings.level_db - self._level.mean
        typical = median(fall)
        dead = (fall < -_DEAD_DB) & (fall - typical < -_DEAD_DB)
        dead |= (readings.level_db < NOTHING_DB) & ~self.silent
        clipped = readings.block.clipped > np.maximum(CLIPPED, 4 * self.clipped)
        sigmas = _SIGMAS / np.sqrt(blocks)
        step = np.maximum(_LEAST_STEP_DB, sigmas * self._noise.sigma)
        by_noise = np.abs(noise) > step
        level_step = np.maximum(_LEAST_STEP_DB, sigmas * self._relative.sigma)
        # a gain step moves signal and noise alike; what the other channels do is the emitters' doing
        others = 0.0 if by_noise.all() else median(fall[~by_noise])
        rest = fall - others - np.where(np.isfinite(noise), noise, 0.0)
        moved = (fall - others) * np.sign(noise) > 0.5 * np.abs(noise)
        matches = moved & (np.abs(rest) < np.maximum(_SAME_DB, 0.2 * np.abs(noise)))
        blind = ~np.isfinite(noise)
        stepped = (by_noise & matches) | (blind & (not sending) & (np.abs(level) > level_step))
        weak = (level < -np.maximum(_LEAST_LOSS_DB, level_step)) & ~by_noise & ~blind
        # several channels at once: another wave, not one cable
        if weak.sum() != 1 or np.max(np.abs(level[~weak])) > np.maximum(1.5, np.max(level_step)):
            weak[:] = False
        weak &= not sending
        stuck = np.zeros(len(level), bool)
        if readings.stuck is not None and self.stuck is not None:
            stuck = (readings.stuck & ~self.stuck) != 0
        return LevelChange(
            noise,
            level,
            _where(dead),
            _where(stepped & ~dead),
            _where(weak & ~dead),
            _where(clipped),
            _where(stuck),
        )

    def tail_alarm(self, readings: Readings) -> bool:
        """More independent signals than expected, or a channel out of step."""
        limit = float(self._tail.mean + max(_LEAST_TAIL, _SIGMAS * float(self._tail.sigma)))
        return median(readings.tail) > limit

    def follow(self, readings: Readings) -> None:
        """Let the references follow slow changes: only of blocks without any alarm."""
        self._followed = (self._followed + 1) % _FOLLOW_EVERY
        if self._followed:
            return
        for name, now in (
            ("_level", readings.level_db),
            ("_noise", readings.noise_db),
        ):
            old: Statistic = getattr(self, name)
            change = np.where(np.isfinite(now - old.mean), now - old.mean, 0.0)
            setattr(self, name, Statistic(old.mean + _BLEND * change, old.sigma))


def _mostly_stuck(readings: list[Readings]) -> NDArray[np.int64] | None:
    masks = [r.stuck for r in readings if r.stuck is not None]
    if not masks:
        return None
    # the bits that are stuck in at least three blocks of four
    return np.bitwise_and.reduce(np.sort(np.array(masks), axis=0)[len(masks) // 4 :], axis=0)


def _where(mask: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
