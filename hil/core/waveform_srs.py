"""Sounding reference signals of 5G (3GPP TS 38.211, 6.4.1.4 and 5.2.2), without hopping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.waveform_ofdm import numerology
from hil.core.waveform_settings import checked
from hil.core.waveform_types import OfdmLayout, Waveform, modulated, scaled

#: Cyclic shifts of each comb (table 6.4.1.4.2-1).
MAX_CYCLIC_SHIFTS = {2: 8, 4: 12, 8: 6}
_GROUPS = 30


def srs(
    n_subcarriers: int = 96,
    spacing_hz: float = 15e3,
    cp_samples: int | None = None,
    *,
    comb: int = 2,
    comb_offset: int = 1,
    cyclic_shift: int = 0,
    n_ports: int = 1,
    port: int = 0,
    n_id: int = 0,
    v: int = 0,
    sequence: str = "38.211",
    n_fft: int | None = None,
    n_symbols: int = 1,
    backoff_db: float = 1.0,
) -> Waveform:
    """Sounding reference signal on every comb-th subcarrier: r(n) = exp(j alpha n) r_uv(n).

    u = n_id mod 30 (no hopping); alpha = 2 pi n_cs / n_cs_max, where ports share the shifts as in 38.211, 6.4.1.4.2.
    Subcarrier n is bin -n_subcarriers/2 + k_TC + comb n. The default `comb_offset` of 1 leaves out the carrier.

    Parameters
    ----------
    n_subcarriers : width of the band, a multiple of the comb: 12 for each resource block.
    cp_samples : cyclic prefix; at most n_fft; None: n_fft * 9/128, the normal prefix.
    comb, comb_offset : K_TC and its offset. cyclic_shift : n_SRS^cs. n_ports, port : antenna ports, from 0.
    n_id, v : choose the base sequence.
    sequence : "38.211"; or "zadoff-chu", the same construction for lengths that the standard does not have.
    n_fft, n_symbols, backoff_db : as of `ofdm`; all symbols are equal.

    Returns
    -------
    Waveform : of kind "srs".

    Raises
    ------
    ConfigError : a setting out of range, or a length without a base sequence.
    """
    given = {
        "n_subcarriers": n_subcarriers, "spacing_hz": spacing_hz, "cp_samples": cp_samples, "comb": comb,
        "comb_offset": comb_offset, "cyclic_shift": cyclic_shift, "n_ports": n_ports, "port": port,
        "n_id": n_id, "v": v, "sequence": sequence, "n_fft": n_fft, "n_symbols": n_symbols,
        "backoff_db": backoff_db,
    }  # fmt: skip
    return make_srs(checked("srs", given))


def make_srs(settings: dict[str, Any]) -> Waveform:
    """The waveform of checked settings; see `srs`."""
    n, comb = settings["n_subcarriers"], settings["comb"]
    if n % comb:
        raise ConfigError(f"{n} is not a multiple of the comb {comb}", where="n_subcarriers")
    if not 0 <= settings["comb_offset"] < comb:
        raise ConfigError(
            f"{settings['comb_offset']}: comb {comb} has the offsets 0..{comb - 1}", where="comb_offset"
        )
    shift, offset = port_shift(settings)
    base = base_sequence(n // comb, settings["n_id"] % _GROUPS, settings["v"], settings["sequence"])
    turns = shift * np.arange(len(base)) % MAX_CYCLIC_SHIFTS[comb]
    r = base * np.exp(2j * np.pi * turns / MAX_CYCLIC_SHIFTS[comb])
    bins = -(n // 2) + offset + comb * np.arange(len(base), dtype=np.int64)
    n_fft, cp = numerology(settings, bins, 1)
    if settings["cp_samples"] is None:
        cp = n_fft * 9 // 128
    grid = np.tile(r, (settings["n_symbols"], 1))
    layout = OfdmLayout(n_fft, settings["spacing_hz"], cp, bins, grid)
    samples = scaled(modulated(bins, grid, n_fft, cp), settings["backoff_db"])
    return Waveform("srs", n_fft * settings["spacing_hz"], samples, layout, settings)


def port_shift(settings: dict[str, Any]) -> tuple[int, int]:
    """(cyclic shift n_cs,i, comb offset) of an antenna port (38.211, 6.4.1.4.2 and 6.4.1.4.3).

    Raises ConfigError for a port or shift that does not exist.
    """
    comb, ports, port = settings["comb"], settings["n_ports"], settings["port"]
    most, shift = MAX_CYCLIC_SHIFTS[comb], settings["cyclic_shift"]
    if not 0 <= shift < most:
        raise ConfigError(f"{shift}: comb {comb} has the shifts 0..{most - 1}", where="cyclic_shift")
    if not 0 <= port < ports:
        numbered = "one port is number 0" if ports == 1 else f"{ports} ports are numbered 0..{ports - 1}"
        raise ConfigError(f"{port}: {numbered}", where="port")
    offset = settings["comb_offset"]
    other_comb = ports == 4 and port in (1, 3) and (most == 6 or shift >= most // 2)
    if other_comb:
        offset = (offset + comb // 2) % comb
    if ports == 4 and most == 6:
        return (shift + most * (port // 2) // 2) % most, offset
    return (shift + most * port // ports) % most, offset


def base_sequence(length: int, u: int, v: int = 0, sequence: str = "38.211") -> NDArray[np.complex128]:
    """Low-PAPR base sequence r_uv (length,) complex128 of type 1 (3GPP TS 38.211, 5.2.2).

    x_q(m) = exp(-j pi q m (m + 1) / N_ZC), N_ZC the greatest prime under the length, for 36 and more;
    exp(-j pi (u + 1)(n + 1)(n + 2) / 31) for 30. Lengths 6, 12, 18 and 24 are tables of the standard
    that are not built in.

    Raises
    ------
    ConfigError : a length or group without a sequence.
    """
    if not (0 <= u < _GROUPS and v in (0, 1)):
        raise ConfigError("u must be 0..29 and v 0 or 1", where="srs")
    if sequence == "38.211":
        if length < 30 or length % 6:
            raise ConfigError(
                f"no base sequence of length {length} = n_subcarriers / comb is built in",
                where="n_subcarriers",
                hint='make the length 30 or more and a multiple of 6, or choose the sequence "zadoff-chu"',
            )
        if v == 1 and length < 72:
            raise ConfigError(f"length {length} has one base sequence a group", where="v", hint="v = 0")
        if length == 30:
            n = np.arange(30)
            return np.exp(-1j * np.pi * ((u + 1) * (n + 1) * (n + 2) % 62) / 31)
    prime = next((p for p in range(length - 1, 1, -1) if _is_prime(p)), 0)
    if prime == 0:
        return np.ones(length, np.complex128)
    # q of 5.2.2.1 in whole numbers: 31 q_bar = N (u + 1), so that floor(q_bar + 1/2) is exact
    scaled_q = prime * (u + 1)
    q = (2 * scaled_q + 31) // 62 + v * (-1) ** (2 * scaled_q // 31)
    m = np.arange(length, dtype=np.int64) % prime
    return np.exp(-1j * np.pi * (q * m * (m + 1) % (2 * prime)) / prime)


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))
