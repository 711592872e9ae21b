"""A race between learners on the same blocks, judged on blocks that none of them saw.

Every method gets the same training blocks and the same time. Its array is scored on held-out blocks by the
label-free null depth against what noise alone predicts, and by the sigma that it states for its angles. The
winner is offered with its score, never applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calib.export import model_of
from calib.layout import layout_of
from calib.model import find_peaks
from calib.observations import Observations, Prepared, prepare
from calib.race_split import part_of, split_blocks
from calib.registry import CSI_METHODS, METHODS, get_method
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from calib.score import Score, score_peaks
from hil.core.errors import ConfigError, HilError, ShapeError
from hil.core.geometry import ArrayGeometry

if TYPE_CHECKING:
    from calib.csi import ChannelResponses

#: In the order in which ties end that nothing else decides.
RACERS = ("cold-start", "diffmusic", "diffmusic-jain", "eigen-scan", "gain-phase-isac", "weiss-friedlander")
_LIMIT = (-1.02, 1.02)
_TIE_SIGMAS = 2.0
_TIE_FLOOR = 0.01  # one per cent of the null depth is no difference in practice
_SIGMA_TIE = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """One method's run.

    result : None if it raised; `reason` says why. converged : its own verdict. held_out_excess : median log null
    depth on the held-out blocks above its prediction; held_out_score, predicted_score : both terms.
    held_out_outliers : share of held-out nulls ten times too shallow. seconds, steps : effort. angle_sigma_deg :
    what it states for its absolute angles. per_peak : (B, K) excess of every held-out peak.
    """

    method: str
    result: LearnResult | None
    converged: bool
    reason: str
    held_out_excess: float = float("nan")
    held_out_score: float = float("nan")
    predicted_score: float = float("nan")
    held_out_outliers: float = float("nan")
    seconds: float = 0.0
    steps: int = 0
    angle_sigma_deg: float = float("nan")
    winner: bool = False
    per_peak: NDArray[np.float64] | None = None

    def as_dict(self) -> dict[str, object]:
        """Plain values for the JSON object of `hil learn --method race`."""
        names = (
            "method", "converged", "reason", "held_out_excess", "held_out_score", "predicted_score",
            "held_out_outliers", "seconds", "steps", "angle_sigma_deg", "winner",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class RaceResult:
    """Entries from best to worst; how blocks were held out; the offer in words."""

    entries: tuple[Entry, ...]
    held_out: str
    offer: str
    tied: tuple[str, ...] = ()
    n_training: int = 0
    n_held_out: int = 0
    seconds: float = 0.0

    @property
    def winner(self) -> Entry | None:
        """The best method that converged, None if none did."""
        return next((e for e in self.entries if e.winner), None)

    @property
    def best(self) -> Entry | None:
        """The winner, else the entry with the smallest held-out excess, else None."""
        scored = [e for e in self.entries if np.isfinite(e.held_out_excess)]
        return self.winner or (scored[0] if scored else None)

    def table(self) -> str:
        """Fixed-width text, one method a line, best first, the winner marked; then why the others did not converge."""
        lines = [
            f" {'method':<18} {'converged':<9} {'excess':>8} {'score':>8} {'noise':>8} {'angle sigma':>11} {'seconds':>8}"
        ]
        lines += [
            f"{'*' if e.winner else ' '}{e.method:<18} {'yes' if e.converged else 'no':<9} "
            f"{_text(e.held_out_excess, '+.3f'):>8} {_text(e.held_out_score, '.2f'):>8} "
            f"{_text(e.predicted_score, '.2f'):>8} {_text(e.angle_sigma_deg, '.3g'):>11} {e.seconds:>8.2f}"
            for e in self.entries
        ]
        lines += [f"{e.method}: {e.reason}" for e in self.entries if e.reason]
        return "\n".join(lines)


def race(
    obs: Observations | None,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    *,
    methods: Sequence[str] | None = None,
    csi: ChannelResponses | None = None,
    held_out: float = 0.2,
    prior: Prior | None = None,
    seed: int = 0,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> RaceResult:
    """Run several learners on the same training blocks and score each on the same held-out blocks.

    Parameters
    ----------
    obs : covariances of blocks; None with `csi`: those of the channel responses. geometry, fc_hz, n_sources, gauge,
    prior, seed : as in `calib.learn.learn`. methods : names in `calib.registry`, None: all of `RACERS` that are
    registered (gain-phase-isac only with csi). csi : OFDM channel responses of the same B blocks. held_out : share
    of the blocks that judge; whole dwells where emitters hop. time_limit_s : for each method. progress : stages are
    prefixed with the method's name. stop : True ends the running method and the race; what was run is judged.

    Returns
    -------
    RaceResult. A method that raises is listed with its reason.

    Raises
    ------
    ConfigError : unknown method, or no data. ShapeError : obs and csi of different blocks. NotIdentifiable : too few
    blocks to hold some out.
    """
    begin = time.monotonic()
    if obs is None:
        if csi is None:
            raise ConfigError("a race needs covariances or channel responses")
        obs = csi.covariances()
    if csi is not None and csi.n_blocks != obs.n_blocks:
        raise ShapeError(f"{csi.n_blocks} blocks of channel responses, {obs.n_blocks} of covariances")
    names = tuple(methods) if methods is not None else _available(csi)
    unknown = [name for name in names if name not in METHODS and name not in CSI_METHODS]
    if unknown or not names:
        raise ConfigError(
            f"unknown method {unknown[0]!r}" if unknown else "a race needs at least one method",
            where="--method", hint=f"some of {', '.join((*METHODS, *CSI_METHODS))}",
        )  # fmt: skip
    split = split_blocks(obs, n_sources, held_out)
    training, judging = part_of(obs, split.training), part_of(obs, split.held_out)
    judge = _Judge(judging, geometry, fc_hz, split.n_sources)
    k = n_sources if n_sources is None else split.n_sources
    entries: list[Entry] = []
    for name in dict.fromkeys(names):
        if stop is not None and stop():
            entries.append(Entry(name, None, False, "stopped before its turn"))
            continue
        teach = None
        if name in CSI_METHODS and csi is not None:
            teach = _part_of_csi(csi, split.training)
        entries.append(
            _run(
                name, training, teach, geometry, fc_hz, k, gauge, judge,
                prior=prior, seed=seed, time_limit_s=time_limit_s, progress=progress, stop=stop,
            )
        )  # fmt: skip
    ranked, tied = rank(entries)
    return RaceResult(
        tuple(ranked), split.words, offer(ranked, tied), tied, len(split.training), len(split.held_out),
        time.monotonic() - begin,
    )  # fmt: skip


class _Judge:
    """Scores impairments on the held-out blocks."""

    def __init__(self, obs: Observations, geometry: ArrayGeometry, fc_hz: float, n_sources: int) -> None:
        self._layout = layout_of(obs, geometry, fc_hz, Prior())
        order = self._layout.order
        cov = obs.covariance[:, order[:, None], order[None, :]]
        self._prepared: Prepared = prepare(Observations(cov, obs.n_snapshots, obs.time_s), n_sources)

    def score(self, result: LearnResult) -> Score:
        prepared = self._prepared
        model = model_of(result.impairments, self._layout, prepared.whitening)
        theta, depth = find_peaks(model, prepared.sub, _LIMIT)
        return score_peaks(model, prepared.sub, theta, depth)


def _run(
    name: str,
    training: Observations,
    csi: ChannelResponses | None,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    gauge: GaugeRequest,
    judge: _Judge,
    *,
    prior: Prior | None,
    seed: int,
    time_limit_s: float,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> Entry:
    begin = time.monotonic()

    def report(p: Progress) -> None:
        if progress is not None:
            progress(replace(p, stage=f"{name}: {p.stage}"))

    report(Progress("begins", float("nan"), 0.0))
    options = {"prior": prior, "seed": seed, "time_limit_s": time_limit_s, "progress": report, "stop": stop}
    try:
        method = get_method(name)
        if name in CSI_METHODS:
            if csi is None:
                raise ConfigError("needs OFDM channel responses", where=name)
            result = method(csi, geometry, fc_hz, gauge, **options)
        else:
            result = method(training, geometry, fc_hz, n_sources, gauge, **options)
        score = judge.score(result) if np.isfinite(result.excess) or result.converged else None
    except HilError as error:
        return Entry(name, None, False, str(error), seconds=time.monotonic() - begin)
    except Exception as error:  # noqa: BLE001 - a method that breaks must not end the race of the others
        words = f"{type(error).__name__}: {error}"
        return Entry(name, None, False, words, seconds=time.monotonic() - begin)
    seconds = time.monotonic() - begin
    base = Entry(name, result, result.converged, result.reason, seconds=seconds, steps=result.steps,
                 angle_sigma_deg=result.gauge.angle_sigma_deg)  # fmt: skip
    if score is None:
        return base
    reason, converged = base.reason, base.converged
    if converged and not score.excess < _limit(score):
        # what fits its own blocks only has learned them by heart
        converged = False
        reason = f"fits its own blocks but not the held-out ones (excess {score.excess:+.2f}, limit {_limit(score):.2f})"
    return replace(
        base, converged=converged, reason=reason, held_out_excess=score.excess, held_out_score=score.score,
        predicted_score=score.predicted_score, held_out_outliers=score.outlier_fraction, per_peak=score.per_peak,
    )  # fmt: skip


def _limit(score: Score) -> float:
    """Excess that a converged array stays below on blocks it has not seen: drift is allowed as in the verdict."""
    drift = float(np.log1p(1e-4 / np.exp(score.predicted_score)))
    return max(score.threshold + 0.05, drift + score.threshold)


def _available(csi: ChannelResponses | None) -> tuple[str, ...]:
    return tuple(m for m in RACERS if m in METHODS or (m in CSI_METHODS and csi is not None))


def _part_of_csi(csi: ChannelResponses, index: NDArray[np.intp]) -> ChannelResponses:
    sector = csi.sector_deg
    return replace(
        csi,
        csi=csi.csi[index],
        time_s=None if csi.time_s is None else csi.time_s[index],
        sector_deg=None if sector is None else np.asarray(sector)[index],
    )


def rank(entries: Sequence[Entry]) -> tuple[list[Entry], tuple[str, ...]]:
    """Entries from best to worst with the winner marked, and the names that tie with it.

    Only methods that converged can win. Those whose held-out nulls differ from the deepest by less than the
    statistical error of the paired difference tie; among them the smallest angle sigma wins, then the most
    independent angles, then the order of `RACERS`.
    """
    scored = sorted((e for e in entries if np.isfinite(e.held_out_excess)), key=_order)
    rest = [e for e in entries if not np.isfinite(e.held_out_excess)]
    able = [e for e in scored if e.converged]
    if not able:
        return scored + rest, ()
    tied = [e for e in able if e is able[0] or _same(able[0], e)]
    finest = min(_sigma(e) for e in tied)
    close = [e for e in tied if _sigma(e) <= (1 + _SIGMA_TIE) * finest]
    most = max(e.result.n_angles if e.result is not None else 0 for e in close)
    close = [e for e in close if e.result is not None and e.result.n_angles >= 0.95 * most] or close
    winner = min(close, key=lambda e: RACERS.index(e.method) if e.method in RACERS else len(RACERS))
    ranked = [replace(winner, winner=True), *(e for e in scored if e is not winner), *rest]
    return ranked, tuple(e.method for e in tied if e is not winner)


def _order(entry: Entry) -> tuple[bool, float]:
    return (not entry.converged, entry.held_out_excess)


def _sigma(entry: Entry) -> float:
    return entry.angle_sigma_deg if np.isfinite(entry.angle_sigma_deg) else np.inf


def _same(best: Entry, other: Entry) -> bool:
    """Is the paired difference of the nulls within its own statistical error?"""
    if best.per_peak is None or other.per_peak is None:
        return False
    gap = (other.per_peak - best.per_peak).ravel()
    low, high = np.quantile(gap, (0.02, 0.98))
    gap = np.clip(gap, low, high)
    error = float(gap.std() / np.sqrt(len(gap)))
    return other.held_out_excess - best.held_out_excess < _TIE_SIGMAS * error + _TIE_FLOOR


def offer(ranked: Sequence[Entry], tied: Sequence[str]) -> str:
    """What is offered, in words."""
    winner = next((e for e in ranked if e.winner), None)
    if winner is None:
        reasons = "; ".join(f"{e.method}: {e.reason}" for e in ranked)
        return f"no method converged ({reasons})"
    words = (
        f"{winner.method} is offered: on held-out blocks the null depth is {np.exp(winner.held_out_excess):.3g} times "
        f"what noise alone predicts (excess {winner.held_out_excess:+.3f}), angle sigma "
        f"{winner.angle_sigma_deg:.2g} degrees"
    )
    if tied:
        words += (
            f"; {', '.join(tied)} {'ties' if len(tied) == 1 else 'tie'} with it within the statistical error"
        )
    return words + ". It has not been applied"


def _text(value: float, form: str) -> str:
    return format(value, form) if np.isfinite(value) else "-"
