"""Pictures, tables and sentences on the errors at held-out angles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hil.core.calibration import Calibration
from hil.reporting import accuracy_plots
from hil.reporting.accuracy import Accuracy, rms
from hil.reporting.document import Block, Heading, Paragraph, Picture, Table, Verdict
from hil.reporting.numbers import degrees, rounded

_MOST_NAMES = 60
#: Errors (rms) above both are not accepted.
_LARGEST_DEG, _MOST_BOUNDS = 0.5, 3


def accuracy_blocks(
    accuracy: Accuracy, calibrations: Mapping[str, Calibration], *, planar: bool
) -> list[Block]:
    """The part of a report that shows errors."""
    n, t = len(accuracy.point), accuracy.n_snapshots
    out: list[Block] = [
        Heading("Direction errors on held-out angles"),
        _summary(accuracy, calibrations),
        Paragraph(
            f"{len(accuracy.true_deg)} points, {n} blocks of {t} snapshots; MUSIC with the number of emitters known, the highest "
            "peaks count, refined between grid points; a block without a peak counts as 90 degrees wrong. Mean: over blocks, of "
            "the root mean square error of its emitters. rms: over all errors. Bias: mean error of a point. Scatter: deviation of one block from it. The Cramér-Rao "
            "bound (CRB) is the least scatter of an unbiased estimate of one block with the array as learned and the power over "
            "noise that was measured (Stoica and Nehorai 1990). Within 2 sigma: share of the points whose bias is within two "
            "standard deviations, made up of what the calibration states, the table's error and the scatter.",
            small=True,
        ),
        Picture(
            accuracy_plots.residual_figure(accuracy, planar=planar),
            "Mean error of every held-out point against its true direction; below, the learned arrays alone with one standard "
            "deviation of a block (up to 400 points) and the bound.",
            "Two plots of direction error over true direction: all arrays, and the learned ones enlarged.",
        ),
        Picture(
            accuracy_plots.distribution_figure(accuracy),
            "Distribution of the size of the error of one block (cumulative).",
            "Cumulative distribution of the error of each array on a logarithmic axis.",
        ),
        Picture(
            accuracy_plots.sector_figure(accuracy),
            "Size of the error of one block by sector: box from 25 to 75 %, line at the median, whiskers from 5 to 95 %; dotted "
            "the median of the bound.",
            "Box plots of the error of each array by sector of the true direction.",
        ),
    ]
    for name in accuracy.learned:
        out += [
            Heading(f"By sector: {_called(name)} against the bound", minor=True),
            _sector_table(accuracy, name),
        ]
    return out


def _summary(accuracy: Accuracy, calibrations: Mapping[str, Calibration]) -> Table:
    rows = []
    for name in accuracy.error_deg:
        cal = calibrations.get(name)
        rows.append(
            (
                name if cal is None else f"{name} ({cal.method})",
                rounded(accuracy.rmspe_deg(name)),
                rounded(accuracy.rms_deg(name)),
                rounded(accuracy.percentile_deg(name, 50)),
                rounded(accuracy.percentile_deg(name, 95)),
                rounded(rms(accuracy.bias_deg(name))),
                rounded(rms(accuracy.scatter_deg(name))),
                "-" if cal is None else f"{100 * accuracy.covered(name, cal.gauge.angle_sigma_deg):.0f} %",
            )
        )
    rows.append(("bound (CRB)", "", "", "", "", "", rounded(rms(accuracy.crb_deg)), ""))
    heads = (
        "array",
        "mean / °",
        "rms / °",
        "median / °",
        "95 % / °",
        "bias / °",
        "scatter / °",
        "within 2 sigma",
    )
    return Table(heads, rows, widths=(2.2, *[1] * 7))


def _sector_table(accuracy: Accuracy, name: str) -> Table:
    rows = []
    nominal, learned, block = accuracy.sizes("nominal"), accuracy.sizes(name), accuracy.point
    bias, scatter = accuracy.bias_deg(name), accuracy.scatter_deg(name)
    for sector, inside in accuracy.sectors():
        spread, bound = rms(scatter[inside]), rms(accuracy.crb_deg[inside])
        rows.append(
            (
                sector, f"{int(inside.any(axis=1).sum())}", rounded(rms(nominal[inside[block]])),
                rounded(rms(learned[inside[block]])), rounded(rms(bias[inside])), rounded(spread), rounded(bound),
                rounded(spread / bound if bound > 0 else None),
            )
        )  # fmt: skip
    heads = ("sector / °", "points", "nominal, rms / °", "learned, rms / °", "bias / °", "scatter / °", "CRB / °",
             "scatter / CRB")  # fmt: skip
    return Table(heads, rows, widths=(1.4, 0.8, *[1] * 6))


def verdict(accuracy: Accuracy, calibrations: Mapping[str, Calibration], limits: str) -> Verdict:
    """One sentence on the best calibration, with what it holds for. limits : carrier and what else."""
    name = min(calibrations, key=accuracy.rms_deg)
    cal, error, before = calibrations[name], accuracy.rms_deg(name), accuracy.rms_deg("nominal")
    bound = rms(accuracy.crb_deg)
    too_large = error > max(_LARGEST_DEG, _MOST_BOUNDS * bound) if bound > 0 else error > _LARGEST_DEG
    good = cal.converged and not cal.stale_reason and error < before and not too_large
    low, high = float(accuracy.true_deg.min()), float(accuracy.true_deg.max())
    others = "".join(
        f", with {_called(n)} by {rounded(accuracy.rms_deg(n), 2)}" for n in calibrations if n != name
    )
    words = (
        f"on {len(accuracy.true_deg)} held-out points from {degrees(low)} to {degrees(high)} degrees the directions found by MUSIC are "
        f"wrong by {rounded(error, 2)} degrees rms with {_called(name)} (95 % of them by less than "
        f"{rounded(accuracy.percentile_deg(name, 95), 2)}){others}, and by {rounded(before, 2)} degrees with the nominal array; the "
        f"Cramér-Rao bound is {rounded(bound, 2)} degrees. "
    )
    why = ""
    if not cal.converged:
        why = " The learner itself did not accept this calibration."
    elif error >= before:
        why = " The calibration does not help."
    elif too_large:
        why = f" That is more than {_LARGEST_DEG:g} degrees and {_MOST_BOUNDS} times the bound."
    return Verdict(f"{'Accepted' if good else 'Not accepted'}: {words}{limits}{why}", good)


def _called(name: str) -> str:
    return "the learned array" if name == "learned" else f"calibration {name}"


def left_out_blocks(left_out: Mapping[str, Sequence[str]], title: str) -> list[Block]:
    """Which points do not count, and why; nothing without any."""
    if not left_out:
        return []
    rows = []
    for why, names in left_out.items():
        shown = ", ".join(names[:_MOST_NAMES]) + (" ..." if len(names) > _MOST_NAMES else "")
        rows.append((why, f"{len(names)}", shown.replace("-", "\u2212")))
    return [
        Heading(title),
        Table(("reason", "points", "which (table angle / °)"), rows, text=True, widths=(2.4, 0.6, 3)),
    ]


def accuracy_values(accuracy: Accuracy, calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """The same for JSON."""
    arrays = {
        name: {
            "doa_rmspe_deg": accuracy.rmspe_deg(name),
            "rms_deg": accuracy.rms_deg(name),
            "median_deg": accuracy.percentile_deg(name, 50),
            "p95_deg": accuracy.percentile_deg(name, 95),
            "largest_deg": float(accuracy.sizes(name).max()),
            "bias_rms_deg": rms(accuracy.bias_deg(name)),
            "scatter_rms_deg": rms(accuracy.scatter_deg(name)),
        }
        | ({"within_2_sigma": accuracy.covered(name, cal.gauge.angle_sigma_deg)} if cal is not None else {})
        for name in accuracy.error_deg
        for cal in (calibrations.get(name),)
    }
    sectors = [
        {
            "sector_deg": name.replace("\u2212", "-"), "points": int(inside.any(axis=1).sum()),
            "crb_deg": rms(accuracy.crb_deg[inside]),
            "rms_deg": {n: rms(accuracy.sizes(n)[inside[accuracy.point]]) for n in accuracy.error_deg},
        }
        for name, inside in accuracy.sectors()
    ]  # fmt: skip
    return {
        "arrays": arrays, "crb_deg": rms(accuracy.crb_deg), "blocks": len(accuracy.point), "sectors": sectors,
        "true_deg": accuracy.true_deg, "residual_deg": {n: accuracy.bias_deg(n) for n in accuracy.error_deg},
        "point_crb_deg": accuracy.crb_deg, "snapshots": accuracy.n_snapshots,
        "highest_deg": float(np.max(accuracy.true_deg)), "lowest_deg": float(np.min(accuracy.true_deg)),
    }  # fmt: skip
