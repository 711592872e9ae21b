"""Table of docs/faults.md: every fault on many random arrays, and false alarms over clean blocks.

    python tests/bars/fault_table.py --arrays 10 --clean-blocks 10000

Faults of the samples and clean streams run in this process as fast as they are made, faults of the transport over
servers in processes of their own, in real time. About 25 minutes on one core. `--only WORD` runs some rows and
writes nothing.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from accuracy_page import insert_table  # noqa: E402

from hil.health.catalogue import KINDS  # noqa: E402
from hil.health.watch import HealthWatch  # noqa: E402
from tests.physics.health_cases import SAMPLE_CASES, Case, draw_array, run_case  # noqa: E402
from tests.physics.health_scenes import SimStream  # noqa: E402
from tests.physics.health_transport import TRANSPORT_CASES, run_transport  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "faults.md"
RESULTS = HERE.parents[1] / "docs" / "reproduced" / "faults"
_FIRST_SEED = 3000
_CLEAN_SEED = 7000
_BLOCKS_PER_ARRAY = 400


@dataclass(frozen=True, slots=True)
class Row:
    """One line. blocks : of the detections, NaN left out; wrong : names that were given instead."""

    fault: str
    transport: str
    trials: int
    detected: int
    named: int
    median_blocks: float
    most_blocks: float
    early: int
    kind: str
    wrong: str

    def cells(self) -> list[str]:
        """Markdown cells."""
        blocks = "" if np.isnan(self.median_blocks) else f"{self.median_blocks:.0f} ({self.most_blocks:.0f})"
        return [self.fault, self.transport, f"{self.detected}/{self.trials}", blocks,
                f"{self.named}/{self.trials}" + (f" ({self.wrong})" if self.wrong else ""), f"`{self.kind}`",
                KINDS[self.kind].remedy]  # fmt: skip


def sample_row(case: Case, arrays: int) -> Row:
    """A fault of the samples on `arrays` arrays."""
    outcomes = [run_case(case, _FIRST_SEED + k) for k in range(arrays)]
    seen = [o for o in outcomes if o.event is not None]
    wrong = sorted(o.event.kind for o in seen if o.event is not None and o.event.kind not in case.names)
    blocks = np.array([o.blocks for o in seen]) if seen else np.array([np.nan])
    return Row(case.name, "sim", arrays, len(seen), len(seen) - len(wrong), float(np.median(blocks)),
               float(blocks.max()), sum(o.early for o in outcomes), case.names[0], ", ".join(wrong))  # fmt: skip


def transport_row(name: str, trials: int) -> Row:
    """A fault of the transport over IIOD; blocks are not counted, since a stream that has ended has none."""
    kinds = TRANSPORT_CASES[name][1]
    told = []
    for k in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            found = run_transport(name, Path(folder), f"127.0.8.{2 + k % 200}", _FIRST_SEED + k)
            told.append([e.kind for e in found.events])
    named = [any(kind in kinds for kind in t) for t in told]
    wrong = sorted({kind for t in told for kind in t if kind not in kinds})
    return Row(name, "IIOD", trials, sum(bool(t) for t in told), sum(named), float("nan"), float("nan"), 0, kinds[0],
               ", ".join(f"also {w}" for w in wrong))  # fmt: skip


def clean(blocks: int) -> tuple[int, int, int, list[str]]:
    """(blocks, arrays, false alarms, what they were) of clean streams, two thirds of them with a calibration."""
    seen = arrays = 0
    alarms: list[str] = []
    while seen < blocks:
        seed = _CLEAN_SEED + arrays
        array = draw_array(seed)
        stream = SimStream(array.toml, error_deg=0.3, seed=seed)
        watch = HealthWatch(stream.stream, stream.calibration if arrays % 3 else None)
        try:
            for frame, clipped in stream.frames(
                _BLOCKS_PER_ARRAY * watch.block_samples / stream.stream.fs_hz
            ):
                alarms += [f"{array}: {e.kind}" for e in watch.frame(frame, clipped)]
        finally:
            stream.close()
        seen += watch.blocks
        arrays += 1
    return seen, arrays, len(alarms), alarms


def cost() -> float:
    """Share of a core that watching 8 channels at 2.5 MS/s takes."""
    stream = SimStream("seed = 1\n[array]\nn_elements = 8\n")
    watch = HealthWatch(stream.stream, stream.calibration)
    used, seconds = 0.0, 3.0
    for frame, clipped in stream.frames(seconds):
        begin = time.process_time()
        watch.frame(frame, clipped)
        used += time.process_time() - begin
    stream.close()
    return used / seconds


def main() -> None:
    """Run all rows, write page and CSV."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--transport-trials", type=int, default=3)
    parser.add_argument("--clean-blocks", type=int, default=10_000)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    rows: list[Row] = []
    for case in SAMPLE_CASES:
        if given.only in case.name:
            rows.append(sample_row(case, given.arrays))
            print(rows[-1], flush=True)
    for name in TRANSPORT_CASES:
        if given.only in name:
            rows.append(transport_row(name, given.transport_trials))
            print(rows[-1], flush=True)
    if given.only:
        return
    blocks, arrays, alarms, what = clean(given.clean_blocks)
    print(blocks, arrays, alarms, what, flush=True)
    share = cost()
    head = [
        "fault",
        "over",
        "detected",
        "blocks: median (most)",
        "named",
        "kind",
        "what the user is told to do",
    ]
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    table += ["| " + " | ".join(row.cells()) + " |" for row in rows]
    early = sum(row.early for row in rows)
    told = "".join(f"\n- {w}" for w in what)
    table.append(
        f"\nClean: {blocks} blocks of {arrays} random arrays, **{alarms} false alarms**{told}; before the faults above "
        f"{early} more. Cost: {100 * share:.0f} % of one core at 8 x 2.5 MS/s (process time)."
    )
    insert_table("faults", "\n".join(table), PAGE)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "faults.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row.__dataclass_fields__)
        writer.writerows([getattr(row, name) for name in Row.__dataclass_fields__] for row in rows)
        writer.writerow(["clean blocks", "sim", blocks, alarms, arrays, "", "", "", "", "; ".join(what)])


if __name__ == "__main__":
    main()
