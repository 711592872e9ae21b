"""Soak: capture over IIO with learning and spectra for an hour; memory flat, every sample accounted for.

    python tests/bars/soak.py [--seconds 3600] [--elements 4] [--rate 2.5e6] [--out docs/reproduced/soak] [--record]

The simulated board runs behind a real IIO context in its own process, with a truth file. Every ten seconds the
memory of the program, of its learner and of the server, what arrived and what the learner says are written to
soak.csv. Exit code 1 if memory grew by 20 MB or more, an edge's account does not add up, or samples are missing
that the device did not report. `--record` writes a recording too (short runs: 40 MB/s).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from drivers.sigmf_files import open_recording
from hil.core.device import RxConfig
from hil.core.frame import Frame
from hil.core.geometry import parse_array
from hil.dsp.covariance import sample_covariance
from hil.dsp.doa import DoaFinder
from hil.learning.live import LiveLearner
from hil.learning.settings import LearnSettings
from hil.recorder import Recorder
from hil.session import Session, SessionSummary, open_session
from hil.sim_server import free_address, serve

ROOT = Path(__file__).resolve().parents[2]
GROWTH_BYTES = 20e6
#: Caches and the learner's windows fill in this time; memory of shorter runs is shown, not judged.
WARM_UP_S = 120.0
STEP_S = 10.0
COLUMNS: tuple[str, ...] = ("t_s", "samples", "app_mb", "learner_mb", "server_mb", "threads", "descriptors",
           "spectra", "learned", "tracked", "app_cpu_s", "learner_cpu_s", "server_cpu_s")  # fmt: skip
SCENE = """
seed = {seed}
[array]
n_elements = {elements}
[receiver]
fs_hz = {rate}
[impairments]
drift_deg_per_minute = 1.0
[[emitter]]
hop = {{ period_s = 0.01, min_deg = -60.0, max_deg = 60.0 }}
"""


@dataclass(slots=True)
class Soak:
    """Rows of the table, and what the run ended with."""

    rows: list[dict[str, float]] = field(default_factory=list)
    summary: SessionSummary = field(default_factory=SessionSummary)
    learner_edge: dict[str, int] = field(default_factory=dict)
    recorded: int = 0
    server_lost: int = 0
    problems: list[str] = field(default_factory=list)
    growth_mb: dict[str, float] = field(default_factory=dict)


class _Watch:
    """In the DSP thread: learner and spectra; counts what it did."""

    def __init__(self, learner: LiveLearner, finder: DoaFinder) -> None:
        self.learner, self.finder, self.spectra = learner, finder, 0

    def __call__(self, frame: Frame, clipped: object) -> None:
        del clipped
        self.learner.offer(frame)
        self.finder.find(sample_covariance(frame.samples[:, :1024]), 1)
        self.spectra += 1


def run(args: argparse.Namespace) -> Soak:
    """The whole soak."""
    found = Soak()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = folder / "soak.toml"
        scene.write_text(
            SCENE.format(seed=args.seed, elements=args.elements, rate=args.rate), encoding="utf-8"
        )
        array = f"ula:{args.elements}:0.5"
        with serve(folder, scene=scene, iio=free_address()) as server:
            uri = "iio:" + ",".join(server.iio)
            want = RxConfig(channels=tuple(range(args.elements)))
            with (
                open_session(uri, lambda fc_hz: parse_array(array, fc_hz), lambda n: want) as session,
                LiveLearner(session.stream, LearnSettings(support_deg=(-60.0, 60.0))) as learner,
            ):
                geometry = parse_array(array, session.stream.fc_hz)
                watch = _Watch(learner, DoaFinder(geometry, session.stream.fc_hz, None))
                recording = args.out / "soak.sigmf-meta" if args.record else None
                recorder = Recorder(recording, session.stream, policy="gap") if recording else None
                session.start(recorder=recorder, on_frame=watch)
                _follow(found, session, learner, watch, psutil.Process(server.process.pid), args.seconds)
                found.summary = session.stop()
                session.raise_error()
                counts = learner.edge.counts()
                found.learner_edge = {
                    k: getattr(counts, k)
                    for k in ("produced", "delivered", "dropped", "superseded", "in_flight")
                }
        found.server_lost = _lost_by_server(server.truth)
        if args.record:
            with open_recording(args.out / "soak.sigmf-meta") as recording:
                found.recorded = recording.n_samples
    _judge(found, args)
    return found


def _follow(
    found: Soak, session: Session, learner: LiveLearner, watch: _Watch, server: psutil.Process, seconds: float
) -> None:
    app, begin, learned, tracked = psutil.Process(), time.monotonic(), 0, 0
    due = begin + STEP_S
    while time.monotonic() < begin + seconds and not session.finished:
        update = learner.poll(0.5)
        if update is not None and update.result is not None and update.result.converged:
            learned, tracked = learned + (not update.tracked), tracked + bool(update.tracked)
        if time.monotonic() < due:
            continue
        due += STEP_S
        children = [p for p in app.children() if p.pid != server.pid]
        learner_memory = sum(p.memory_info().rss for p in children)
        row = {
            "t_s": round(time.monotonic() - begin, 1), "samples": session.samples, "app_mb": app.memory_info().rss / 1e6, "learner_mb": learner_memory / 1e6,
            "server_mb": server.memory_info().rss / 1e6, "threads": threading.active_count(),
            "descriptors": app.num_fds(), "spectra": watch.spectra, "learned": learned, "tracked": tracked,
            "app_cpu_s": sum(app.cpu_times()[:2]), "learner_cpu_s": sum(sum(p.cpu_times()[:2]) for p in children),
            "server_cpu_s": sum(server.cpu_times()[:2]),
        }  # fmt: skip
        found.rows.append(row)
        print(" ".join(f"{k} {v:.6g}" for k, v in row.items()), file=sys.stderr, flush=True)


def _lost_by_server(truth: Path) -> int:
    """Samples that the board itself lost, by its truth file: what "resume" events name."""
    lost = 0
    with truth.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event.get("event") == "resume":
                lost += int(event["lost_samples"])
    return lost


def _judge(found: Soak, args: argparse.Namespace) -> None:
    s = found.summary
    for name, edge in (s.edges | {"dsp -> learner": found.learner_edge}).items():
        rest = edge["delivered"] + edge["dropped"] + edge["superseded"] + edge["in_flight"]
        if edge["produced"] != rest:
            found.problems.append(f"edge {name}: {edge['produced']} produced, {rest} accounted for")
    # a stalled board does not tell the program how much it lost: its truth file does
    missing = args.seconds * args.rate - (s.samples + max(s.lost, found.server_lost))
    if missing > 5.0 * args.rate:  # opening and closing take their seconds
        found.problems.append(f"{missing:.0f} samples neither arrived nor are known to be lost")
    if s.lost_exact and s.lost != found.server_lost:
        found.problems.append(
            f"{s.lost} samples lost by the program's account, {found.server_lost} by the board's"
        )
    if args.record and found.recorded != s.samples:
        found.problems.append(f"{found.recorded} samples in the recording, {s.samples} arrived")
    judged = args.seconds >= 3 * WARM_UP_S
    steady = [r for r in found.rows if r["t_s"] > (WARM_UP_S if judged else 0.0)]
    for part in ("app_mb", "learner_mb", "server_mb"):
        if len(steady) >= 4:
            third = len(steady) // 3 or 1
            found.growth_mb[part] = max(r[part] for r in steady[-third:]) - max(
                r[part] for r in steady[:third]
            )
            if judged and found.growth_mb[part] * 1e6 >= GROWTH_BYTES:
                found.problems.append(f"{part[:-3]}: memory grew by {found.growth_mb[part]:.1f} MB")
    if steady and not steady[-1]["learned"] + steady[-1]["tracked"]:
        found.problems.append("nothing was learned")


def write(found: Soak, out: Path, args: argparse.Namespace) -> None:
    """soak.csv and soak.md."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "soak.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(found.rows)
    s, last = found.summary, found.rows[-1]
    accounts = {
        "samples per channel": f"{s.samples:,}",
        "lost by the program's account": f"{s.lost:,} ({'exact' if s.lost_exact else 'lower bound'})",
        "lost by the board's account": f"{found.server_lost:,}",
        "gaps": str(s.gaps),
        "calibrations learned / followed": f"{last['learned']:.0f} / {last['tracked']:.0f}",
        "spectra": f"{last['spectra']:,.0f}",
        "share of a core: program, learner, server": ", ".join(
            f"{last[k] / last['t_s']:.2f}" for k in ("app_cpu_s", "learner_cpu_s", "server_cpu_s")
        ),
        "threads, descriptors: first and last row": ", ".join(
            f"{found.rows[0][k]:.0f} -> {last[k]:.0f}" for k in ("threads", "descriptors")
        ),
    }
    lines = [
        "# Soak", "",
        f"{args.elements} channels x {args.rate / 1e6:g} MS/s over IIO for {args.seconds:g} s, learning on, seed {args.seed}.",
        "",
        "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in accounts.items()), "",
        "| memory | at the end, MB | growth, last third over first third after warm-up, MB |", "|---|---|---|",
        *(f"| {k[:-3]} | {last[k]:.0f} | {v:+.1f} |" for k, v in found.growth_mb.items()), "",
        "| edge | produced | delivered | dropped | superseded | in flight |", "|---|---|---|---|---|---|",
        *(f"| {name} | " + " | ".join(f"{e[k]:,}" for k in ("produced", "delivered", "dropped", "superseded", "in_flight"))
          + " |" for name, e in (s.edges | {"dsp -> learner": found.learner_edge}).items()),
        "",
        "Nothing wrong." if not found.problems else "Problems: " + "; ".join(found.problems) + ".",
        "",
    ]  # fmt: skip
    (out / "soak.md").write_text("\n".join(lines), encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Soak: capture over IIO with learning and spectra.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--elements", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2.5e6, help="samples per second and channel")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write a recording, too")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reproduced" / "soak")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    found = run(args)
    write(found, args.out, args)
    result: dict[str, Any] = {"problems": found.problems, "samples": found.summary.samples, "lost": found.summary.lost,
                              "server_lost": found.server_lost, "growth_mb": found.growth_mb, "edges": found.summary.edges}  # fmt: skip
    print(json.dumps(result))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
