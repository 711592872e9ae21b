"""The tables of the VAE experiment."""

from __future__ import annotations

from typing import Any

from hil.reproduce.dual_path_vae_rows import (
    METHODS,
    SCENES,
    SNRS,
    WORDS,
    Found,
    Key,
    Results,
    mean,
    mean_of,
    of_kind,
    ratios,
    rmse_of,
    scene_key,
    spread,
    values,
)
from hil.reproduce.experiment import Table

NETWORKS = {
    "proposed": "proposed: initialisation, then one path after the other",
    "no-initialisation": "no initialisation",
    "supervised": "supervised",
    "learned-decoder": "original VAE: decoder learned too",
    "aoa-labels": "VAE + AoA labels: decoder learned too",
}
_COMPLEXITY = {
    "music": "N^3 + N K G",
    "kr-music": "N^2 M + N M^2 + N K G",
    "labels": "N^3 + N^2 G + N K G",
    "net": "labels + N^2 K + weights",
    "net-ml": "labels + 20 N^2 K",
    "ml": "labels + 20 N^2 K",
}


def tables(found: Found, results: Results) -> tuple[Table, ...]:
    """All tables with rows."""
    out = [
        *(_directions(found, scene, words) for scene, (_, words) in SCENES.items()),
        _channels(found), _supervision(found), _labels(results), _networks(results), _sectors(results),
        _calibrated(results), _sizes(found), _generic(results), _timing(results), _training(found), _stationary(results),
    ]  # fmt: skip
    return tuple(table for table in out if table.rows)


def _directions(found: Found, scene: str, words: str) -> Table:
    rows: list[tuple[Any, ...]] = []
    for snr_db in SNRS:
        key = scene_key(scene, snr_db)
        for method in METHODS:
            if method not in found.get(key, {}):
                continue
            numbers = [
                mean_of(found, key, method, "aoa", part) for part in ("mse", "median", "p80", "outliers")
            ]
            shown = spread(values(found, key, method, "aoa", "rmse"))
            rows.append((snr_db, WORDS[method], len(found[key][method]), shown, *numbers))
        if "bound" in found.get(key, {}):
            rmse = rmse_of(found, key, "bound")
            median, p80 = (mean_of(found, key, "bound", "aoa", part) for part in ("median", "p80"))
            mse = None if rmse is None else rmse**2
            rows.append((snr_db, "bound (CRB)", len(found[key]["bound"]), rmse, mse, median, p80, None))
    note = "Mean over seeds and, in brackets, smallest and largest. Outliers: recordings with an error above 1 degree. KR-MUSIC on the first 400 recordings."
    if scene == "free":
        note += (
            " The mean of the bound is that of the few nearest pairs, for which it means nothing: no estimate errs more than by the sector. "
            "Medians compare."
        )
    return Table(
        f"directions-{scene}", f"Errors of the angles: {words}",
        ("SNR (dB)", "method", "seeds", "RMSE (deg)", "MSE (deg^2)", "median (deg)", "80th percentile (deg)", "outliers (%)"),
        tuple(rows), note,
    )  # fmt: skip


def _channels(found: Found) -> Table:
    rows = []
    for scene, (_, words) in SCENES.items():
        for snr_db in SNRS:
            key = scene_key(scene, snr_db)
            for method in (*METHODS, "bound"):
                numbers = [
                    mean_of(found, key, method, "channel", part) for part in ("nmse_db", "gain", "phase_rad2")
                ]
                if numbers[0] is not None:
                    rows.append(
                        (words, snr_db, WORDS.get(method, "bound: directions and statistics known"), *numbers)
                    )
    return Table(
        "channels", "Errors of the channels (Fig. 5 and 6)",
        ("users", "SNR (dB)", "directions from", "NMSE (dB)", "path gain MSE", "path angle MSE (rad^2)"), tuple(rows),
        "Least squares for MUSIC, KR-MUSIC and Unsupervised-CNN, the closed-form posterior for the others. Path angles wrapped; "
        "channels of nearly no gain make most of their error.",
    )  # fmt: skip


def _supervision(found: Found) -> Table:
    rows = []
    for scene, (_, words) in SCENES.items():
        for snr_db in SNRS:
            key = scene_key(scene, snr_db)
            each = ratios(found, key, "net", "supervised")
            if each:
                medians = [mean_of(found, key, m, "aoa", "median") for m in ("net", "supervised")]
                outliers = [mean_of(found, key, m, "aoa", "outliers") for m in ("net", "supervised")]
                rows.append((words, snr_db, len(each), spread(each, 4), *medians, *outliers))
    columns = (
        "users", "SNR (dB)", "seeds", "RMSE, unsupervised over supervised", "median, unsupervised (deg)", "median, supervised (deg)",
        "outliers, unsupervised (%)", "outliers, supervised (%)",
    )  # fmt: skip
    return Table(
        "supervision", "Without labels against with labels", columns, tuple(rows),
        "The same network, pseudo-labels, recordings and epochs; below 1: without labels is better.",
    )  # fmt: skip


def _labels(results: Results) -> Table:
    merged: dict[str, dict[str, list[dict[str, float]]]] = {}
    for case in of_kind(results, "labels"):
        for name, row in case["rows"].items():
            for part, score in row.items():
                merged.setdefault(name, {}).setdefault(part, []).append(score)
    rows = []
    for name, row in merged.items():
        kind, _, channel_mean = name.rpartition(" ")
        numbers: list[Any] = [
            mean([s[quantity] for s in row[part]]) if part in row else None
            for part in ("label", "net", "told", "ml")
            for quantity in ("rmse", "outliers")
        ]
        words = "random start, no initialisation" if kind == "random" else kind
        rows.append((words, float(channel_mean), len(row["label"]), *numbers))
    columns = (
        "pseudo-labels", "mean of the channels", "seeds", "RMSE (deg)", "outliers (%)", "with network: RMSE (deg)",
        "with network: outliers (%)", "with supervised network: RMSE (deg)", "with supervised network: outliers (%)", "with 20 ML steps: RMSE (deg)", "with 20 ML steps: outliers (%)",
    )  # fmt: skip
    return Table(
        "pseudo-labels", "Pseudo-labels and no initialisation, 10 dB, 5 degrees apart (Fig. 7)", columns, tuple(rows),
        "paper: the K largest grid values, as printed. matched-filter: the same spectrum, local maxima. Its mean over snapshots is worth "
        "something only if channels have a mean. The random start is given 200 steps.",
    )  # fmt: skip


def _networks(results: Results) -> Table:
    rows = []
    for case in of_kind(results, "networks"):
        rows.append((
            NETWORKS[case["variant"]], case["rho"], case["samples"], case["epochs"], round(case["seconds"], 1), case["aoa"]["rmse"],
            case["aoa"]["median"], case["aoa"]["outliers"], case["channel"]["nmse_db"], case["closed"]["nmse_db"],
            case["music"]["rmse"], case["bound"]["channel"]["nmse_db"],
        ))  # fmt: skip
    columns = (
        "variant", "correlation", "samples", "epochs", "seconds", "RMSE (deg)", "median (deg)", "outliers (%)", "channel network NMSE (dB)",
        "closed form at its angles NMSE (dB)", "MUSIC RMSE (deg)", "bound NMSE (dB)",
    )  # fmt: skip
    return Table(
        "networks", "Both paths as plain networks, as published but small; 16 antennas, 2 users 15 degrees apart, 10 dB (Fig. 6 and 7)", columns, tuple(rows),
        "A minute of training where the paper spends days: how variants differ can be read off, where they would end cannot. Correlation is that "
        "of neighbouring users.",
    )  # fmt: skip


def _sectors(results: Results) -> Table:
    rows = []
    for case in of_kind(results, "sectors")[:1]:
        for name, score in case["rows"].items():
            spacing, _, where = name.partition(" ")
            words = "+-25 degrees" if where == "sector" else "+-90 degrees"
            rows.append((float(spacing), words, score["rmse"], score["median"], score["outliers"]))
    return Table(
        "sectors", "With and without sectors (Fig. 7): users within +-24 degrees, 10 dB",
        ("spacing (wavelengths)", "searched", "RMSE (deg)", "median (deg)", "outliers (%)"), tuple(rows),
        "At half a wavelength no two angles look the same, so sectors change nothing; at one wavelength sines one apart do. The published "
        "sectors of 120 degrees would not be narrow enough there.",
    )  # fmt: skip


def _calibrated(results: Results) -> Table:
    words = {
        "without": "believes in the ideal array",
        "learned": "holds a calibration that leaves errors",
        "with": "holds gains, phases and positions of the elements",
    }
    cases = of_kind(results, "calibrated")
    rows: list[tuple[Any, ...]] = []
    for decoder, name in words.items():
        for method in ("music", "net", "net-ml"):
            each = [c["decoders"][decoder][method] for c in cases]
            if each:
                rmse = spread([e["aoa"]["rmse"] for e in each])
                outliers = mean([e["aoa"]["outliers"] for e in each])
                rows.append(
                    (
                        name,
                        WORDS[method],
                        len(each),
                        rmse,
                        outliers,
                        mean([e["channel"]["nmse_db"] for e in each]),
                    )
                )
    if cases:
        bound = [c["bound"] for c in cases]
        rows.append(("-", "bound", len(cases), mean([b["aoa"]["rmse"] for b in bound]), None,
                     mean([b["channel"]["nmse_db"] for b in bound])))  # fmt: skip
    note = ""
    if cases:
        e, left = cases[0]["errors"], cases[0]["left"]
        note = (
            f"Normal errors: {e['gain_db']:g} dB, {e['phase_deg']:g} degrees, {e['shift']:g} wavelengths along the line. The calibration that leaves errors leaves {left['gain_db']:g} dB, "
            f"{left['phase_deg']:g} degrees, {left['shift']:g} wavelengths. The path is trained "
            "with the decoder it is used with, without labels."
        )
    return Table(
        "calibration", "An array with errors: what the decoder knows of it, 10 dB, 5 degrees apart",
        ("decoder", "method", "arrays", "RMSE (deg)", "outliers (%)", "channel NMSE (dB)"), tuple(rows), note,
    )  # fmt: skip


def _sizes(found: Found) -> Table:
    rows = []
    for key in sorted((k for k in found if k.n != 32), key=lambda k: k.n):
        for method in METHODS:
            if method in found[key]:
                rows.append((
                    key.n, key.k, key.separation_deg, WORDS[method], len(found[key][method]),
                    spread(values(found, key, method, "aoa", "rmse")), spread(ratios(found, key, method, "bound"), 4),
                    mean_of(found, key, method, "aoa", "outliers"), mean_of(found, key, method, "channel", "nmse_db"),
                ))  # fmt: skip
    columns = (
        "antennas",
        "users",
        "separation (deg)",
        "method",
        "seeds",
        "RMSE (deg)",
        "over the bound",
        "outliers (%)",
        "channel NMSE (dB)",
    )
    return Table("other-sizes", "Other sizes, 10 dB", columns, tuple(rows))


def _generic(results: Results) -> Table:
    rows = []
    words = {"small": "two hidden layers (used here)", "resnet18": "ResNet-18 (as published)"}
    for case in of_kind(results, "sizes")[:1]:
        for name, parts in case["architectures"].items():
            for path, part in parts.items():
                days = part["batch_s"] * 40_000 / case["batch"] * 1000 / 86400
                rows.append((words[name], path, part["parameters"], part["batch_s"], days))
    return Table(
        "networks-cost", "Size of the networks and seconds of a training batch of 128",
        ("network", "path", "parameters", "seconds of a batch, one thread", "days for 1000 epochs of 40 000 recordings"), tuple(rows),
        "Measured forward and backward; ResNet-18 is built and stepped here, not trained to an end. The paper trains one per path and SNR.",
    )  # fmt: skip


def _timing(results: Results) -> Table:
    rows = []
    for case in sorted(of_kind(results, "timing"), key=lambda c: c["n"]):
        for name, part in case["methods"].items():
            words = WORDS.get(name, "VAE, network alone, labels given")
            rows.append(
                (
                    case["n"],
                    case["k"],
                    words,
                    _COMPLEXITY.get(name, "N^2 K + weights"),
                    part["batch_ms"],
                    part.get("single_ms"),
                )
            )
    return Table(
        "timing", "Operations and time of a recording",
        ("antennas", "users", "method", "order of operations", "in a batch (ms)", "alone (ms)"), tuple(rows),
        "Processor time of one thread. G: points of the grid, M: snapshots. R itself costs N^2 M for all. The paper gives the order N^3 for "
        "MUSIC and the layers' sizes for its networks; it has the inputs of its two ResNets the wrong way round there.",
    )  # fmt: skip


def _training(found: Found) -> Table:
    rows = []
    for scene, (_, words) in SCENES.items():
        for snr_db in SNRS:
            key = scene_key(scene, snr_db)
            if "training" in found.get(key, {}):
                numbers = [mean_of(found, key, "training", part) for part in
                           ("samples", "labels_s", "networks_s", "epochs", "supervised_epochs")]  # fmt: skip
                size = found[key]["training"][0]["parameters"]
                rows.append((words, snr_db, *numbers, size))
    columns = (
        "users",
        "SNR (dB)",
        "recordings",
        "labels (s)",
        "training (s)",
        "best epoch",
        "best epoch, supervised",
        "parameters",
    )
    return Table(
        "training",
        "Training of the anchored path",
        columns,
        tuple(rows),
        "Means over seeds; one network for each SNR, as in the paper.",
    )


def _stationary(results: Results) -> Table:
    rows = []
    for case in of_kind(results, "landscape")[:1]:
        all_deg = case["stationary_deg"]
        near = sorted(all_deg, key=lambda d: abs(d - case["true_deg"]))[:3]
        rows.append(
            (case["true_deg"], len(all_deg), ", ".join(f"{d:.2f}" for d in sorted(near)), case["difference"])
        )
    return Table(
        "stationary", "Stationary points of the loss of one user, 32 antennas (Fig. 4)",
        ("true angle (deg)", "stationary points", "nearest (deg)", "slope against differences of the printed loss"), tuple(rows),
        "The slope as printed has sums of sines where differences belong; +-90 degrees are stationary in either.",
    )  # fmt: skip


def key_of_size(n: int, k: int, separation_deg: float) -> Key:
    """Of another size at 10 dB."""
    return Key(separation_deg, 0.0, 10.0, n, k)
