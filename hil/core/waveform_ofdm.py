"""CP-OFDM with known QPSK or 16-QAM symbols."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError
from hil.core.waveform_settings import checked
from hil.core.waveform_types import MAX_SAMPLES, OfdmLayout, Waveform, modulated, scaled


def ofdm(
    n_subcarriers: int = 64,
    spacing_hz: float = 15e3,
    cp_samples: int | None = None,
    *,
    n_fft: int | None = None,
    n_symbols: int = 10,
    modulation: str = "qpsk",
    seed: int = 0,
    pilots: str = "all",
    pilot_spacing: int = 4,
    dc: bool = False,
    backoff_db: float = 1.0,
) -> Waveform:
    """CP-OFDM, all symbols known: x[n] = n_fft^(-1/2) sum_k X[k] exp(+j 2 pi k n / n_fft), prefixed.

    The subcarriers lie around the carrier: -n/2..-1, 1..n/2, or with `dc` -n/2..n/2-1. DC is not sent by
    default, because a receiver's own offset falls there. Symbols are drawn from raw PCG64 words, whose stream is
    the same with every version of numpy: their top bits, mapped as in 3GPP TS 38.211, 5.1.

    Parameters
    ----------
    n_subcarriers : sent. spacing_hz : between them.
    cp_samples : cyclic prefix, at most n_fft; None: n_fft / 8, which bounds the delays that can be seen.
    n_fft : samples of a symbol, so that fs_hz = n_fft * spacing_hz: any number that holds the subcarriers; None:
        the least power of two, 16 or more, that leaves a fifth of the band free.
    n_symbols : in a period. modulation : "qpsk" or "16qam". seed : draws the symbols.
    pilots : "all": every subcarrier is known to the receiver; "comb": only every `pilot_spacing`-th, which
        carries QPSK in any case; the others carry data from the seed and are not in the layout.
    dc : send the subcarrier at the carrier. backoff_db : of the greatest |I| or |Q| under full scale.

    Returns
    -------
    Waveform : of kind "ofdm".

    Raises
    ------
    ConfigError : a setting out of range, or subcarriers that do not fit n_fft.
    """
    given = {
        "n_subcarriers": n_subcarriers, "spacing_hz": spacing_hz, "cp_samples": cp_samples, "n_fft": n_fft,
        "n_symbols": n_symbols, "modulation": modulation, "seed": seed, "pilots": pilots,
        "pilot_spacing": pilot_spacing, "dc": dc, "backoff_db": backoff_db,
    }  # fmt: skip
    return make_ofdm(checked("ofdm", given))


def make_ofdm(settings: dict[str, Any]) -> Waveform:
    """The waveform of checked settings; see `ofdm`."""
    bins = _bins(settings["n_subcarriers"], settings["dc"])
    n_fft, cp = numerology(settings, bins, 8)
    grid = constellation(settings["modulation"], settings["seed"], (settings["n_symbols"], len(bins)))
    known = np.ones(len(bins), np.bool_)
    if settings["pilots"] == "comb":
        step = settings["pilot_spacing"]
        known = bins % step == step // 2  # never DC: the comb stays uniform
        if not np.any(known):
            raise ConfigError(
                f"none of {len(bins)} subcarriers is a pilot", where="pilot_spacing", hint="make it smaller"
            )
        grid[:, known] = constellation("qpsk", settings["seed"] ^ 1, (len(grid), int(np.sum(known))))
    layout = OfdmLayout(n_fft, settings["spacing_hz"], cp, bins[known], grid[:, known])
    samples = scaled(modulated(bins, grid, n_fft, cp), settings["backoff_db"])
    return Waveform("ofdm", n_fft * settings["spacing_hz"], samples, layout, settings)


def numerology(settings: dict[str, Any], bins: NDArray[np.int64], cp_part: int) -> tuple[int, int]:
    """(n_fft, cp_samples) with the defaults worked out. Raises ConfigError if the bins do not fit."""
    span = 2 * int(np.max(np.abs(bins))) + 1
    n_fft = settings["n_fft"]
    if n_fft is None:
        n_fft = max(16, 1 << int(np.ceil(np.log2(1.25 * span))))
    width = int(bins[-1] - bins[0]) + 1
    if width > n_fft or n_fft > 65536:
        raise ConfigError(
            f"subcarriers {bins[0]}..{bins[-1]} do not fit the {n_fft} bins of the rate",
            where="n_fft",
            hint="use fewer subcarriers or a higher rate; sending the carrier (dc) saves one bin",
        )
    cp = settings["cp_samples"]
    cp = n_fft // cp_part if cp is None else cp
    if cp > n_fft:
        raise ConfigError(
            f"a prefix of {cp} samples is longer than the symbol of {n_fft}",
            where="cp_samples",
            hint=f"at most {n_fft}; or more samples a symbol: a higher rate or a smaller spacing",
        )
    if settings["n_symbols"] * (n_fft + cp) > MAX_SAMPLES:
        raise ConfigError(
            f"a period of {settings['n_symbols'] * (n_fft + cp)} samples; at most {MAX_SAMPLES}",
            where="n_symbols",
            hint="send fewer symbols",
        )
    return n_fft, cp


def constellation(modulation: str, seed: int, shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Symbols (n_symbols, S) complex128 of mean power 1 over the alphabet, as in 3GPP TS 38.211, 5.1.3 and 5.1.4.

    One raw 64-bit word of PCG64(seed) a symbol, row by row; the top bits are b0, b1 (b2, b3).
    """
    raw = np.random.PCG64(seed).random_raw(shape[0] * shape[1])
    signs = [1.0 - 2.0 * ((raw >> np.uint64(63 - i)) & np.uint64(1)).astype(np.float64) for i in range(4)]
    if modulation == "qpsk":
        out = (signs[0] + 1j * signs[1]) / np.sqrt(2.0)
    else:
        out = (signs[0] * (2 - signs[2]) + 1j * signs[1] * (2 - signs[3])) / np.sqrt(10.0)
    return out.reshape(shape)


def _bins(n: int, dc: bool) -> NDArray[np.int64]:
    low = -(n // 2)
    if dc:
        return np.arange(low, low + n, dtype=np.int64)
    return np.concatenate((np.arange(low, 0), np.arange(1, low + n + 1))).astype(np.int64)
