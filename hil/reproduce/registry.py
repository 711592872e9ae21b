"""The published experiments: name -> module with an `EXPERIMENT`."""

from __future__ import annotations

import importlib

from hil.core.errors import ConfigError
from hil.reproduce.experiment import Experiment

EXPERIMENTS: dict[str, str] = {
    "cold-start": "hil.reproduce.cold_start",
    "diffmusic": "hil.reproduce.diffmusic",
    "dual-path-vae": "hil.reproduce.dual_path_vae",
    "e2e-isac": "hil.reproduce.e2e_isac",
    "gain-phase-isac": "hil.reproduce.gain_phase_isac",
    "mod-dnn": "hil.reproduce.mod_dnn",
}


def get_experiment(name: str) -> Experiment:
    """The experiment of a name. Raises ConfigError for an unknown one."""
    if name not in EXPERIMENTS:
        raise ConfigError(
            f"unknown experiment {name!r}", where="NAME", hint=f"one of {', '.join(EXPERIMENTS)}"
        )
    return importlib.import_module(EXPERIMENTS[name]).EXPERIMENT
