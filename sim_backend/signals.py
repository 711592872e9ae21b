"""Spectra of the emitters' envelopes over one period of a cyclic table.

Tables are made in the frequency domain, so that any delay, also a fraction of a sample, is exact. The
periods of random signals are longer than 2^20 samples, no power of two, and differ between emitters; "ofdm" and "srs"
repeat a waveform of hil.core.waveform, so that a receiver can know it.
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.core.errors import ConfigError, SceneError
from hil.core.waveform import Waveform, make
from sim_backend.scene import Emitter, OfdmSpec, Scene

#: Symbol rate where an emitter names none.
SYMBOL_RATE_HZ = 5.0e5
_ROLL_OFF = 0.35
_SHORTEST = (1 << 20) + 1
#: OFDM symbols of an emitter's period, and the shortest table of whole periods.
_SYMBOLS = (24, 25, 27, 28, 30, 32, 35, 36)
_SHORTEST_PERIOD = 1 << 14
_LONGEST_FILE = 1 << 22
_SIGMF_TYPES = {"cf32": "f4", "cf64": "f8", "ci16": "i2", "ci8": "i1", "ci32": "i4", "cu8": "u1"}


def _smooth_lengths() -> list[int]:
    """Lengths with factors 2, 3, 5, 7 in the range of table periods: FFTs of these are fast."""
    out, top = [], int(1.5 * _SHORTEST)
    for a in range(21):
        for b in range(14):
            for c in range(10):
                rest = 2**a * 3**b * 5**c
                if rest > top:
                    break
                for d in range(8):
                    n = rest * 7**d
                    if _SHORTEST <= n <= top:
                        out.append(n)
    return sorted(set(out))


_LENGTHS = _smooth_lengths()


def table_lengths(emitters: tuple[Emitter, ...], fs_hz: float) -> list[int]:
    """A period in samples for every emitter's table: all different; a whole number of symbols and of
    offset cycles where possible (else the symbol rate is off by at most fs / (2 period), about 1 Hz)."""
    used: set[int] = set()
    out: list[int] = []
    for emitter in emitters:
        symbol_rate_hz = emitter.symbol_rate_hz or SYMBOL_RATE_HZ

        def misfit(n: int, rate_hz: float = symbol_rate_hz, offset_hz: float = emitter.offset_hz):
            return (round(_fraction(n * rate_hz / fs_hz), 6), round(_fraction(n * offset_hz / fs_hz), 6), n)

        best = min((n for n in _LENGTHS if n not in used), key=misfit)
        used.add(best)
        out.append(best)
    return out


def _fraction(x: float) -> float:
    return abs(x - round(x))


def spectrum(
    emitter: Emitter, scene: Scene, fs_hz: float, length: int, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """DFT (L,) complex64 of one period of the emitter's envelope, mean power 1.

    `length` is L for "qpsk" and "noise"; OFDM, SRS and files have a length of their own near it.

    Raises
    ------
    SceneError : a recording that cannot be read.
    """
    if emitter.waveform == "qpsk":
        out = _qpsk(length, min(emitter.symbol_rate_hz or SYMBOL_RATE_HZ, fs_hz), fs_hz, rng)
    elif emitter.waveform == "noise":
        out = _noise(length, _noise_width_hz(emitter, fs_hz), fs_hz, rng)
    elif emitter.waveform in ("ofdm", "srs"):
        offset_hz = 0.0 if emitter.rf_hz is not None else emitter.offset_hz
        out = _ofdm(scene.ofdm, fs_hz, offset_hz, rng, emitter.waveform)
    elif emitter.waveform == "file":
        out = _recording(emitter.file, scene.folder, fs_hz)
    else:
        raise SceneError(f"waveform {emitter.waveform!r} has no table")
    # Parseval: mean power over the period is sum |S|^2 / L^2
    rms = float(np.sqrt(np.sum(np.abs(out) ** 2, dtype=np.float64))) / len(out)
    if rms <= 0:
        raise SceneError(
            f"waveform {emitter.waveform!r}: nothing of it lies within the band of {fs_hz:g} S/s"
        )
    return (out / np.float32(rms)).astype(np.complex64)


def half_width_hz(emitter: Emitter, fs_hz: float) -> float:
    """No part of the envelope lies further than this from its carrier."""
    if emitter.waveform == "qpsk":
        return (1 + _ROLL_OFF) / 2 * min(emitter.symbol_rate_hz or SYMBOL_RATE_HZ, fs_hz)
    return _noise_width_hz(emitter, fs_hz) / 2 if emitter.waveform == "noise" else fs_hz / 2


def _noise_width_hz(emitter: Emitter, fs_hz: float) -> float:
    """Two-sided width: the symbol rate if given, else what fits the band at this offset."""
    if emitter.symbol_rate_hz is not None:
        return min(emitter.symbol_rate_hz, fs_hz)
    room_hz = 0.8 * fs_hz if emitter.rf_hz is not None else 0.9 * fs_hz - 2 * abs(emitter.offset_hz)
    return max(room_hz, 0.1 * fs_hz)


def _qpsk(length: int, rate_hz: float, fs_hz: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Root-raised-cosine QPSK: bin k of the symbol train is bin k mod n_symbols of the symbols' DFT."""
    n_symbols = max(1, round(length * rate_hz / fs_hz))
    symbols = np.exp(0.5j * np.pi * (rng.integers(4, size=n_symbols) + 0.5))
    train = np.fft.fft(symbols.astype(np.complex64))
    k = np.fft.fftfreq(length, 1 / length).astype(np.int64)
    x = np.abs(k) / n_symbols  # |f| T
    cosine = 0.5 * (1 + np.cos(np.pi / _ROLL_OFF * (x - (1 - _ROLL_OFF) / 2)))
    shape = np.where(x <= (1 - _ROLL_OFF) / 2, 1.0, np.where(x <= (1 + _ROLL_OFF) / 2, cosine, 0.0))
    return (train[k % n_symbols] * np.sqrt(shape)).astype(np.complex64)


def _noise(length: int, width_hz: float, fs_hz: float, rng: np.random.Generator) -> NDArray[np.complex64]:
    f_hz = np.fft.fftfreq(length, 1 / fs_hz)
    out = rng.standard_normal(length, np.float32) + 1j * rng.standard_normal(length, np.float32)
    out[np.abs(f_hz) > width_hz / 2] = 0
    return out.astype(np.complex64)


def emitter_waveform(spec: OfdmSpec, kind: str, fs_hz: float, rng: np.random.Generator) -> Waveform:
    """What an "ofdm" or "srs" emitter sends: one period at the rate n_fft * spacing of its own.

    That rate is fs_hz if fs_hz is a multiple of the spacing; else the emitter's samples are resampled to fs_hz. `rng` is
    the emitter's own stream ("waveform", index); the seed is its first raw word.

    Raises
    ------
    SceneError : an [ofdm] table that no waveform has.
    """
    ratio = fs_hz / spec.spacing_hz
    whole = abs(ratio - round(ratio)) < 1e-9 * ratio and spec.n_subcarriers <= ratio <= 16384
    n_fft = round(ratio) if whole else max(64, 1 << int(np.ceil(np.log2(1.25 * spec.n_subcarriers))))
    seed = int(rng.bit_generator.random_raw()) >> 1
    settings: dict[str, Any] = {
        "n_subcarriers": spec.n_subcarriers, "spacing_hz": fs_hz / n_fft if whole else spec.spacing_hz,
        "cp_samples": spec.cp_samples, "n_fft": n_fft,
    }  # fmt: skip
    if kind == "srs":
        n = 2 * max(1, spec.n_subcarriers // 2)  # of comb 2
        standard = n >= 60 and n % 12 == 0
        settings |= {"n_subcarriers": n, "n_id": seed % 1008}
        settings |= {"sequence": "38.211" if standard else "zadoff-chu"}
    else:
        # different periods: what emitters have in common averages out
        settings |= {"seed": seed, "n_symbols": _SYMBOLS[seed % len(_SYMBOLS)]}
        settings |= {"dc": spec.n_subcarriers >= n_fft}
    try:
        return make(kind, settings)
    except ConfigError as err:
        raise SceneError(f"[ofdm]: {err}", hint=err.hint) from err


def _ofdm(
    spec: OfdmSpec, fs_hz: float, offset_hz: float, rng: np.random.Generator, kind: str
) -> NDArray[np.complex64]:
    """Spectrum of the emitter's periods: so many that the table holds whole cycles of the offset, if few do."""
    waveform = emitter_waveform(spec, kind, fs_hz, rng)
    ratio = fs_hz / waveform.fs_hz
    exact = abs(ratio - 1) < 1e-9
    n = len(waveform.samples)
    whole = 1 if exact else Fraction(ratio * n).limit_denominator(4096).denominator
    cycles = Fraction(offset_hz / fs_hz * n * ratio).limit_denominator(4096)
    repeats = math.lcm(whole, cycles.denominator)
    longest = int(1.5 * _SHORTEST / max(ratio, 1.0))
    if repeats * n > longest:  # the mixer then turns the offset itself
        repeats = whole if whole * n <= longest else max(1, longest // n)
    repeats *= max(1, _SHORTEST_PERIOD // (n * repeats))
    return _resampled(np.tile(waveform.samples, repeats), 1.0 if exact else ratio)


def _resampled(samples: NDArray[np.complex64], ratio: float) -> NDArray[np.complex64]:
    """Spectrum of one cyclic period at `ratio` times the rate (length rounded to a whole sample)."""
    n = len(samples)
    length = n if ratio == 1.0 else max(1, round(n * ratio))
    full = np.fft.fft(samples.astype(np.complex64)).astype(np.complex64)
    if length == n:
        return full
    out = np.zeros(length, np.complex64)
    keep = min(n, length)
    high = (keep + 1) // 2
    out[:high] = full[:high]
    if keep > high:
        out[high - keep :] = full[high - keep :]
    return out


def _recording(name: str, folder: str, fs_hz: float) -> NDArray[np.complex64]:
    """First channel of an interleaved SigMF recording, resampled to fs_hz and repeated."""
    meta_path = Path(folder, name)
    try:
        if meta_path.stat().st_size > 16_000_000:
            raise SceneError(f"{meta_path}: over 16 MB of metadata")
        meta = json.loads(meta_path.read_text(encoding="utf-8"))
        fixed = meta["global"]
        kind = str(fixed["core:datatype"])
        n_channels = int(fixed.get("core:num_channels", 1))
        rate_hz = float(fixed["core:sample_rate"])
        base, _, order = kind.partition("_")
        dtype = np.dtype((">" if order == "be" else "<") + _SIGMF_TYPES[base])
        if not (1 <= n_channels <= 1024 and np.isfinite(rate_hz) and rate_hz > 0):
            raise SceneError(f"{meta_path}: core:num_channels or core:sample_rate is not usable")
        data = np.fromfile(meta_path.with_suffix(".sigmf-data"), dtype, _LONGEST_FILE * 2 * n_channels)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as err:
        what = f"{type(err).__name__}: {err}"
        raise SceneError(
            f"{meta_path}: cannot read recording: {what}", hint="name a complex SigMF recording"
        ) from err
    n = len(data) // (2 * n_channels)
    if n < 16:
        raise SceneError(f"{meta_path}: {n} samples are too few for an emitter")
    pairs = data[: n * 2 * n_channels].reshape(n, n_channels, 2)[:, 0].astype(np.float32)
    if base == "cu8":
        pairs -= 127.5
    samples = pairs[:, 0] + 1j * pairs[:, 1]
    if not np.all(np.isfinite(samples)):
        raise SceneError(f"{meta_path}: contains values that are not finite")
    ratio = fs_hz / rate_hz
    if not 16 <= n * ratio <= 2 * _LONGEST_FILE:
        raise SceneError(f"{meta_path}: {n} samples at {rate_hz:g} S/s cannot be resampled to {fs_hz:g} S/s")
    return _resampled(samples.astype(np.complex64), ratio)
