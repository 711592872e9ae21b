"""From an alarm to a name: the tests run in the order of how plainly a fault shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.core.frame import StreamInfo
from hil.health.bits import bits_of
from hil.health.blocks import SNAPSHOTS
from hil.health.catalogue import make_event
from hil.health.event import HealthEvent
from hil.health.hypotheses import Change, Judge, best_change
from hil.health.lags import find_lags
from hil.health.levels import OVERDRIVEN, LevelWatch
from hil.health.manifold import joined, signals_of
from hil.health.phases import PhaseWatch
from hil.health.readings import Readings
from hil.health.silence import silent_channels
from hil.health.trend import drift_rms_deg, follow, is_gradual

_STRETCHES = 4
_AMPLITUDES = ("agc-step", "weak-channel")  # kinds that are a factor of a channel
_ALIKE_DB = 1.0
_NOISE_KNOWN = 0.9  # of the blocks
_ON_ITS_WAY = 0.4  # of the misfit at the alarm


@dataclass(frozen=True, slots=True)
class Evidence:
    """before : blocks up to the alarm, oldest first. after : blocks from the first bad one on. groups : coherent
    groups of channels. levels, phases : the watches (phases None without a calibration). tail : more independent
    signals than expected are there. slow : the slow estimate raised the alarm. sending : the device hears itself."""

    before: Sequence[Readings]
    after: Sequence[Readings]
    groups: tuple[tuple[int, ...], ...]
    levels: LevelWatch
    phases: PhaseWatch | None
    n_sources: int
    tail: bool
    slow: bool = False
    sending: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """First and last sample."""
        last = self.after[-1].block
        return self.after[0].block.first_sample, last.first_sample + last.n_samples


def name_cause(evidence: Evidence) -> tuple[list[HealthEvent], Change | None]:
    """Events, and the change of the array that they mean (to be taken into the calibration), if any."""
    first, last = evidence.span
    found = _levels(evidence)
    if not found or found[0].kind in _AMPLITUDES:
        silent = silent_channels(evidence.before, evidence.after[1:])
        if silent:
            return [make_event("dead-channel", first, last, channels=silent)], None
    if found and found[0].kind == "agc-step" and _is_blind(evidence) and not _is_one_gain(evidence, found[0]):
        found = []
    if found and found[0].kind not in _AMPLITUDES:
        return found, None
    if (
        found
        and (found[0].kind == "weak-channel" or _is_blind(evidence))
        and not _explains(evidence, found[0])
    ):
        found = []  # a wave more makes hills and valleys along the array, too
    if found:
        return found, _amplitude(found[0], evidence)
    # with little signal a slip shows in the phases before it shows as one signal more
    lag = None if evidence.slow else _lag(evidence)
    if lag is not None and (evidence.tail or lag.kind in ("slip", "swapped-iq")):
        return [lag], None
    if evidence.sending:
        return [], None
    if evidence.phases is None:
        return ([make_event("new-emitter", first, last)] if evidence.tail else []), None
    if evidence.slow and evidence.phases.drift is not None:
        rms = evidence.phases.drift.phase_rms_deg
        return [make_event("drift", first, last, value=rms)], None
    if evidence.tail:
        kind = "new-emitter" if _one_more(evidence) else "array-changed"
        return [make_event(kind, first, last)], None
    return _array_change(evidence)


def _one_more(evidence: Evidence) -> bool:
    """True if one more wave than expected, all on the calibrated manifold, explains the windows."""
    watch = evidence.phases
    assert watch is not None
    k = evidence.n_sources + 1
    if k >= watch.manifold.n_elements:
        return True
    after = evidence.after[1:]
    values = np.concatenate([r.values for r in after])
    vectors = np.concatenate([r.vectors for r in after])
    judge = Judge(watch.manifold, signals_of(values, vectors, k, SNAPSHOTS), watch.allowance, watch.scale)
    return judge.passes(judge.misfit(worst=True))


def _levels(evidence: Evidence) -> list[HealthEvent]:
    """Gain steps, silence, clipping: what levels alone say, over the blocks after the first bad one."""
    first, last = evidence.span
    after = evidence.after[1:] or evidence.after
    changes = [evidence.levels.change(r, sending=evidence.sending) for r in after]

    def mostly(name: str) -> tuple[int, ...]:
        counts: dict[int, int] = {}
        for change in changes:
            for channel in getattr(change, name):
                counts[channel] = counts.get(channel, 0) + 1
        return tuple(sorted(c for c, n in counts.items() if n > 0.6 * len(changes)))

    stuck = mostly("stuck")
    if stuck:
        masks = np.array([r.stuck if r.stuck is not None else 0 * r.level_db.astype(int) for r in after])
        new = masks & ~np.asarray(evidence.levels.stuck)
        mask = np.bitwise_and.reduce(np.sort(new, axis=0)[len(new) // 3 :], axis=0)
        return stuck_events(mask, first, last)
    clipped, stepped = (
        mostly("clipped"),
        mostly("stepped") or evidence.levels.mean_change(after, sending=evidence.sending).stepped,
    )
    share = float(np.mean([r.block.clipped[list(clipped)].max() for r in after])) if clipped else 0.0
    if clipped and (share > OVERDRIVEN or not stepped):
        return [
            make_event("clipped", first, last, channels=clipped, value=100 * share, sending=evidence.sending)
        ]
    dead = mostly("dead")
    if dead:
        return [make_event("dead-channel", first, last, channels=dead)]
    if stepped:
        noise = np.median([c.noise_db for c in changes], axis=0)
        level = np.median([c.level_db for c in changes], axis=0)
        step = np.where(np.isfinite(noise), noise, level)[list(stepped)]
        value = float(np.median(step))
        groups = tuple(g for g, group in enumerate(evidence.groups) if set(group) <= set(stepped))
        whole = {c for g in groups for c in evidence.groups[g]} == set(stepped) and len(evidence.groups) > 1
        return [
            make_event("agc-step", first, last, channels=stepped, groups=groups if whole else (), value=value,
                       size=f"{value:+.1f}")
        ]  # fmt: skip
    weak = mostly("weak")
    if weak:
        loss = -float(np.median([c.level_db[weak[0]] for c in changes]))
        return [make_event("weak-channel", first, last, channels=weak, value=loss)]
    return []


def _lag(evidence: Evidence) -> HealthEvent | None:
    stretches = [r.block.stretch for r in evidence.after[-_STRETCHES:]]
    return lag_event(stretches, evidence.groups, evidence.n_sources, *evidence.span)


def lag_event(
    stretches: Sequence[NDArray[np.complex64]], groups: Sequence[tuple[int, ...]], n_sources: int, first: int,
    last: int,
) -> HealthEvent | None:  # fmt: skip
    """What does not keep step in these stretches, (M, n) each; first, last : samples of the event."""
    found = find_lags(stretches, sets_of(groups, len(stretches[0])), n_sources)
    if found is None:
        return None
    within = tuple(g for g, group in enumerate(groups) if set(group) <= set(found.members))
    whole = len(found.members) > 1
    value = float(found.lag) if found.kind == "slip" else None
    return make_event(
        found.kind, first, last, channels=found.members, groups=within if whole else (), value=value,
        size=f"{found.lag:+d}",
    )  # fmt: skip


def stuck_events(mask: NDArray[np.int64], first: int, last: int) -> list[HealthEvent]:
    """One event per stuck bit; mask : (M,)."""
    out = []
    for bit in sorted({bit for word in mask for bit in bits_of(word)}):
        channels = tuple(np.flatnonzero(mask >> bit & 1).tolist())
        out.append(make_event("stuck-bit", first, last, channels=channels, value=float(bit), size=bit))
    return out


def sets_of(groups: Sequence[tuple[int, ...]], n_channels: int) -> list[tuple[int, ...]]:
    """Channels that may slip together: one, a coherent group, two groups side by side (a board of two chips)."""
    sets: list[tuple[int, ...]] = [(m,) for m in range(n_channels)]
    sets += [tuple(g) for g in groups if 1 < len(g) < n_channels]
    if len(groups) > 2:
        for k in range(0, len(groups) - 1, 2):
            pair = tuple(sorted(groups[k] + groups[k + 1]))
            if len(pair) < n_channels:
                sets.append(pair)
    return sets


def groups_of(stream: StreamInfo) -> tuple[tuple[int, ...], ...]:
    """Coherent groups in places of the array."""
    place = {channel: i for i, channel in enumerate(stream.config.channels or ())}
    groups = [tuple(place[c] for c in g if c in place) for g in stream.device.coherent_groups]
    return tuple(g for g in groups if g)


def _amplitude(event: HealthEvent, evidence: Evidence) -> Change | None:
    """The gain step that the levels show, for the calibration."""
    if event.value is None:
        return None
    step_db = -event.value if event.kind == "weak-channel" else event.value
    gain = np.ones(len(evidence.after[-1].level_db), complex)
    gain[list(event.channels)] = 10 ** (step_db / 20)
    return Change(event.kind, event.channels, gain=gain)


def _is_blind(evidence: Evidence) -> bool:
    """True if the channels' noise cannot be told from the signals, so that levels alone have spoken."""
    known = [bool(np.isfinite(evidence.levels.change(r).noise_db).all()) for r in evidence.after]
    return float(np.mean(known)) < _NOISE_KNOWN


def _is_one_gain(evidence: Evidence, event: HealthEvent) -> bool:
    """True if the levels are those of one gain that changed: of a channel or of coherent groups, and nothing else."""
    if len(event.channels) == len(evidence.after[0].level_db) or (
        len(event.channels) > 1 and not event.groups
    ):
        return False
    changes = [evidence.levels.change(r).level_db for r in evidence.after[1:]]
    signed = np.median(changes, axis=0)
    if np.ptp(signed[list(event.channels)]) > _ALIKE_DB:
        return False
    level = np.abs(signed)
    others = np.delete(level, list(event.channels))
    return len(others) < 2 or float(others.max()) < 0.5 * float(level[list(event.channels)].min())


def _explains(evidence: Evidence, event: HealthEvent) -> bool:
    """True if the loss of one channel is all that has happened to the nulls, or if there are none to look at."""
    watch, change = evidence.phases, _amplitude(event, evidence)
    if watch is None or change is None:
        return True
    usable = [s for s in (watch.signals(r) for r in evidence.after[1:]) if len(s)]
    if not usable:
        return True
    judge = Judge(watch.manifold, joined(usable), watch.allowance, watch.scale)
    return judge.passes(judge.misfit(change.gain, worst=True))


def _array_change(evidence: Evidence) -> tuple[list[HealthEvent], Change | None]:
    """The nulls are too shallow: a drift, a simple change of the array, or waves that are not alone."""
    watch = evidence.phases
    assert watch is not None
    first, last = evidence.span
    after = [watch.signals(r) for r in evidence.after[1:]] or [watch.signals(r) for r in evidence.after]
    usable = [s for s in after if len(s)]
    if not usable:
        return [], None
    judge = Judge(watch.manifold, joined(usable), watch.allowance, watch.scale)
    if judge.partly:
        kind = "multipath" if _two_waves(evidence, watch) else "array-changed"
        return [make_event(kind, first, last)], None
    blocks = [s for s in (watch.signals(r) for r in [*evidence.before, *evidence.after]) if len(s) >= 2]
    z, misfit = follow(watch.manifold, blocks, watch.allowance)
    if misfit < judge.limit and (is_gradual(z) or _was_on_its_way(evidence, watch, judge)):
        return [make_event("drift", first, last, value=drift_rms_deg(z[-1]))], Change(
            "drift", (), gain=np.exp(1j * z[-1].imag)
        )
    change = best_change(judge, watch.manifold.n_elements, evidence.groups)
    if change is not None:
        if change.kind == "lo-phase-jump" and len(evidence.groups) < 2:
            change = None
        else:
            return [
                make_event(change.kind, first, last, channels=change.channels, groups=change.groups,
                           value=change.size_deg or None, size=f"{change.size_deg:.0f}")
            ], change  # fmt: skip
    if _two_waves(evidence, watch):
        return [make_event("multipath", first, last)], None
    return [make_event("array-changed", first, last)], None


def _was_on_its_way(evidence: Evidence, watch: PhaseWatch, judge: Judge) -> bool:
    """True if the nulls were filling up before the alarm: before a jump they are as deep as ever."""
    before = [s for s in map(watch.signals, evidence.before) if len(s)]
    return bool(before) and judge.misfit_of(joined(before)) > _ON_ITS_WAY * judge.misfit()


def _two_waves(evidence: Evidence, watch: PhaseWatch) -> bool:
    """True if one coherent wave more explains the windows (calib.diagnose.coherence)."""
    from hil.health.waves import coherent_waves

    readings = evidence.after[1:] or evidence.after
    k = watch.n_sources
    values = np.concatenate([r.values for r in readings])
    vectors = np.concatenate([r.vectors for r in readings])
    return coherent_waves(watch.manifold, signals_of(values, vectors, k, SNAPSHOTS), watch.allowance)
