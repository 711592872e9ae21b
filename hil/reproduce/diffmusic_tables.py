"""Tables of the diffMUSIC experiment."""

from __future__ import annotations

from typing import Any

import numpy as np

from hil.reproduce.diffmusic_rows import (
    PUBLISHED,
    PUBLISHED_SUBSPACENET,
    Results,
    arrays,
    known,
    mean,
    of,
    rmspe,
    row_name,
    spread,
    values,
)
from hil.reproduce.experiment import Table

_ROWS = (
    "nominal", "physical", "SL,theta", "SL,P", "scan SL", "jain / none", "jain / support", "log-peak / none",
    "log-peak / support", "scan UL / none", "scan UL / prior", "scan UL / support", "scan UL / anchors",
    "scan UL / oracle",
)  # fmt: skip
_COLUMNS = (
    "method / gauge", "M", "spread", "dM", "spread dM", "M / physical", "published M", "published dM",
    "published M / physical", "correlation, lowest", "seconds",
)  # fmt: skip


def tables(results: Results) -> tuple[Table, ...]:
    """All tables that the finished cases allow."""
    out: list[Table] = []
    if known(results, "physical").size:
        out.append(_known(results))
    if arrays(results, 1):
        out.append(_table2(results, 1, "paper"))
    if arrays(results, 5):
        out += [_table2(results, 5, "paper"), _table2(results, 5, "dup")]
    scans = [_scan_row(results, m) for m in (1, 5) if of(results, rf"scan-m{m}-\d+")]
    if scans:
        columns = (
            "sources",
            "arrays",
            "correlation, lowest",
            "restarts, most",
            "seconds, mean",
            "seconds, most",
        )
        out.append(Table("scan", "Unlabelled eigen-scan: gauge-free correlation of the manifold over |u| <= 0.98",
                         columns, tuple(scans)))  # fmt: skip
    if of(results, r"losses-array\d+"):
        out.append(_losses(results))
    out += _sweeps(results)
    if "complexity" in results:
        out.append(_complexity(results["complexity"]))
    return tuple(out)


def _known(results: Results) -> Table:
    rows: list[tuple[Any, ...]] = []
    for name in ("nominal", "physical"):
        x = known(results, name)
        music, soft = PUBLISHED[1][name]
        rows.append(
            (name, len(x), _digits(mean(x[:, 0])), spread(x[:, 0]), _digits(mean(x[:, 1])), music, soft)
        )
    columns = ("array", "arrays", "M", "spread M", "dM", "published M", "published dM")
    return Table("known", "One source, nominal and physical arrays: RMSPE in degrees", columns, tuple(rows))


def _digits(value: float | None) -> str | None:
    return None if value is None else f"{value:.5f}"


def _table2(results: Results, m: int, policy: str) -> Table:
    cases = arrays(results, m)
    physical = rmspe(cases, "physical", policy)
    rows: list[tuple[Any, ...]] = []
    for shown in _ROWS:
        name = row_name(m, shown)
        x = rmspe(cases, name, policy)
        if not x.size:
            continue
        quote = PUBLISHED[m].get(shown, (None, None)) if policy == "paper" else (None, None)
        of_physical = PUBLISHED[m]["physical"][0]
        ratio = None if quote[0] is None or of_physical is None else quote[0] / of_physical
        correlation = values(cases, name, "correlation")
        rows.append((
            shown, _digits(mean(x[:, 0])), spread(x[:, 0]), _digits(mean(x[:, 1])), spread(x[:, 1]),
            float(x[:, 0].mean() / physical[:, 0].mean()), quote[0], quote[1], ratio,
            f"{correlation.min():.5f}" if correlation.size else None, mean(values(cases, name, "seconds")),
        ))  # fmt: skip
    if policy == "paper":
        own = results.get(f"subspacenet-m{m}", {})
        rows.append(("SubspaceNet (published)", None, None, None, None, None, PUBLISHED_SUBSPACENET[m], None,
                     PUBLISHED_SUBSPACENET[m] / float(PUBLISHED[m]["physical"][0] or 1), None, None))  # fmt: skip
        if own:
            rows.append(("SubspaceNet (own reduced run, one array)", _digits(own["rmspe_deg"]), None, None, None,
                         None, None, None, None, None, own["seconds"]))  # fmt: skip
    name = f"table2-m{m}" + ("" if policy == "paper" else f"-{policy}")
    title = f"Table II, {m} source{'s' * (m > 1)}, peak policy `{policy}`: RMSPE in degrees, mean over {len(cases)} arrays"
    note = "" if policy == "paper" else "The paper has no figures under this policy."
    return Table(name, title, _COLUMNS, tuple(rows), note)


def _scan_row(results: Results, m: int) -> tuple[Any, ...]:
    rows = [row for case in of(results, rf"scan-m{m}-\d+") for row in case["rows"]]
    seconds = np.array([row["seconds"] for row in rows])
    lowest = min(row["correlation"] for row in rows)
    restarts = max(row["restarts"] for row in rows)
    return (m, len(rows), f"{lowest:.6f}", restarts, float(seconds.mean()), float(seconds.max()))


def _losses(results: Results) -> Table:
    cases = of(results, r"losses-array\d+")
    rows: list[tuple[Any, ...]] = []
    for loss in ("jain", "variation", "gini", "kurtosis", "kl-uniform", "log-peak"):
        none, support = rmspe(cases, f"{loss} / none", "paper"), rmspe(cases, f"{loss} / support", "paper")
        physical = rmspe(cases, "physical", "paper")
        if not none.size:
            continue
        al = values(cases, f"{loss} / none", "al")
        rows.append((
            loss, mean(none[:, 0]), mean(support[:, 0]), float(support[:, 0].mean() / physical[:, 0].mean()),
            f"{values(cases, f'{loss} / none', 'correlation').min():.5f}", f"{al.mean():.4f}",
            mean(values(cases, f"{loss} / none", "seconds")),
        ))  # fmt: skip
    columns = (
        "loss", "M, no gauge", "M, support", "support / physical", "correlation, lowest", "scale al left, mean", "seconds",
    )  # fmt: skip
    return Table(
        "losses", f"Unlabelled losses, 5 sources, peak policy `paper`, {len(cases)} arrays", columns, tuple(rows),
        "Coefficient of variation, Gini, kurtosis and Kullback-Leibler divergence are named in the paper; log-peak is "
        "ours. Jain's index is 1/(1 + CV^2).",
    )  # fmt: skip


SWEEP_ROWS = ("nominal", "physical", "SL,P", "SL,theta", "jain / none", "jain / support", "scan UL / support")


def sweep(results: Results, kind: str, policy: str) -> dict[float, dict[str, float]]:
    """{SNR or T: {method: diffMUSIC's mean RMSPE}} over the arrays that were run."""
    pattern = r"snr([+-]\d+)-array\d+" if kind == "snr" else r"t(\d+)-array\d+"
    import re

    points = sorted({float(match.group(1)) for key in results if (match := re.fullmatch(pattern, key))})
    out: dict[float, dict[str, float]] = {}
    for point in points:
        text = (
            f"snr[{'-' if point < 0 else '+'}]{abs(int(point)):02d}"
            if kind == "snr"
            else f"t{int(point):03d}"
        )
        cases = of(results, rf"{text}-array\d+")
        found = {name: mean(rmspe(cases, name, policy)[:, 1]) for name in SWEEP_ROWS}
        out[point] = {name: value for name, value in found.items() if value is not None}
    return out


def _sweeps(results: Results) -> list[Table]:
    out: list[Table] = []
    for kind, label in (("snr", "SNR dB"), ("t", "snapshots")):
        for policy in ("paper", "dup"):
            found = sweep(results, kind, policy)
            if not found:
                continue
            rows = tuple((x, *(row.get(name) for name in SWEEP_ROWS)) for x, row in found.items())
            figure = "Fig. 5" if kind == "snr" else "Fig. 6"
            title = (
                f"{figure}: RMSPE of diffMUSIC in degrees against {label}, 5 sources, peak policy `{policy}`"
            )
            out.append(Table(f"{kind}-sweep-{policy}", title, (label, *SWEEP_ROWS), rows))
    return out


def _complexity(result: dict[str, Any]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for m, n_grid, stride, seconds in result["rows"]:
        loss = "SL,P" if n_grid == 0 else "SL,theta"
        search = "none" if n_grid == 0 else ("full grid" if stride == 1 else "coarse to fine")
        rows.append((loss, m, n_grid or None, search, f"{1e3 * seconds:.2f}"))
    return Table(
        "complexity", "Table I as measured: milliseconds of one training step, batch 50",
        ("loss", "sources", "grid points", "peak search", "ms per step"), tuple(rows),
        "Published: O(N N_theta + peak search + EVD) for SL,theta against O(N M + EVD) for SL,P; the eigenvectors are "
        "made once for all steps here.",
    )  # fmt: skip
