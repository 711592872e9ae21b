"""What the MoD-DNN experiment is held to, and what the paper claims besides."""

from __future__ import annotations

from typing import Any

from hil.reproduce.experiment import Check
from hil.reproduce.mod_dnn_channels import CHANNELS
from hil.reproduce.mod_dnn_data import STATED_BOUND_DEG, bound_over_field_deg
from hil.reproduce.mod_dnn_rows import (
    MATCH,
    MIN_SEEDS,
    OURS,
    RESPONSE_TABLES,
    SNRS,
    WORDS,
    Found,
    Key,
    iqrs,
    matching,
    mean,
    mean_of,
    spread,
    values,
)

RATIO_BARS = {"10": 1.1, "15": 1.1, "20": 1.1, "25": 1.15, "30": 1.35}
HELD_OUT_BARS = {"10": 1.25, "15": 1.25, "20": 1.25, "25": 1.25, "30": 1.5}
_P80_DEG, _P80_HELD_OUT_DEG, _LESS = 0.15, 0.17, 0.95
_IQR_DEG = 0.2
_WIDTH_DEG = 0.9
_TRAIN_S, _SINGLE_MS, _BATCH_MS = 300.0, 3.0, 0.5
_BOUND_TOLERANCE = 0.01
_MUSIC_P80_DEG = (2.8, 3.6)
_PLACES = {"simulated": "snr", "chamber": "chamber", "held-out": "held_out", "parking": "parking"}


def checks(found: Found, results: dict[str, dict[str, Any]]) -> tuple[Check, ...]:
    """All lines that these results can say something about."""
    if not results:
        return ()
    out = [
        _generator(),
        *_ratios(found),
        *_percentiles(found),
        *_sectors(found),
        *_beside(found),
        *_times(found),
    ]
    return (*out, *_width(results), *_claims(found))


def _generator() -> Check:
    ours = {snr: bound_over_field_deg(snr) for snr in STATED_BOUND_DEG}
    met = all(abs(ours[snr] / stated - 1) <= _BOUND_TOLERANCE for snr, stated in STATED_BOUND_DEG.items())
    stated = "/".join(f"{v:g}" for v in STATED_BOUND_DEG.values())
    return Check(
        "simulated array: bound at 10/15/20/25/30 dB", "-", "/".join(f"{v:.3f}" for v in ours.values()) + " deg",
        f"{stated} deg within 1 % (the other pairing of signs gives .53/.30/.17/.10/.05)", met,
    )  # fmt: skip


def _ratios(found: Found) -> list[Check]:
    out = []
    for protocol, part, bars, words in (
        ("simulated", "snr", RATIO_BARS, "random angles"),
        ("held-out", "held_out", HELD_OUT_BARS, "angles never recorded"),
    ):
        key = Key(protocol, OURS)
        for snr in SNRS:
            ratio = values(found, key, part, snr, "ratio")
            if ratio:
                rmse = mean_of(found, key, part, snr, "rmse")
                out.append(
                    Check(f"MoD-DNN, {words}, {snr} dB: RMSE over the bound", "0.1 to 1 degree, SNR by curve",
                          f"{spread(ratio)}, RMSE {rmse:.3f} deg", f"<= {bars[snr]:g}, mean of 3 seeds",
                          _judged(ratio, mean(ratio) <= bars[snr]))  # type: ignore[operator]
                )  # fmt: skip
    return out


def _judged(seeds: list[float], met: bool) -> bool | None:
    return met if len(seeds) >= MIN_SEEDS else None


def _percentiles(found: Found) -> list[Check]:
    out = []
    for protocol, part, bar, words in (
        ("chamber", "chamber", _P80_DEG, "chamber-like data, 25 dB"),
        ("held-out", "held_out_distribution", _P80_HELD_OUT_DEG, "angles never recorded, 25 dB"),
    ):
        ours = values(found, Key(protocol, OURS), part, "p80")
        music = mean_of(found, Key(protocol, "music"), part, "p80")
        if not ours:
            continue
        out.append(
            Check(f"80th percentile of |error|, {words}", "0.15 deg", f"{spread(ours, 4)} deg", f"<= {bar:g} deg",
                  _judged(ours, sum(ours) / len(ours) <= bar))
        )  # fmt: skip
        if music:
            less = [1 - p80 / music for p80 in ours]
            shown = f"{100 * sum(less) / len(less):.1f} % (MUSIC {music:.2f} deg)"
            out.append(
                Check(f"the same, less than MUSIC, {words}", "> 95 %", shown, f">= {100 * _LESS:.0f} %",
                      _judged(ours, sum(less) / len(less) >= _LESS))
            )  # fmt: skip
    music = mean_of(found, Key("chamber", "music"), "chamber", "p80")
    if music is not None:
        low, high = _MUSIC_P80_DEG
        out.append(
            Check("MUSIC without calibration, 80th percentile", "about 3 deg", f"{music:.2f} deg",
                  f"{low:g} to {high:g} deg: the array is as bad as the paper's", low <= music <= high)
        )  # fmt: skip
    return out


def _sectors(found: Found) -> list[Check]:
    ours = iqrs(found, Key("chamber", OURS), "chamber")
    if not ours:
        return []
    cnn = iqrs(found, Key("chamber", "cnn"), "chamber")
    words = f"{spread(ours)} deg" + (f", plain CNN {spread(cnn)}" if cnn else "")
    return [
        Check("largest IQR over sectors, 25 dB", "0.2 deg, CNN 1.42", words, f"<= {_IQR_DEG:g} deg",
              _judged(ours, sum(ours) / len(ours) <= _IQR_DEG))
    ]  # fmt: skip


def _beside(found: Found) -> list[Check]:
    shown = [p for p in _PLACES if Key(p, OURS) in found]
    if not shown:
        return []
    both = all(Key(p, table) in found for p in shown for table in RESPONSE_TABLES)
    words = "; ".join(match_words(found, "simulated", table, "snr") for table in RESPONSE_TABLES)
    return [
        Check("response tables beside the network", "not considered", words,
              "in every figure; where they match the network, it is said", both)
    ]  # fmt: skip


def match_words(found: Found, protocol: str, table: str, part: str) -> str:
    """At which SNRs a response table is as good as the network."""
    at = matching(found, protocol, table, part)
    if not at:
        return f"{WORDS[table]}: behind the network everywhere"
    where = "at every SNR" if at == list(SNRS) else f"at {', '.join(at)} dB"
    return f"{WORDS[table]}: as good as the network or better {where}"


def _times(found: Found) -> list[Check]:
    key = Key("simulated", OURS)
    out = []
    for what, path, published, bar, unit in (
        ("MoD-DNN: seconds of training", ("seconds",), "15.6 h", _TRAIN_S, "s"),
        ("MoD-DNN: test time, one block", ("timing", "single_ms"), "14.9 ms", _SINGLE_MS, "ms"),
        ("MoD-DNN: test time, in a batch", ("timing", "batch_ms"), "-", _BATCH_MS, "ms"),
    ):
        numbers = values(found, key, *path)
        if numbers:
            judged = _judged(numbers, max(numbers) < bar) if unit == "s" else max(numbers) < bar
            words = f"{max(numbers):.2f} {unit}" if unit == "ms" else f"{max(numbers):.0f} {unit}"
            out.append(Check(f"{what}, largest of the seeds", published, words, f"< {bar:g} {unit}", judged))
    return out


def _width(results: dict[str, dict[str, Any]]) -> list[Check]:
    out = []
    for case in results.values():
        widths = case.get("spectra", {}).get("widths")
        if widths:
            ideal, impaired = widths["ideal"], widths["impaired"]
            words = f"{impaired['sharp']:.2f} deg (array without errors {ideal['sharp']:.2f}, coarray DBF {impaired['cdbf']:.1f})"
            out.append(
                Check("half-power width of the sharp spectrum at -15 degrees", "0.7 deg (coarray DBF 13.4)", words,
                      f"<= {_WIDTH_DEG:g} deg", impaired["sharp"] <= _WIDTH_DEG)
            )  # fmt: skip
    return out


def _claims(found: Found) -> list[Check]:
    """What the paper says besides: shown, not judged, for its data are not ours."""
    out = []
    pairs = [
        (
            s,
            mean_of(found, Key("simulated", OURS), "snr", s, "rmse"),
            mean_of(found, Key("simulated", "cnn"), "snr", s, "rmse"),
        )
        for s in SNRS
    ]
    pairs = [(s, ours, cnn) for s, ours, cnn in pairs if ours is not None and cnn is not None]
    if pairs:
        lost = [s for s, ours, cnn in pairs if cnn <= MATCH * ours]  # type: ignore[operator]
        words = "ahead at every SNR" if not lost else f"not ahead at {', '.join(lost)} dB"
        out.append(Check("MoD-DNN against the plain CNN", "ahead everywhere", words, "listed", None))
    rmse = [mean_of(found, Key("simulated", OURS), "channels", name, "rmse") for name in CHANNELS]
    if all(v is not None for v in rmse) and rmse:
        words = ", ".join(f"{name} {v:.2f}" for name, v in zip(CHANNELS, rmse, strict=True))
        out.append(Check("MoD-DNN in five channels: RMSE", "0.1 to 1 deg", f"{words} deg", "listed", None))
    p80 = {m: mean_of(found, Key("parking", m), "parking", "p80") for m in WORDS}
    if p80[OURS] is not None:
        words = ", ".join(f"{WORDS[m]} {v:.2f}" for m, v in p80.items() if v is not None)
        out.append(
            Check("hall with echoes: 80th percentile", "MUSIC, DeepMUSIC > 10, DBF, CNN 4.9, MoD-DNN 3.19 deg", f"{words} deg",
                  "listed", None)
        )  # fmt: skip
    return out
