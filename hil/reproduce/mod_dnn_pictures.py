"""Which pictures the MoD-DNN experiment shows, and from which results."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from hil.reproduce.experiment import Picture
from hil.reproduce.mod_dnn_channels import CHANNELS
from hil.reproduce.mod_dnn_data import SHOWN_DEG, bound_over_field_deg
from hil.reproduce.mod_dnn_figures import (
    Curves,
    draw_ablations,
    draw_bars,
    draw_boxes,
    draw_cdf,
    draw_convergence,
    draw_curves,
    draw_responses,
    draw_spectra,
)
from hil.reproduce.mod_dnn_rows import METHODS, OURS, SNRS, Found, Key, mean_of, methods_of, values
from hil.reproduce.mod_dnn_tables import autoencoders, rho_curve
from hil.reproduce.mod_dnn_variants import VARIANTS

_BOXED = ("music", "dbf", "bias", "lut", "deep-music", "cnn", "mod-dnn")
_BARRED = ("music", "bias", "lut", "deep-music", "cnn", "mod-dnn")
_ABLATED_SNRS = ("10", "20", "30")


def pictures(found: Found, results: dict[str, dict[str, Any]]) -> tuple[Picture, ...]:
    """All pictures with something to show."""
    out = [
        *_snr(found), *_rho(found), *_cdf(found), *_boxes(found), *_convergence(found), *_responses(found, results),
        *_spectra(found, results), *_channels(found), *_parking(found), *_ablations(found),
    ]  # fmt: skip
    return tuple(out)


def _by_snr(found: Found, protocol: str, part: str, quantity: str) -> Curves:
    out: Curves = {}
    for method in methods_of(found, protocol):
        points = [(float(s), mean_of(found, Key(protocol, method), part, s, quantity)) for s in SNRS]
        known = [(s, v) for s, v in points if v is not None]
        if known:
            out[method] = ([s for s, _ in known], [v for _, v in known])
    return out


def _snr(found: Found) -> list[Picture]:
    rmse, ratio = (_by_snr(found, "simulated", "snr", q) for q in ("rmse", "ratio"))
    held = _by_snr(found, "held-out", "held_out", "ratio")
    if not rmse:
        return []
    near = {m: c for m, c in ratio.items() if max(c[1]) < 4}
    panels = [("RMSE (degrees)", "random angles", rmse), ("RMSE / bound", "random angles, enlarged", near)]
    if held:
        panels.append(
            ("RMSE / bound", "angles never recorded", {m: c for m, c in held.items() if max(c[1]) < 4})
        )
    bound = ([float(s) for s in SNRS], [bound_over_field_deg(float(s)) for s in SNRS])
    return [
        Picture("snr", "RMSE against SNR (Fig. 4f)", partial(draw_curves, panels=panels, bound=bound, along="SNR (dB)"),
                "MUSIC, DBF and coarray DBF lie on each other: with one source they have the same maximum.", (11.0, 4.8))
    ]  # fmt: skip


def _rho(found: Found) -> list[Picture]:
    curves: Curves = {}
    for method in METHODS:
        points = rho_curve(found, method)
        if len(points) > 1:
            curves[method] = ([x for x, _ in points], [y for _, y in points])
    if not curves:
        return []
    rhos = [float(x) for x in np.linspace(0, 1, 11)]
    bound = (rhos, [bound_over_field_deg(20.0, x) for x in rhos])
    panels = [("RMSE (degrees)", "20 dB", curves)]
    return [
        Picture("rho", "RMSE against the strength of the impairment (Fig. 4g)",
                partial(draw_curves, panels=panels, bound=bound, along="rho"), size=(7.0, 4.6))
    ]  # fmt: skip


def _cdf(found: Found) -> list[Picture]:
    panels = []
    for protocol, part, words in (
        ("chamber", "chamber", "the angles recorded"),
        ("held-out", "held_out_distribution", "angles never recorded"),
    ):
        curves = {
            m: r[part]["cdf"]
            for m in methods_of(found, protocol)
            for r in found[Key(protocol, m)][:1]
            if part in r
        }
        if curves:
            panels.append((words, curves))
    if not panels:
        return []
    return [
        Picture("cdf", "Distribution of |error|, chamber-like data at 25 dB (Fig. 5b)", partial(draw_cdf, panels=panels),
                "Dotted: the 80th percentile. First training seed.", (10.0, 4.8))
    ]  # fmt: skip


def _boxes(found: Found) -> list[Picture]:
    out = []
    for protocol, title in (
        ("chamber", "|error| by sector, chamber-like data at 25 dB (Fig. 5c)"),
        ("parking", "|error| by sector, hall with coherent echoes (Fig. 5f)"),
    ):
        boxes = {
            m: r[protocol]["boxes"]
            for m in _BOXED
            for r in found.get(Key(protocol, m), [])[:1]
            if protocol in r
        }
        if boxes:
            out.append(
                Picture(f"boxes-{protocol}", title, partial(draw_boxes, boxes=boxes),
                        "Boxes: quartiles and median. Whiskers: the least, and the largest within Q3 + 1.5 IQR.", (9.5, 4.8))
            )  # fmt: skip
    return out


def _convergence(found: Found) -> list[Picture]:
    curves = {
        m: r["epochs"] for m in METHODS for r in found.get(Key("simulated", m), [])[:1] if r.get("epochs")
    }
    if not curves:
        return []
    return [
        Picture("convergence", "Convergence of the training (Fig. 4h)", partial(draw_convergence, curves=curves),
                "Thirty equal parts of each training. The last part is what the SD is taken about, so that the curves end low by "
                "construction. MoD-DNN's labels narrow during the first 60 %, which its loss shows.")
    ]  # fmt: skip


def _responses(found: Found, results: dict[str, dict[str, Any]]) -> list[Picture]:
    known = autoencoders(found, results)
    if not known:
        return []
    return [
        Picture("autoencoder", "Responses of Autoencoder I and II against the angle, 10 dB (Fig. 4a-d)",
                partial(draw_responses, autoencoders=known),
                "The phase response is a coherence, by its definition (33).", (10.0, 3.2 * len(known)))
    ]  # fmt: skip


def _spectra(found: Found, results: dict[str, dict[str, Any]]) -> list[Picture]:
    model = next((c["spectra"] for c in results.values() if "spectra" in c), None)
    if model is None:
        return []
    networks = {
        m: r["spectra"]
        for m in ("deep-music", OURS)
        for r in found.get(Key("simulated", m), [])[:1]
        if "spectra" in r
    }
    return [
        Picture("spectra", "Spectra at -45, -15, 15 and 45 degrees, 20 dB (Fig. 1c and 4e)",
                partial(draw_spectra, shown_deg=SHOWN_DEG, model=model, networks=networks),
                "Above: without learning. The algorithm as printed diverges: its peak has nothing to do with the source. Below: MUSIC "
                "and the networks. Dotted: the true angle.", (12.0, 6.0))
    ]  # fmt: skip


def _channels(found: Found) -> list[Picture]:
    groups: dict[str, dict[str, float]] = {}
    for name in CHANNELS:
        for method in _BARRED:
            rmse = mean_of(found, Key("simulated", method), "channels", name, "rmse")
            if rmse is not None:
                groups.setdefault(name, {})[method] = rmse
    if not groups:
        return []
    return [
        Picture("channels", "RMSE in stand-ins for the channels of TR 38.901, 25 dB (Fig. 4i)",
                partial(draw_bars, groups=groups, label="RMSE (degrees)"), size=(8.5, 4.6))
    ]  # fmt: skip


def _parking(found: Found) -> list[Picture]:
    curves = {
        m: r["parking"]["cdf"] for m in methods_of(found, "parking") for r in found[Key("parking", m)][:1]
    }
    if not curves:
        return []
    return [
        Picture("parking", "Distribution of |error| in a hall with coherent echoes (Fig. 5e)",
                partial(draw_cdf, panels=[("positions held out", curves)]), "Dotted: the 80th percentile.", (7.5, 5.0))
    ]  # fmt: skip


def _ablations(found: Found) -> list[Picture]:
    ratios = {}
    for variant, words in VARIANTS.items():
        each = [values(found, Key("few", OURS, variant), "snr", s, "ratio") for s in _ABLATED_SNRS]
        if all(each):
            steps = found[Key("few", OURS, variant)][0]["steps"]
            ratios[f"{words.partition(':')[0]} ({steps} steps)"] = [float(np.mean(v)) for v in each]
    if not ratios:
        return []
    return [
        Picture("ablations", "MoD-DNN with one part changed", partial(draw_ablations, ratios=ratios, snrs=_ABLATED_SNRS),
                size=(8.5, 4.8))
    ]  # fmt: skip
