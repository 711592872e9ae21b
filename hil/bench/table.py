"""The stages: one line and one file each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil.bench.measure import StageReport
from hil.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BenchStage:
    """Name on the command line, title in tables, and the module whose `run(quick)` measures it."""

    name: str
    title: str
    module: str


STAGES: tuple[BenchStage, ...] = (
    BenchStage("music", "MUSIC frame, two sources", "hil.bench.music"),
    BenchStage("samples", "Samples: conversion, covariance, PSD", "hil.bench.samples"),
    BenchStage("map", "Angle-delay map, 64 antennas x 256 subcarriers", "hil.bench.angle_delay_map"),
    BenchStage("gradient", "Unsupervised gain-phase step", "hil.bench.gradient"),
    BenchStage("simulator", "Simulated array", "hil.bench.simulator"),
    BenchStage("iio", "Capture over IIO", "hil.bench.iio_capture"),
    BenchStage("disk", "Capture to disk, 4 channels x 30.72 MS/s", "hil.bench.disk"),
    BenchStage("live", "Live: window, spectra and learning", "hil.bench.live"),
    BenchStage("learning", "Learning without labels", "hil.bench.learning"),
    BenchStage("long", "Directions over a long recording", "hil.bench.long_recording"),
    BenchStage("scaling", "Time as the work grows", "hil.bench.scaling"),
    BenchStage("start", "Start of the program", "hil.bench.start"),
)


def chosen(names: Sequence[str]) -> tuple[BenchStage, ...]:
    """The stages of these names in the table's order, all for none. Raises ConfigError."""
    known = [s.name for s in STAGES]
    for name in names:
        if name not in known:
            raise ConfigError(f"no stage {name!r}", where="hil bench", hint=f"stages: {', '.join(known)}")
    return tuple(s for s in STAGES if not names or s.name in names)


def run_stage(stage: BenchStage, quick: bool, hours: float | None = None) -> StageReport:
    """Measure one stage; its module is imported now. hours : of the recording of `long`."""
    run: Callable[..., StageReport] = importlib.import_module(stage.module).run
    return run(quick, hours) if stage.name == "long" else run(quick)
