"""What `hil learn` says when it is done."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hil.cli.output import console, print_problem, print_table

if TYPE_CHECKING:
    from calib.race import RaceResult
    from hil.jobs.learn import LearnedArray
    from hil.jobs.learn_campaign import LearnedCampaign

_NAMES = {
    "nominal": "nominal array",
    "learned": "learned array",
    "without_table": "learned, without its table",
    "bias_table": "without its table, bias table instead",
    "known": "true array",
}


def show(learned: LearnedArray) -> None:
    """Score, what stays open, errors, and the problem if there is one."""
    from hil.jobs.learn_campaign import LearnedCampaign

    result = learned.result
    if result is not None and math.isfinite(result.score):
        console.print(
            f"score {result.score:.2f}, predicted from noise alone {result.predicted_score:.2f} "
            f"(excess {result.excess:+.2f}); {result.n_angles} independent directions; {learned.seconds:.2f} s",
            highlight=False,
        )
    if learned.race is not None:
        _show_race(learned.race)
    if result is not None:
        for words in result.not_identifiable:
            console.print(f"cannot be known from these data: {words}", highlight=False)
        offer = learned.race.offer if learned.race is not None else None
        for note in result.notes:
            if note != offer:
                console.print(f"note: {note}", highlight=False, markup=False)
    if learned.outcome is not None:
        errors = (learned.outcome.before, learned.outcome.after, learned.outcome.known)
        row = ("direction error / degrees rms", *(_degrees(e["doa_rmspe_deg"]) for e in errors))
        print_table(("", "nominal", "learned", "true array"), [row])
    if isinstance(learned, LearnedCampaign):
        _show_campaign(learned)
    if learned.file:
        offered = " (offered, not applied)" if learned.race is not None else ""
        console.print(f"wrote {learned.file}{offered}", highlight=False)
    if learned.problem is not None:
        print_problem(learned.problem)


def _degrees(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _show_race(race: RaceResult) -> None:
    for line in (*race.table().splitlines(), race.held_out, race.offer):
        console.print(line, highlight=False, markup=False)


def _show_campaign(learned: LearnedCampaign) -> None:
    """Counts, and errors at the held-out angles."""
    about = learned.about
    console.print(
        f"campaign: {about['learned']} points learned from, {len(about['held_out_deg'])} held out, {about['bad']} bad, "
        f"{about['open']} open; directions used: {about['directions']}",
        highlight=False,
    )
    if learned.held is None:
        return
    rows = [
        (_NAMES[name], f"{e.rms_deg:.4g}", f"{e.doa_rmspe_deg:.4g}")
        for name, e in learned.held.errors.items()
    ]
    rows.append(("bound (CRB)", f"{learned.held.crb_rms_deg:.4g}", "-"))
    print_table(("direction error at held-out angles / degrees", "rms", "mean"), rows)
