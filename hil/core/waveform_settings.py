"""Settings of every kind of waveform: names, types, ranges, defaults. Used by Python calls and by files."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hil.core.errors import ConfigError

SCHEMA = 1
_REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: `kind` "int", "float", "bool" or "choice"; low..high; `help` is one line for people."""

    kind: str
    default: Any
    low: float = 0
    high: float = 0
    choices: tuple[Any, ...] = ()
    help: str = ""


def _int(default: Any, low: int, high: int, text: str) -> Setting:
    return Setting("int", default, low, high, help=text)


def _float(default: Any, low: float, high: float, text: str) -> Setting:
    return Setting("float", default, low, high, help=text)


_BACKOFF = _float(1.0, 0.0, 80.0, "dB of the greatest |I| or |Q| under full scale")
_N_FFT = _int(
    None, 1, 65536,
    "samples of a symbol, any number; fs = n_fft * spacing; default: a power of two with a fifth of the band free",
)  # fmt: skip
_SPACING = _float(15e3, 1.0, 1e8, "Hz between subcarriers")
_ANY_WHOLE = 2**63  # the range depends on other settings, which say it better

#: kind -> key -> what it may be.
SETTINGS: dict[str, dict[str, Setting]] = {
    "ofdm": {
        "n_subcarriers": _int(64, 1, 65536, "subcarriers that are sent"),
        "spacing_hz": _SPACING,
        "cp_samples": _int(None, 0, 65536, "samples of the cyclic prefix, at most n_fft; default: n_fft / 8"),
        "n_fft": _N_FFT,
        "n_symbols": _int(10, 1, 4096, "OFDM symbols of a period"),
        "modulation": Setting("choice", "qpsk", choices=("qpsk", "16qam"), help="of the subcarriers"),
        "seed": _int(0, 0, 2**63 - 1, "draws the symbols"),
        "pilots": Setting("choice", "all", choices=("all", "comb"), help="subcarriers the receiver reads"),
        "pilot_spacing": _int(4, 2, 256, "subcarriers between comb pilots"),
        "dc": Setting("bool", False, help="send the subcarrier at the carrier, too"),
        "backoff_db": _BACKOFF,
    },
    "srs": {
        "n_subcarriers": _int(96, 2, 65536, "width of the sounding band in subcarriers"),
        "comb": Setting("choice", 2, choices=(2, 4, 8), help="every comb-th subcarrier is sent (K_TC)"),
        "comb_offset": _int(1, -_ANY_WHOLE, _ANY_WHOLE, "first of them (k_TC): 0 to comb - 1"),
        "cyclic_shift": _int(
            0, -_ANY_WHOLE, _ANY_WHOLE, "n_SRS^cs: 0..7 for comb 2, 0..11 for comb 4, 0..5 for comb 8"
        ),
        "n_ports": Setting("choice", 1, choices=(1, 2, 4), help="antenna ports (N_ap)"),
        "port": _int(0, -_ANY_WHOLE, _ANY_WHOLE, "antenna port of this waveform, counted from 0"),
        "n_id": _int(0, 0, 1023, "n_ID^SRS: group u = n_id mod 30, no hopping"),
        "v": _int(0, 0, 1, "base sequence of the group; 1 only for lengths of 72 and more"),
        "sequence": Setting(
            "choice", "38.211", choices=("38.211", "zadoff-chu"), help="zadoff-chu: any length, not standard"
        ),
        "spacing_hz": _SPACING,
        "cp_samples": _int(
            None, 0, 65536, "samples of the cyclic prefix, at most n_fft; default: n_fft * 9/128"
        ),
        "n_fft": _N_FFT,
        "n_symbols": Setting("choice", 1, choices=(1, 2, 4, 8, 12), help="equal symbols of a period"),
        "backoff_db": _BACKOFF,
    },
    "cw": {
        "fs_hz": _float(_REQUIRED, 1.0, 1e12, "sample rate"),
        "offset_hz": _float(0.0, -1e12, 1e12, "from the carrier; met within 1e-9 of the rate"),
        "backoff_db": _BACKOFF,
    },
    "chirp": {
        "fs_hz": _float(_REQUIRED, 1.0, 1e12, "sample rate"),
        "bandwidth_hz": _float(_REQUIRED, -1e12, 1e12, "swept around the carrier; negative: downwards"),
        "n_samples": _int(4096, 16, 1 << 22, "samples of a sweep"),
        "backoff_db": _BACKOFF,
    },
}


def checked(kind: str, given: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Complete settings of a kind: types and ranges checked, defaults filled in.

    Raises
    ------
    ConfigError : an unknown kind or key, a wrong type, a value out of range, or a key that is missing.
    """
    prefix = f"{where}: " if where else ""
    if kind not in SETTINGS:
        raise ConfigError(
            f"{_shown(kind)} is not one of {', '.join(SETTINGS)}", where=f"{prefix}kind", hint='kind = "ofdm"'
        )
    keys = SETTINGS[kind]
    for name in given:
        if name not in keys:
            near = difflib.get_close_matches(str(name), keys, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(keys)}"
            raise ConfigError(f"unknown key of {kind}", where=f"{prefix}{str(name)[:60]}", hint=hint)
    out: dict[str, Any] = {}
    for name, setting in keys.items():
        value = given.get(name)
        if value is None:
            if setting.default is _REQUIRED:
                raise ConfigError(f"{kind} needs it", where=f"{prefix}{name}", hint=setting.help)
            value = setting.default
        out[name] = None if value is None else _value(setting, value, f"{prefix}{name}")
    return out


def _value(setting: Setting, value: Any, where: str) -> Any:
    """The value in its own type, or ConfigError."""
    if setting.kind == "bool":
        if not isinstance(value, bool):
            raise ConfigError(f"{_shown(value)} is not true or false", where=where)
        return value
    if setting.kind == "choice":
        if isinstance(value, bool) or value not in setting.choices:
            allowed = ", ".join(str(c) for c in setting.choices)
            raise ConfigError(f"{_shown(value)} is not one of {allowed}", where=where)
        return setting.choices[setting.choices.index(value)]
    wanted = int if setting.kind == "int" else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise ConfigError(
            f"{_shown(value)} is not {'an integer' if setting.kind == 'int' else 'a number'}", where=where
        )
    try:
        number = value if setting.kind == "int" else float(value)
    except OverflowError:
        number = math.inf
    if not setting.low <= number <= setting.high:
        raise ConfigError(
            f"{_shown(value)} must be between {_limit(setting.low)} and {_limit(setting.high)}",
            where=where,
            hint=setting.help,
        )
    return number


def _limit(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a very long number"
    return text if len(text) <= 60 else text[:57] + "..."
