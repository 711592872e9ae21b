"""What a calibration holds, as JSON and for people."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from hil.cli.info import print_fields
from hil.cli.output import emit
from hil.core.calibration import Calibration

WhichArgument = Annotated[
    str, typer.Argument(metavar="CAL", help="Calibration file, or (the beginning of) an id in the store.")
]


def find(text: str) -> Calibration:
    """A calibration by file or by id in the store. Raises CalibrationError."""
    from hil.export import read
    from hil.store import Store

    if Path(text).exists() or "." in text or "/" in text:
        return read(Path(text))
    return Store().get(text)


def show_fields(
    found: dict[str, Any],
    json: str | None,
    readable: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> None:
    """JSON as it is; for people, the elements' rows as `readable` makes them."""
    emit(json, found)
    if json != "-":
        print_fields(
            found if readable is None else found | {"elements": [readable(e) for e in found["elements"]]}
        )


def describe_calibration(c: Calibration) -> dict[str, Any]:
    """The JSON object of a calibration."""
    imp = c.impairments
    elements = [
        {
            "element": m,
            "label": c.geometry.labels[m],
            "gain_db": 20 * math.log10(abs(imp.gain[m])),
            "sigma_gain_db": float(c.sigma.gain_db[m]),
            "phase_deg": float(np.degrees(np.angle(imp.gain[m]))),
            "sigma_phase_deg": float(c.sigma.phase_deg[m]),
            "position_error_m": imp.position_error_m[m].tolist(),
            "sigma_position_m": c.sigma.position_m[m].tolist(),
            "delay_s": float(imp.delay_s[m]),
            "sigma_delay_s": float(c.sigma.delay_s[m]),
            "delay_ps": 1e12 * float(imp.delay_s[m]),
            "sigma_delay_ps": 1e12 * float(c.sigma.delay_s[m]),
            "iq_image_db": decibel(abs(imp.iq_image[m])),
            "sigma_iq_image_db": _level_sigma_db(imp.iq_image[m], c.sigma.iq_image, m),
            "dc_dbfs": decibel(abs(imp.dc_offset[m])),
            "sigma_dc_db": _level_sigma_db(imp.dc_offset[m], c.sigma.dc_offset, m),
        }
        for m in range(imp.n_elements)
    ]
    response = imp.frequency_response
    coupling = imp.coupling - np.eye(imp.n_elements)
    return {
        "id": c.id,
        "method": c.method,
        "converged": c.converged,
        "score": c.score,
        "predicted_score": c.predicted_score,
        "device_model": c.device_model,
        "device_serial": c.device_serial,
        "epoch": None if c.epoch is None else c.epoch.id,
        "fc_hz": c.fc_hz,
        "valid_hz": [c.valid.fc_min_hz, c.valid.fc_max_hz],
        "gains_db": c.valid.gains_db,
        "created_utc": c.created_utc,
        "expires_utc": c.valid.expires_utc,
        "gain_convention": c.gain_convention,
        "reference_element": c.reference_element,
        "gauge": c.gauge.kind,
        "assumes": c.gauge.assumes,
        "angle_sigma_deg": c.gauge.angle_sigma_deg,
        "coupling_max_db": 20 * math.log10(top) if (top := float(np.max(np.abs(coupling)))) else None,
        "angle_table": imp.angle_table_deg is not None,
        "frequency_response_max_db": None
        if response is None
        else float(np.max(np.abs(20 * np.log10(np.abs(response))))),
        "stale_reason": c.stale_reason,
        "captures": list(c.captures),
        "metrics": c.metrics,
        "n_elements": imp.n_elements,
        "elements": elements,
    }


def with_sigmas(element: dict[str, Any]) -> dict[str, Any]:
    """An element of `describe_calibration` for people: each value with its standard deviation."""
    e = element
    return {
        "element": e["element"],
        "label": e["label"],
        "gain / dB": _measured(e["gain_db"], e["sigma_gain_db"], 3),
        "phase / degrees": _measured(e["phase_deg"], e["sigma_phase_deg"], 3),
        "position error / mm": " ".join(
            _measured(1e3 * v, 1e3 * s, 3) for v, s in zip(e["position_error_m"], e["sigma_position_m"], strict=True)
        ),
        "delay / ps": _measured(e["delay_ps"], e["sigma_delay_ps"], 1),
        "IQ image / dB": _measured(e["iq_image_db"], e["sigma_iq_image_db"], 2),
        "DC / dBFS": _measured(e["dc_dbfs"], e["sigma_dc_db"], 2),
    }  # fmt: skip


def with_changes(element: dict[str, Any]) -> dict[str, Any]:
    """An element of `hil calib diff` for people: each change with its standard deviation."""
    e = element
    return {
        "element": e["element"],
        "gain / dB": _measured(e["gain_change_db"], e["sigma_gain_db"], 3),
        "phase / degrees": _measured(e["phase_change_deg"], e["sigma_phase_deg"], 3),
        "position / mm": " ".join(
            _measured(1e3 * v, 1e3 * s, 3) for v, s in zip(e["position_change_m"], e["sigma_position_m"], strict=True)
        ),
        "delay / ps": _measured(e["delay_change_ps"], e["sigma_delay_ps"], 1),
        "IQ image / dB": _measured(e["iq_image_change_db"], None, 2),
        "DC / dBFS": _measured(e["dc_change_dbfs"], None, 2),
    }  # fmt: skip


def _measured(value: float | None, sigma: float | None, digits: int) -> str:
    if value is None:
        return "-"
    text = f"{value + 0.0:.{digits}f}"
    return f"{text} ± {sigma:.2g}" if sigma is not None and math.isfinite(sigma) and sigma > 0 else text


def decibel(ratio: float) -> float | None:
    """20 log10, None for nothing."""
    return 20 * math.log10(ratio) if ratio > 0 else None


def _level_sigma_db(value: complex, sigma: NDArray[np.float64] | None, m: int) -> float | None:
    """One sigma of the level in dB, from that of the real and of the imaginary part; None where not learned."""
    if sigma is None or not abs(value) > 0:
        return None
    return 20 / math.log(10) * float(sigma[m]) / abs(value)
