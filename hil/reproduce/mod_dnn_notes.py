"""What the numbers of the MoD-DNN experiment say, in words."""

from __future__ import annotations

from typing import Any

from hil.reproduce.mod_dnn_checks import match_words
from hil.reproduce.mod_dnn_rows import OURS, RESPONSE_TABLES, WORDS, Found, Key, mean_of


def notes(found: Found, results: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Sentences from the results, then what holds for any run."""
    if not results:
        return ()
    return (*_tables(found), *_paper_mode(found), *_autoencoder(found, results), *_printed(results), *_PLAIN)


def _tables(found: Found) -> list[str]:
    out = []
    for protocol, part, words in (
        ("simulated", "snr", "Random angles"),
        ("held-out", "held_out", "Angles never recorded"),
    ):
        if Key(protocol, OURS) in found and Key(protocol, "lut") in found:
            each = "; ".join(match_words(found, protocol, table, part) for table in RESPONSE_TABLES)
            out.append(
                f"{words}, RMSE of the response tables against the network (within 2 % counts as equal). {each}."
            )
    for protocol, part, words in (
        ("chamber", "chamber", "Chamber-like data at 25 dB"),
        ("parking", "parking", "Hall with echoes"),
    ):
        p80 = {m: mean_of(found, Key(protocol, m), part, "p80") for m in (OURS, *RESPONSE_TABLES)}
        if all(v is not None for v in p80.values()):
            shown = ", ".join(f"{WORDS[m]} {v:.3f}" for m, v in p80.items())
            out.append(f"{words}, 80th percentile in degrees: {shown}.")
    return out


def _paper_mode(found: Found) -> list[str]:
    paper, fast = (found.get(Key("few", OURS, variant), []) for variant in ("paper", "fast"))
    music = mean_of(found, Key("simulated", "music"), "snr", "25", "rmse")
    if not (paper and fast and music):
        return []
    theirs, ours = paper[0], fast[0]
    return [
        f"The network as printed, after {theirs['steps']} steps ({theirs['seconds']:.0f} s): RMSE {theirs['snr']['25']['rmse']:.2f} degrees at "
        f"25 dB, MUSIC {music:.2f}, the fast form after {ours['steps']} steps ({ours['seconds']:.0f} s) {ours['snr']['25']['rmse']:.2f}. Its loss is "
        f"{theirs['last_loss']:.2f} of that of an empty spectrum: one-hot labels teach it little in minutes. The paper trains it for 15.6 hours; that "
        "is not repeated here."
    ]


def _autoencoder(found: Found, results: dict[str, dict[str, Any]]) -> list[str]:
    first = found.get(Key("simulated", OURS), [])
    second = [r["shared_autoencoder"] for r in results.values() if "shared_autoencoder" in r]
    if not (first and second):
        return []
    one, two = first[0]["responses"], second[0]
    return [
        f"Autoencoder I (weights for every tone) against II (one set): outside its subregion a decoder's amplitude response is {one['amplitude_out']:.3f} "
        f"and {two['amplitude_out']:.3f}, its phase response {one['phase_out']:.2f} and {two['phase_out']:.2f}; the gate is right in "
        f"{100 * one['gate']:.1f} and {100 * two['gate']:.1f} % of the samples at 10 dB. A wrong gate near an edge does no harm: heads reach 4 degrees over it."
    ]


def _printed(results: dict[str, dict[str, Any]]) -> list[str]:
    return [
        "The reconstruction as printed (Algorithm 1) diverges: after 60 steps its equation is missed by "
        f"{case['spectra']['residual']['literal']:.0f} times the right side, and its peak has nothing to do with the source. Reweighted l1 makes the spectrum "
        "narrow, not right: its peak is where that of the ideal array is."
        for case in results.values()
        if "residual" in case.get("spectra", {})
    ][:1]


_PLAIN = (
    "Errors in the paper that are corrected here: the reconstruction's gradient is taken at the new iterate and its step with P + lambda I; "
    "the data term stays the measured spectrum; rho scales the phase, not the signal; the sparsity weights act element by element.",
    "One source of the paper's 95 % is that MUSIC does not know the array. Any calibration does: the share tells MUSIC's error, not the "
    "network's merit. Ratios to the bound do.",
    "The bias table reads angles at the edge of its range for readings beyond it. The network is bound to the array it was trained on; so "
    "are both tables.",
    "Stand-ins of TR 38.901 and the hall are our own: their errors are comparable among methods, not with the paper's figures. The strengths of "
    "the hall's echoes were set so that beamforming errs there as in the paper (4.9 degrees), and the width of the neighbourhood from which networks "
    "take training positions (6 degrees) was chosen on positions that are also tested: that favours the network's row.",
    "Largest errors, quartiles and percentiles are of |error|, as in the paper.",
)
