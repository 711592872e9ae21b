"""Table of docs/faults.md: every fault on many random arrays, and false alarms over clean blocks.

    python tests/bars/fault_table.py --arrays 10 --clean-blocks 10000

Faults of the samples and clean streams run as fast as they are made, faults of the transport over servers in
processes of their own, in real time. About 20 minutes on two cores. `--only WORD` makes some rows anew.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from accuracy_page import insert_table  # noqa: E402

from hil.core.device import TxConfig  # noqa: E402
from hil.core.waveform import ofdm  # noqa: E402
from hil.health.catalogue import KINDS  # noqa: E402
from hil.health.watch import HealthWatch  # noqa: E402
from tests.physics.health_cases import SAMPLE_CASES, draw_array, draw_echoes, run_case  # noqa: E402
from tests.physics.health_scenes import SimStream  # noqa: E402
from tests.physics.health_transport import (  # noqa: E402
    NETWORK_CASES,
    PROTOCOLS,
    TRANSPORT_CASES,
    run_transport,
)

PAGE = HERE.parents[1] / "docs" / "faults.md"
RESULTS = HERE.parents[1] / "docs" / "reproduced" / "faults"
_FIRST_SEED = 21_000
_CLEAN_SEED = 27_000
_BLOCKS_PER_ARRAY = 400
_CLEAN, _COST = "clean blocks, ", "cost"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. blocks : of the detections, NaN left out, health blocks for faults of the samples, the device's blocks
    over a network; seconds : the same there; wrong : names that were given instead or besides."""

    fault: str
    transport: str
    trials: int
    detected: int
    named: int
    median_blocks: float
    most_blocks: float
    median_s: float
    most_s: float
    early: int
    kind: str
    wrong: str

    def cells(self) -> list[str]:
        """Markdown cells."""
        blocks = "" if np.isnan(self.median_blocks) else f"{self.median_blocks:.0f} ({self.most_blocks:.0f})"
        seconds = "" if np.isnan(self.median_s) else f"{self.median_s:.2f} ({self.most_s:.2f})"
        return [self.fault, self.transport, f"{self.detected}/{self.trials}", blocks, seconds,
                f"{self.named}/{self.trials}" + (f" ({self.wrong})" if self.wrong else ""), f"`{self.kind}`",
                KINDS[self.kind].remedy]  # fmt: skip


def sample_row(name: str, arrays: int) -> Row:
    """A fault of the samples on `arrays` arrays."""
    case = next(c for c in SAMPLE_CASES if c.name == name)
    outcomes = [run_case(case, _FIRST_SEED + k) for k in range(arrays)]
    seen = [o for o in outcomes if o.event is not None]
    wrong = sorted(o.event.kind for o in seen if o.event is not None and o.event.kind not in case.names)
    blocks = np.array([o.blocks for o in seen]) if seen else np.array([np.nan])
    return Row(case.name, "sim", arrays, len(seen), len(seen) - len(wrong), float(np.median(blocks)),
               float(blocks.max()), float("nan"), float("nan"), sum(o.early for o in outcomes), case.names[0],
               ", ".join(wrong))  # fmt: skip


def network_row(name: str, protocol: str, trials: int) -> Row:
    """A fault over IIOD or SoapyRemote, at another time in every trial."""
    kinds = (TRANSPORT_CASES | NETWORK_CASES)[name].names
    found = []
    for k in range(trials):
        address = f"127.0.11.{2 + k % 100 + 100 * (protocol == 'soapy')}"
        with tempfile.TemporaryDirectory() as folder:
            found.append(run_transport(name, Path(folder), address, _FIRST_SEED + k, protocol))
    told = [[e.kind for e in f.events] for f in found]
    wrong = sorted({kind for t in told for kind in t if kind not in kinds})
    seconds = [f.delay_s for f in found if not np.isnan(f.delay_s)] or [float("nan")]
    blocks = [f.delay_s / f.block_s for f in found if not np.isnan(f.delay_s)] or [float("nan")]
    return Row(name, PROTOCOLS[protocol], trials, sum(bool(t) for t in told),
               sum(any(kind in kinds for kind in t) for t in told), float(np.median(blocks)), max(blocks),
               float(np.median(seconds)), max(seconds), sum(len(f.early) for f in found), kinds[0],
               ", ".join([f"also {w}" for w in wrong] + sorted({f"before: {e.kind}" for f in found for e in f.early})))  # fmt: skip


def clean(k: int) -> tuple[int, list[str]]:
    """(blocks, false alarms) of the k-th clean stream; two of three have a calibration."""
    seed = _CLEAN_SEED + k
    array = draw_array(seed)
    stream = SimStream(array.toml, error_deg=0.3, seed=seed)
    watch = HealthWatch(stream.stream, stream.calibration if k % 3 else None)
    alarms: list[str] = []
    try:
        seconds = _BLOCKS_PER_ARRAY * watch.block_samples / stream.stream.fs_hz
        for frame, clipped in stream.frames(seconds):
            alarms += [f"{array}: {e.kind}" for e in watch.frame(frame, clipped)]
    finally:
        stream.close()
    return watch.blocks, alarms


def clean_sending(k: int) -> tuple[int, list[str]]:
    """The same of a device that hears itself: on, on, off, on; targets that stand, move and hop."""
    seed = _CLEAN_SEED + 5000 + k
    stream = SimStream(draw_echoes(seed), error_deg=0.3, seed=seed)
    fs_hz = stream.stream.fs_hz
    watch = HealthWatch(stream.stream, stream.calibration if k % 2 else None)
    wave = ofdm(n_subcarriers=48, spacing_hz=fs_hz / 64, cp_samples=16, n_fft=64, n_symbols=16, seed=seed)
    alarms: list[str] = []
    try:
        transmitter = stream.device.transmitter()
        for sends in (True, True, False, True):
            transmitter.stop()
            if sends:
                transmitter.configure(TxConfig(attenuation_db=0.0, channels=(0,)))
                transmitter.send_cyclic(wave.samples[None] * np.float32(0.5))
            for frame, clipped in stream.frames(100 * watch.block_samples / fs_hz):
                alarms += [f"sending {seed}: {e.kind}" for e in watch.frame(frame, clipped)]
    finally:
        stream.close()
    return watch.blocks, alarms


def clean_restarts(k: int) -> tuple[int, list[str]]:
    """The same of a stream that is retuned every 40 blocks; the new epochs themselves are told and count for nothing."""
    seed = _CLEAN_SEED + 9000 + k
    array = draw_array(seed)
    stream = SimStream(array.toml, error_deg=0.3, seed=seed)
    watch = HealthWatch(stream.stream)
    alarms: list[str] = []
    try:
        for _ in range(10):
            for frame, clipped in stream.frames(40 * watch.block_samples / stream.stream.fs_hz):
                alarms += [f"{array}: {e.kind}" for e in watch.frame(frame, clipped) if e.kind != "retune"]
            stream.retune()
    finally:
        stream.close()
    return watch.blocks, alarms


def cost() -> float:
    """Share of a core that watching 8 channels at 2.5 MS/s takes, start included; the least of three runs."""
    shares = []
    for _ in range(3):
        stream = SimStream("seed = 1\n[array]\nn_elements = 8\n")
        watch = HealthWatch(stream.stream, stream.calibration)
        used, seconds = 0.0, 6.0
        for frame, clipped in stream.frames(seconds):
            begin = time.process_time()
            watch.frame(frame, clipped)
            used += time.process_time() - begin
        stream.close()
        shares.append(used / seconds)
    return min(shares)


def clean_rows(blocks: int, pool: ProcessPoolExecutor, only: str) -> list[Row]:
    """False alarms: trials are blocks, detected false alarms, named streams."""
    streams = -(-blocks // _BLOCKS_PER_ARRAY)
    jobs = {
        f"{_CLEAN}{name}": [pool.submit(job, k) for k in range(streams if job is clean else -(-streams // 5))]
        for name, job in (("plain", clean), ("transmitting", clean_sending), ("retuned every 40 blocks", clean_restarts))
        if only in f"{_CLEAN}{name}"
    }  # fmt: skip
    rows = []
    for name, made in jobs.items():
        found = [job.result() for job in made]
        what = [a for _, alarms in found for a in alarms]
        none = float("nan")
        rows.append(Row(name, "sim", sum(b for b, _ in found), len(what), len(found), none, none, none, none, 0, "",
                        "; ".join(what)))  # fmt: skip
    return rows


def read_rows() -> list[Row]:
    """Rows of the latest runs."""
    file = RESULTS / "faults.csv"
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        kinds = {name: field.type for name, field in Row.__dataclass_fields__.items()}
        to = {"str": str, "int": lambda t: int(t or 0), "float": lambda t: float(t or "nan")}
        return [Row(**{name: to[str(kind)](line.get(name) or "") for name, kind in kinds.items()})
                for line in csv.DictReader(lines)]  # fmt: skip


def write_rows(rows: list[Row]) -> None:
    """CSV and page."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "faults.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Row.__dataclass_fields__)
        writer.writerows([getattr(row, name) for name in Row.__dataclass_fields__] for row in rows)
    head = [
        "fault",
        "over",
        "detected",
        "blocks: median (most)",
        "seconds",
        "named",
        "kind",
        "what the user is told to do",
    ]
    faults = [row for row in rows if row.kind]
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    table += ["| " + " | ".join(row.cells()) + " |" for row in faults]
    for row in rows:
        if row.fault.startswith(_CLEAN):
            table.append(f"\nClean, {row.fault.removeprefix(_CLEAN)}: {row.trials} blocks of {row.named} random streams, "
                         f"**{row.detected} false alarms**{': ' if row.wrong else ''}{row.wrong}")  # fmt: skip
    share = [row.median_s for row in rows if row.fault == _COST]
    cost_text = (
        f" Cost: {100 * share[0]:.0f} % of one core at 8 x 2.5 MS/s (process time, start included)."
        if share
        else ""
    )
    table.append(f"\nBefore the faults above {sum(row.early for row in faults)} more.{cost_text}")
    insert_table("faults", "\n".join(table), PAGE)


def main() -> None:
    """Run the rows asked for; the others stay as they were."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--arrays", type=int, default=10)
    parser.add_argument("--network-trials", type=int, default=6)
    parser.add_argument("--clean-blocks", type=int, default=10_000)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument(
        "--over", choices=("sim", "network"), help="only rows of the simulator, or of the servers"
    )
    given = parser.parse_args()
    sim, network = given.over != "network", given.over != "sim"
    rows: list[Row] = []
    if sim and given.only in _COST:
        none = float("nan")
        rows.append(Row(_COST, "sim", 3, 0, 0, none, none, cost(), none, 0, "", ""))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(sample_row, c.name, given.arrays)
            for c in SAMPLE_CASES
            if sim and given.only in c.name
        ]
        jobs += [pool.submit(network_row, name, protocol, given.network_trials if name in TRANSPORT_CASES else 2)
                 for name in (*TRANSPORT_CASES, *NETWORK_CASES) for protocol in PROTOCOLS if network and given.only in name]  # fmt: skip
        for job in jobs:
            rows.append(job.result())
            print(rows[-1], flush=True)
        rows += clean_rows(given.clean_blocks, pool, given.only) if sim else []
    new = {(row.fault, row.transport): row for row in rows}
    old = (
        [new.pop((row.fault, row.transport), row) for row in read_rows()] if given.only or given.over else []
    )
    write_rows([*old, *new.values()])


if __name__ == "__main__":
    main()
