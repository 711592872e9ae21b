"""Which pictures the VAE experiment shows, and from which results."""

from __future__ import annotations

from functools import partial

from hil.reproduce.dual_path_vae_figures import (
    STYLE,
    Bars,
    Curves,
    draw_bars,
    draw_curves,
    draw_decibels,
    draw_one,
    draw_pairs,
    draw_stationary,
    draw_training,
)
from hil.reproduce.dual_path_vae_rows import (
    SCENES,
    SNRS,
    Found,
    Results,
    mean,
    mean_of,
    of_kind,
    rmse_of,
    scene_key,
)
from hil.reproduce.experiment import Picture

_SHORT = {
    "proposed": "proposed", "no-initialisation": "no initialisation", "supervised": "supervised",
    "learned-decoder": "original VAE", "aoa-labels": "VAE + AoA labels",
}  # fmt: skip
_FIGURE = {"apart": "Fig. 5", "correlated": "Fig. 6", "free": "Fig. 5, users anywhere"}
_SNR_NOTE = "Methods near the bound lie on one another here: the tables tell them apart."


def pictures(found: Found, results: Results) -> tuple[Picture, ...]:
    """All pictures with something to show."""
    out = [
        *(p for scene in SCENES for p in _snr(found, scene)), *_networks(results), *_labels(results), *_missing(results),
        *_calibrated(results), *_landscapes(results),
    ]  # fmt: skip
    return tuple(out)


def _snr(found: Found, scene: str) -> list[Picture]:
    angles: Curves = _curve(found, scene, "aoa", "rmse")
    if not angles:
        return []
    if scene == "free":
        angles.pop("bound", None)
        first = [
            ("RMSE of the angles (degrees)", angles),
            ("median |error| (degrees)", _curve(found, scene, "aoa", "median")),
        ]
    else:
        first = [("RMSE of the angles (degrees)", angles)]
    panels = [
        *first, ("MSE of the path gains", _curve(found, scene, "channel", "gain")),
        ("MSE of the path angles (rad^2)", _curve(found, scene, "channel", "phase_rad2")),
    ]  # fmt: skip
    size = (3.7 * len(panels), 5.0)
    title = f"Errors against SNR: {SCENES[scene][1]} ({_FIGURE[scene]})"
    return [Picture(f"snr-{scene}", title, partial(draw_curves, panels=panels), _SNR_NOTE, size)]


def _curve(found: Found, scene: str, part: str, quantity: str) -> Curves:
    out: Curves = {}
    for method in STYLE:
        points = []
        for snr_db in SNRS:
            key = scene_key(scene, snr_db)
            value = (
                rmse_of(found, key, method)
                if quantity == "rmse"
                else mean_of(found, key, method, part, quantity)
            )
            if value is not None:
                points.append((snr_db, value))
        if points:
            out[method] = ([x for x, _ in points], [y for _, y in points])
    return out


def _networks(results: Results) -> list[Picture]:
    cases = of_kind(results, "networks")
    if not cases:
        return []
    name = {id(c): _SHORT[c["variant"]] + (", correlated" if c["rho"] else "") for c in cases}
    order = sorted(cases, key=lambda c: (c["rho"], list(_SHORT).index(c["variant"])))
    rows = {name[id(c)]: {"RMSE": c["aoa"]["rmse"], "median": c["aoa"]["median"]} for c in order}
    rows["MUSIC, well built"] = {"RMSE": cases[0]["music"]["rmse"], "median": cases[0]["music"]["median"]}
    channels = {
        name[id(c)]: {
            "channel network": c["channel"]["nmse_db"],
            "closed form at its angles": c["closed"]["nmse_db"],
        }
        for c in order
    }
    bound = cases[0]["bound"]
    angle: Bars = [("error of the angles (degrees)", rows, bound["aoa"]["rmse"])]
    history = {name[id(c)]: c["history"] for c in order if c["variant"] in ("proposed", "no-initialisation")}
    height = 1.5 + 0.5 * len(rows)
    return [
        Picture("networks-angles", "Plain networks: angles (Fig. 6 and 7)", partial(draw_bars, panels=angle), size=(8.0, height)),
        Picture("networks-channels", "Plain networks: channels (Fig. 6 and 7)",
                partial(draw_decibels, rows=channels, line=bound["channel"]["nmse_db"]), size=(9.5, height)),
        Picture("networks-training", "Plain networks: training", partial(draw_training, histories=history),
                "Hollow: initialisation, a loss of its own; filled: one path after the other."),
    ]  # fmt: skip


def _labels(results: Results) -> list[Picture]:
    cases = of_kind(results, "labels")
    if not cases:
        return []
    words = {"label": "alone", "net": "+ network", "told": "+ supervised network", "ml": "+ ML steps"}
    rows: dict[str, dict[str, float]] = {}
    for name in cases[0]["rows"]:
        kind, _, channel_mean = name.rpartition(" ")
        if float(channel_mean) == 0:
            title = "random start" if kind == "random" else kind
            parts = cases[0]["rows"][name]
            rows[title] = {
                words[p]: mean([c["rows"][name][p]["rmse"] for c in cases]) or 0.0
                for p in words
                if p in parts
            }
    panels: Bars = [("RMSE of the angles (degrees)", rows, None)]
    return [
        Picture(
            "pseudo-labels",
            "Pseudo-labels, 10 dB, 5 degrees apart (Fig. 7)",
            partial(draw_bars, panels=panels),
            size=(8.0, 6.0),
        )
    ]


def _missing(results: Results) -> list[Picture]:
    cases = of_kind(results, "sectors")
    if not cases:
        return []
    rows: dict[str, dict[str, float]] = {}
    for name in cases[0]["rows"]:
        spacing, _, where = name.partition(" ")
        series = "sector searched" if where == "sector" else "all angles searched"
        rows.setdefault(f"d = {spacing} wavelengths", {})[series] = (
            mean([c["rows"][name]["rmse"] for c in cases]) or 0.0
        )
    panels: Bars = [("RMSE of the angles (degrees)", rows, None)]
    return [
        Picture(
            "sectors", "With and without sectors (Fig. 7)", partial(draw_bars, panels=panels), size=(8.0, 3.4)
        )
    ]


def _calibrated(results: Results) -> list[Picture]:
    cases = of_kind(results, "calibrated")
    if not cases:
        return []
    words = {
        "without": "ideal array believed",
        "learned": "calibration that leaves errors",
        "with": "calibration in the decoder",
    }
    methods = {"music": "MUSIC", "net": "VAE, network", "net-ml": "VAE + ML steps"}
    rows = {
        title: {words[d]: mean([c["decoders"][d][m]["aoa"]["rmse"] for c in cases]) or 0.0 for d in words}
        for m, title in methods.items()
    }
    bound = mean([c["bound"]["aoa"]["rmse"] for c in cases])
    panels: Bars = [("RMSE of the angles (degrees)", rows, bound)]
    return [
        Picture(
            "calibration",
            "An array with errors: decoder with and without its calibration",
            partial(draw_bars, panels=panels),
            size=(8.0, 3.6),
        )
    ]


def _landscapes(results: Results) -> list[Picture]:
    out = []
    for case in of_kind(results, "landscape")[:1]:
        true = f"{case['true_deg']:g} degrees"
        pair = ", ".join(f"{d:g}" for d in case["pair_deg"])
        out = [
            Picture("landscape-one", f"Loss over the angle and path angle of one user at {true} (Fig. 2)", partial(draw_one, case=case)),
            Picture("landscape-pair", f"Loss over the angles of two users at {pair} degrees (Fig. 3)", partial(draw_pairs, case=case),
                    "Crosses: true angles, and those that no array of this spacing tells from them.", size=(13.0, 3.9)),
            Picture("landscape-slope", f"Stationary points of the loss of one user at {true} (Fig. 4)", partial(draw_stationary, case=case),
                    size=(9.0, 5.4)),
        ]  # fmt: skip
    return out
