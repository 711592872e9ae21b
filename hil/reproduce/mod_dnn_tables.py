"""The tables of the MoD-DNN experiment."""

from __future__ import annotations

from typing import Any

from hil.reproduce.experiment import Table
from hil.reproduce.mod_dnn_channels import CHANNELS
from hil.reproduce.mod_dnn_data import bound_over_field_deg
from hil.reproduce.mod_dnn_rows import (
    METHODS,
    OURS,
    SECTORS,
    SNRS,
    WORDS,
    Found,
    Key,
    iqrs,
    mean_of,
    methods_of,
    rounded,
    spread,
    values,
)
from hil.reproduce.mod_dnn_variants import VARIANTS

_PAPER_GFLOP = {"music": 0.0002, "deep-music": 0.213, "cnn": 0.017, "mod-dnn": 0.134}
_PAPER_HOURS = {"deep-music": 30.8, "cnn": 1.6, "mod-dnn": 15.6}
_PAPER_MS = {"music": 9.4, "deep-music": 31.6, "cnn": 1.8, "mod-dnn": 14.9}
_RHOS = ("0", "0.25", "0.5", "0.75", "1")


def tables(found: Found, results: dict[str, dict[str, Any]]) -> tuple[Table, ...]:
    """All tables with at least one row."""
    out = [
        _snr(found), _chamber(found), _held_out(found), _boxes(found, "chamber", "chamber", "chamber-like data, 25 dB"),
        _rho(found), _other_rho(found), _channels(found), _parking(found),
        _boxes(found, "parking", "parking", "hall with coherent echoes"), _ablations(found), _cost(found),
        _responses(found, results), _widths(results),
    ]  # fmt: skip
    return tuple(table for table in out if table.rows)


def _snr(found: Found) -> Table:
    rows: list[tuple[Any, ...]] = []
    for method in methods_of(found, "simulated"):
        key = Key("simulated", method)
        rmse = [rounded(mean_of(found, key, "snr", s, "rmse"), 4) for s in SNRS]
        ratio = [spread(values(found, key, "snr", s, "ratio")) for s in SNRS]
        rows.append((WORDS[method], len(found[key]), *rmse, *ratio))
    if rows:
        first = methods_of(found, "simulated")[0]
        bounds = [rounded(mean_of(found, Key("simulated", first), "snr", s, "bound"), 4) for s in SNRS]
        rows.append(("bound", None, *bounds, *("1" for _ in SNRS)))
    columns = (
        "method",
        "seeds",
        *(f"RMSE at {s} dB (deg)" for s in SNRS),
        *(f"over the bound, {s} dB" for s in SNRS),
    )
    return Table(
        "snr", "RMSE against SNR, random angles between the grid's (Fig. 4f)", columns, tuple(rows),
        "Means over training seeds, in brackets smallest and largest. All methods meet the same blocks. Both tables are made of "
        "121 angles x 400 symbols at 25 dB; networks see fresh simulated blocks in every step.",
    )  # fmt: skip


def _turntable_row(found: Found, key: Key, part: str, music_p80: float | None) -> tuple[Any, ...]:
    p80 = mean_of(found, key, part, "p80")
    less = None if p80 is None or not music_p80 else round(100 * (1 - p80 / music_p80), 1)
    widest = iqrs(found, key, part)
    return (
        WORDS[key.method], len(found[key]), rounded(mean_of(found, key, part, "p50"), 4),
        spread(values(found, key, part, "p80"), 4), less, rounded(mean_of(found, key, part, "rmse"), 4),
        rounded(mean_of(found, key, part, "largest"), 3), spread(widest, 4),
    )  # fmt: skip


_TURNTABLE = (
    "method", "seeds", "median |error| (deg)", "80th percentile (deg)", "less than MUSIC (%)", "RMSE (deg)", "largest (deg)",
    "largest IQR of a sector (deg)",
)  # fmt: skip


def _chamber(found: Found) -> Table:
    rows = []
    music = mean_of(found, Key("chamber", "music"), "chamber", "p80")
    for method in methods_of(found, "chamber"):
        key = Key("chamber", method)
        half = spread(values(found, key, "half", "p80"), 4)
        rows.append((*_turntable_row(found, key, "chamber", music), half))
    return Table(
        "chamber", "Chamber-like recordings: 121 angles x 450 symbols at 25 dB (Fig. 5b)",
        (*_TURNTABLE, "80th percentile at the half degrees between"), tuple(rows),
        "400 symbols of each angle to learn from, 50 others to test. Networks train on the measured table, interpolated to any "
        "angle, with fresh noise. The bound's own 80th percentile at 25 dB is 0.140.",
    )  # fmt: skip


def _held_out(found: Found) -> Table:
    rows = []
    music = mean_of(found, Key("held-out", "music"), "held_out_distribution", "p80")
    for method in methods_of(found, "held-out"):
        key = Key("held-out", method)
        ratio = [spread(values(found, key, "held_out", s, "ratio")) for s in SNRS]
        rows.append((*_turntable_row(found, key, "held_out_distribution", music), *ratio))
    return Table(
        "held-out", "Angles never recorded: even degrees recorded, odd and half degrees tested",
        (*_TURNTABLE, *(f"RMSE over the bound, {s} dB" for s in SNRS)), tuple(rows),
        "The paper tests the angles it trained on. Percentiles at 25 dB.",
    )  # fmt: skip


def _boxes(found: Found, protocol: str, part: str, words: str) -> Table:
    rows = []
    for method in methods_of(found, protocol):
        for i, sector in enumerate(SECTORS):
            boxes = [r[part]["boxes"][i] for r in found[Key(protocol, method)] if part in r]
            if not boxes:
                continue
            mean = {name: sum(b[name] for b in boxes) / len(boxes) for name in boxes[0]}
            numbers = [mean[name] for name in ("q1", "median", "q3", "iqr", "most_iqr", "most_q3")]
            shares = [round(100 * mean[name], 1) for name in ("out_iqr", "out_q3")]
            rows.append((WORDS[method], sector, *(rounded(v, 4) for v in numbers), *shares))
    columns = (
        "method", "sector (deg)", "Q1", "median", "Q3", "IQR", "largest within Q3 + 1.5 IQR", "largest within 1.5 Q3",
        "outliers, first rule (%)", "outliers, second rule (%)",
    )  # fmt: skip
    return Table(
        f"boxes-{protocol}", f"|error| by sector: {words}", columns, tuple(rows),
        "Degrees; means over seeds. The first rule is the usual one, the second what the paper says.",
    )  # fmt: skip


def _rho(found: Found) -> Table:
    rows = []
    for method in METHODS:
        numbers = [_at_rho(found, method, rho) for rho in _RHOS]
        if sum(v is not None for v in numbers) > 1:
            rows.append((WORDS[method], *(rounded(v, 4) for v in numbers)))
    if rows:
        bounds = (round(bound_over_field_deg(20.0, float(rho)), 4) for rho in _RHOS)
        rows.append(("bound", *bounds))
    return Table(
        "rho", "RMSE against the strength of the impairment, 20 dB (Fig. 4g)",
        ("method", *(f"rho = {rho} (deg)" for rho in _RHOS)), tuple(rows),
        "rho scales the phase errors. Tables and networks learn anew at each rho (networks in fewer steps below 1); DeepMUSIC, "
        "whose labels know no errors, only at 1.",
    )  # fmt: skip


def _at_rho(found: Found, method: str, rho: str) -> float | None:
    learned_there = mean_of(found, Key("rho", method), "rho", rho, "rmse")
    if learned_there is not None:
        return learned_there
    if rho == "1" or method in ("music", "dbf", "cdbf", "deep-music"):
        return mean_of(found, Key("simulated", method), "other_rho", rho, "rmse")
    return None


def rho_curve(found: Found, method: str) -> list[tuple[float, float]]:
    """(rho, RMSE) of a method, where known."""
    points = [(float(rho), _at_rho(found, method, rho)) for rho in _RHOS]
    return [(rho, value) for rho, value in points if value is not None]


def _other_rho(found: Found) -> Table:
    rows = []
    for method in ("bias", "lut", "cnn", "mod-dnn"):
        numbers = [mean_of(found, Key("simulated", method), "other_rho", rho, "rmse") for rho in _RHOS]
        if any(v is not None for v in numbers):
            rows.append((WORDS[method], *(rounded(v, 4) for v in numbers)))
    return Table(
        "rho-mismatch", "Learned at rho = 1, used at another, 20 dB", ("method", *(f"rho = {r} (deg)" for r in _RHOS)),
        tuple(rows), "What is learned is the array that was shown: an array that changes has to be measured again.",
    )  # fmt: skip


def _channels(found: Found) -> Table:
    rows: list[tuple[Any, ...]] = []
    for method in methods_of(found, "simulated"):
        key = Key("simulated", method)
        numbers = [mean_of(found, key, "channels", name, "rmse") for name in CHANNELS]
        if any(v is not None for v in numbers):
            rows.append((WORDS[method], mean_of(found, key, "snr", "25", "rmse"), *numbers))
    note = "; ".join(
        f"{name}: K {c.k_db:g} dB, delay spread {c.delay_s * 1e9:.0f} ns, azimuth spread {c.angle_deg:g} deg, {c.n_paths} paths"
        for name, c in CHANNELS.items()
    )
    return Table(
        "channels", "RMSE in stand-ins for the line-of-sight channels of TR 38.901, 25 dB (Fig. 4i)",
        ("method", "one path (deg)", *(f"{name} (deg)" for name in CHANNELS)), tuple(rows),
        f"Stochastic stand-ins, not the standard's generator: the medians of table 7.5-6 of TR 38.901, fixed. {note}. Azimuth spread "
        "at the base station, of the paths besides the direct one. Everything was learned on one path.",
    )  # fmt: skip


def _parking(found: Found) -> Table:
    rows = []
    keys = [Key("parking", m) for m in methods_of(found, "parking")]
    keys += [Key("chamber", m) for m in ("deep-music", "cnn", OURS) if Key("parking", m) in found]
    for key in keys:
        numbers = [mean_of(found, key, "parking", name) for name in ("p50", "p80", "rmse")]
        parts = [mean_of(found, key, "parking", part, "p80") for part in ("clear", "blocked")]
        words = WORDS[key.method] + ", trained in the chamber" * (key.protocol == "chamber")
        if numbers[0] is not None:
            widest = spread(iqrs(found, key, "parking"), 2)
            rows.append((words, *(rounded(v) for v in (*numbers, *parts)), widest))
    columns = (
        "method", "median |error| (deg)", "80th percentile (deg)", "RMSE (deg)", "80th percentile, clear view (deg)",
        "80th percentile, view blocked (deg)", "largest IQR of a sector (deg)",
    )  # fmt: skip
    return Table(
        "parking", "A hall with coherent echoes: 279 positions x 100 symbols, every fourth position held out (Fig. 5e)",
        columns, tuple(rows),
        "A stand-in for the parking lot: mirrors at three walls, pillars and pipes; 20 dB. Tables come from the chamber-like run, networks "
        "from the 209 other positions.",
    )  # fmt: skip


def _ablations(found: Found) -> Table:
    rows = []
    for variant, words in VARIANTS.items():
        key = Key("few", OURS, variant)
        for result in found.get(key, []):
            ratio = [rounded(result["snr"][s]["ratio"], 2) for s in SNRS]
            p80 = [rounded(result["snr"][s]["p80"], 3) for s in ("25", "30")]
            rows.append(
                (
                    words,
                    result["steps"],
                    round(result["seconds"]),
                    rounded(result["last_loss"], 4),
                    *ratio,
                    *p80,
                )
            )
    columns = (
        "variant", "steps", "seconds", "last loss", *(f"RMSE over the bound, {s} dB" for s in SNRS),
        "80th percentile, 25 dB (deg)", "80th percentile, 30 dB (deg)",
    )  # fmt: skip
    return Table(
        "ablations", "MoD-DNN with one part changed", columns, tuple(rows),
        "Few steps and one seed: differences under about 15 % mean nothing. The loss is over the label's energy: 1 is an empty spectrum.",
    )  # fmt: skip


def _cost(found: Found) -> Table:
    rows = []
    for method in methods_of(found, "simulated"):
        key = Key("simulated", method)
        rows.append((
            WORDS[method], found[key][0]["parameters"], mean_of(found, key, "timing", "gflop"), _PAPER_GFLOP.get(method),
            rounded(mean_of(found, key, "seconds"), 1), found[key][0]["samples"], _PAPER_HOURS.get(method),
            rounded(mean_of(found, key, "timing", "single_ms"), 2), rounded(mean_of(found, key, "timing", "batch_ms"), 3),
            _PAPER_MS.get(method),
        ))  # fmt: skip
    columns = (
        "method", "parameters", "GFLOP a direction", "published GFLOP", "training (s)", "training samples", "published training (h)",
        "test, one block (ms)", "test, in a batch of 256 (ms a block)", "published test (ms)",
    )  # fmt: skip
    return Table(
        "cost", "Size, operations and time (tables 3 and 4)", columns, tuple(rows),
        "Seconds and milliseconds of processor time of one thread. Operations from the layers' shapes, two for a product and sum.",
    )  # fmt: skip


def _responses(found: Found, results: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, sizes, response in autoencoders(found, results):
        rows.append((
            name, sizes, *(rounded(response[part]) for part in ("amplitude_in", "amplitude_out", "phase_in", "phase_out")),
            round(100 * response["gate"], 2), round(100 * response["gate_3deg"], 2),
        ))  # fmt: skip
    columns = (
        "autoencoder", "weights", "amplitude response inside", "outside", "phase response inside", "outside ",
        "right subregion (%)", "more than 3 degrees from an edge (%)",
    )  # fmt: skip
    return Table("autoencoder", "Autoencoder I and II at 10 dB (Fig. 4a-d)", columns, tuple(rows))


def autoencoders(found: Found, results: dict[str, dict[str, Any]]) -> list[tuple[str, int, dict[str, Any]]]:
    """(name, number of weights, responses) of I and II, where run."""
    out: list[tuple[str, int, dict[str, Any]]] = []
    first = found.get(Key("simulated", OURS), [])
    if first:
        out.append(("I: weights for every tone", first[0]["gate_parameters"], first[0]["responses"]))
    for result in results.values():
        if "shared_autoencoder" in result:
            out.append(("II: one set for all tones", result["parameters"], result["shared_autoencoder"]))
    return out


def _widths(results: dict[str, dict[str, Any]]) -> Table:
    words = {"cdbf": "coarray DBF", "scg-plain": "reconstruction without sparsity", "sharp": "reweighted l1"}
    published = {"cdbf": 13.4, "sharp": 0.7}
    rows = []
    for case in results.values():
        widths = case.get("spectra", {}).get("widths")
        if widths:
            rows += [
                (words[k], published.get(k), rounded(widths["ideal"][k]), rounded(widths["impaired"][k]))
                for k in words
            ]
    return Table(
        "widths", "Half-power width of the spectrum at -15 degrees",
        ("spectrum", "published (deg)", "ideal array, no noise (deg)", "impaired array, 20 dB, median (deg)"), tuple(rows),
        "Four elements half a wavelength apart cannot make a beam of 13.4 degrees; the paper does not state its spacing.",
    )  # fmt: skip
