"""A carrier and a linear chirp, cyclic without a seam."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from hil.core.errors import ConfigError
from hil.core.waveform_settings import checked
from hil.core.waveform_types import Waveform, scaled

_SHORTEST = 4096
_LONGEST = 1 << 16


def cw(fs_hz: float, offset_hz: float = 0.0, *, backoff_db: float = 1.0) -> Waveform:
    """A carrier x[n] = exp(+j 2 pi offset n / fs): a whole number of cycles in 4096 to 131072 samples.

    Raises ConfigError for a setting out of range or an offset beyond +-fs/2.
    """
    return make_cw(checked("cw", {"fs_hz": fs_hz, "offset_hz": offset_hz, "backoff_db": backoff_db}))


def make_cw(settings: dict[str, Any]) -> Waveform:
    """The waveform of checked settings; see `cw`."""
    fs_hz, offset_hz = settings["fs_hz"], settings["offset_hz"]
    _within("offset_hz", abs(offset_hz), fs_hz / 2)
    cycles = Fraction(offset_hz / fs_hz).limit_denominator(_LONGEST)
    n = cycles.denominator * -(-_SHORTEST // cycles.denominator)
    turns = (cycles.numerator * (n // cycles.denominator) * np.arange(n)) % n
    samples = scaled(np.exp(2j * np.pi * turns / n), settings["backoff_db"])
    return Waveform("cw", fs_hz, samples, None, settings)


def chirp(fs_hz: float, bandwidth_hz: float, n_samples: int = 4096, *, backoff_db: float = 1.0) -> Waveform:
    """A linear sweep over the band -B/2..B/2: phase(n) = 2 pi (B / fs) (n^2 / (2 N) - n / 2).

    The phase is 0 at n = 0 and at n = N, whatever B and N: the repetition has no jump of phase.

    Raises ConfigError for a setting out of range or a band wider than fs.
    """
    given = {
        "fs_hz": fs_hz, "bandwidth_hz": bandwidth_hz, "n_samples": n_samples, "backoff_db": backoff_db,
    }  # fmt: skip
    return make_chirp(checked("chirp", given))


def make_chirp(settings: dict[str, Any]) -> Waveform:
    """The waveform of checked settings; see `chirp`."""
    _within("bandwidth_hz", abs(settings["bandwidth_hz"]), settings["fs_hz"])
    n = settings["n_samples"]
    at = np.arange(n, dtype=np.float64)
    turns = settings["bandwidth_hz"] / settings["fs_hz"] * (at * (at - n) / (2 * n))
    samples = scaled(np.exp(2j * np.pi * (turns % 1.0)), settings["backoff_db"])
    return Waveform("chirp", settings["fs_hz"], samples, None, settings)


def _within(name: str, value: float, limit: float) -> None:
    if value > limit:
        raise ConfigError(f"{value:g} Hz is more than the rate allows ({limit:g} Hz)", where=name)
