"""Tables of the cold-start experiment from the arrays of every row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.reproduce.cold_start_rows import Row, word_of
from hil.reproduce.experiment import Table

GOOD = 0.9995  # manifold correlation of a converged array
SILENT = 0.999  # below it a result that is called converged is a silent failure
PREDICTED_DEG = 67.0  # rms angle error of the support gauge, times the number of angles seen


@dataclass(frozen=True, slots=True)
class Arrays:
    """All arrays of one row: lists of the cases, joined, as arrays (n,); NaN where there is no number."""

    row: Row
    converged: NDArray[np.bool_]
    correlation: NDArray[np.float64]
    error_deg: NDArray[np.float64]
    sigma_deg: NDArray[np.float64]
    excess: NDArray[np.float64]
    seconds: NDArray[np.float64]
    attempts: NDArray[np.int64]
    words: tuple[str, ...]

    @property
    def count(self) -> int:
        """Number of arrays."""
        return len(self.converged)

    @property
    def good(self) -> NDArray[np.bool_]:
        """The array was found, whatever the verdict says."""
        return self.correlation >= GOOD

    @property
    def silent_failures(self) -> int:
        """Wrong arrays that were called converged."""
        return int(np.sum(self.converged & ~(self.correlation >= SILENT)))

    @property
    def false_alarms(self) -> int:
        """Right arrays that were refused although the row's assumptions hold."""
        return int(np.sum(self.good & ~self.converged)) if self.row.right == "accept" else 0

    @property
    def strange_reasons(self) -> tuple[str, ...]:
        """Reasons of refusals that do not fit the row."""
        return tuple(word for word in self.words if word and word not in self.row.reasons)

    @property
    def refused(self) -> int:
        """Arrays that were not called converged."""
        return int(np.sum(~self.converged))

    @property
    def verdict_is_right(self) -> bool:
        """No silent failure; what should pass passes but for 1 in 100 or one array; what should not is refused."""
        if self.silent_failures:
            return False
        if self.row.right == "accept":
            return self.refused <= max(1, self.count // 100)
        return self.row.right == "either" or self.refused == self.count


def joined(row: Row, parts: list[dict[str, Any]]) -> Arrays:
    """Join the results of a row's cases."""

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array([np.nan if v is None else v for part in parts for v in part[name]], float)

    return Arrays(
        row,
        converged=np.array([v for part in parts for v in part["converged"]], bool),
        correlation=numbers("correlation"),
        error_deg=numbers("error_deg"),
        sigma_deg=numbers("sigma_deg"),
        excess=numbers("excess"),
        seconds=numbers("seconds"),
        attempts=numbers("attempts").astype(np.int64),
        words=tuple(word_of(reason) for part in parts for reason in part["reason"]),
    )


def _of(part: Any, count: int) -> str:
    return f"{int(np.sum(part))}/{count}"


def _triple(values: NDArray[np.float64], digits: int) -> str:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return "-"
    return " / ".join(f"{v:.{digits}f}" for v in np.quantile(values, [0.5, 0.9, 1.0]))


def _range(values: NDArray[np.float64]) -> str:
    values = values[np.isfinite(values)]
    return f"{values.min():.3f}..{values.max():.3f}" if len(values) else "-"


def _seconds(arrays: Arrays) -> str:
    return f"{np.median(arrays.seconds):.2f} / {arrays.seconds.max():.2f}"


def _loss(arrays: Arrays) -> float | None:
    accepted = arrays.correlation[arrays.converged & np.isfinite(arrays.correlation)]
    return float(f"{1 - accepted.min():.1e}") if len(accepted) else None


def bar_table(rows: list[Arrays]) -> Table:
    """The arrays of the bar."""
    lines = []
    for arrays in rows:
        setting = arrays.row.setting
        predicted = PREDICTED_DEG / (setting.blocks * setting.k)
        lines.append(
            (
                arrays.row.title, setting.blocks, _of(arrays.good, arrays.count),
                int(np.sum(arrays.attempts <= 2)), int(arrays.attempts.max()), _seconds(arrays),
                _range(arrays.excess), _loss(arrays), _triple(arrays.error_deg, 3),
                f"{predicted:.3f}" if setting.shape == "line" else "-",
                f"{100 * np.mean(arrays.error_deg <= arrays.sigma_deg):.0f} %",
            )
        )  # fmt: skip
    return Table(
        "cold-start",
        "Arrays found",
        (
            "N, K", "blocks", "converged", "first start (either of two)", "starts, largest", "s: median / largest",
            "median excess", "1 - correlation, largest accepted", "angle error, rms deg: median / 90 % / largest",
            "predicted (67/n)", "within stated 90 % sigma",
        ),
        tuple(lines),
        "Converged: the learned manifold correlates with the true one by 0.9995 and more everywhere in the field "
        "of view (|u| <= 0.98, or the circle), after the two numbers (one on the circle) that no unlabelled data "
        "show. Angle error: what the support gauge leaves, rms over the support; with one rotation on the circle. "
        "Seconds: processor time of one thread in the learner, eigendecompositions included.",
    )  # fmt: skip


def verdict_table(rows: list[Arrays]) -> Table:
    """What the label-free verdict said about them."""
    lines = [
        (
            a.row.title, a.row.setting.blocks, a.count, int(np.sum(a.converged)), a.silent_failures,
            a.false_alarms, _words(a),
        )
        for a in rows
    ]  # fmt: skip
    total = (
        "all", None, sum(a.count for a in rows), int(sum(np.sum(a.converged) for a in rows)),
        sum(a.silent_failures for a in rows), sum(a.false_alarms for a in rows), "",
    )  # fmt: skip
    return Table(
        "cold-start-verdict",
        "Verdict without labels",
        ("N, K", "blocks", "arrays", "called converged", "silent failures", "false alarms", "reasons"),
        (*lines, total),
        "Silent failure: called converged with a correlation below 0.999 somewhere in the field of view. False "
        "alarm: found (0.9995) but refused.",
    )


def _words(arrays: Arrays) -> str:
    counts = Counter(word for word in arrays.words if word)
    return ", ".join(f"{word} ({n})" for word, n in counts.most_common())


def rows_table(name: str, title: str, rows: list[Arrays], note: str) -> Table:
    """Rows in which the verdict is put to the test."""
    ought = {"accept": "accept", "refuse": "refuse", "either": "no matter"}
    lines = [
        (
            a.row.title, ought[a.row.right], _of(a.good, a.count), _of(a.converged, a.count), a.silent_failures,
            a.false_alarms, _loss(a), _words(a), int(a.attempts.max()), _seconds(a), a.verdict_is_right,
            len(a.strange_reasons) if a.row.right != "accept" else None,
        )
        for a in rows
    ]  # fmt: skip
    columns = (
        "condition", "ought to", "converged", "called converged", "silent failures", "false alarms",
        "1 - correlation, largest accepted", "reasons of refusals", "starts, largest", "s: median / largest",
        "verdict right", "refusals that name another cause",
    )  # fmt: skip
    return Table(name, title, columns, tuple(lines), note)
