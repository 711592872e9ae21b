"""Swapped ports: is every port connected to the place that the geometry states? Gains and phases are unknown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calib.diagnose.finding import Finding
from calib.diagnose.fitted import FittedArray, fit_array
from calib.diagnose.port_order import (
    PortOrder,
    expected_coherence,
    likely_orders,
    order_from_positions,
    triple_coherence,
)
from calib.layout import layout_of
from calib.observations import Observations
from calib.result import Prior
from hil.core.errors import CalibrationError
from hil.core.geometry import ArrayGeometry

_CANDIDATES = 5
#: A position error that explains a swap by itself is not taken for one.
_SURE = np.log(100.0)


@dataclass(frozen=True, slots=True)
class PortReport:
    """order : place of every port, None if no order explains the data. fitted : the array found. tried : orders."""

    finding: Finding
    order: PortOrder | None
    fitted: FittedArray | None
    tried: int


def diagnose_ports(
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    n_sources: int | None,
    *,
    support_deg: tuple[float, float] = (-60.0, 60.0),
    position_std_m: float | None = None,
    seed: int = 0,
    time_limit_s: float = 6.0,
) -> PortReport:
    """Learn the array in the stated order and, if that does not fit, in the orders that the data suggest.

    obs : covariances of blocks, channels in the stated order. support_deg : where the emitters roughly are
    (lines; ranks the orders only). time_limit_s : of each search. Orders that differ by the array's own symmetry
    (mirror image of a line, rotation of a circle) cannot be told apart.

    Raises NotIdentifiable if nothing moves, NotConverged if the blocks are unusable.
    """
    layout = layout_of(obs, geometry, fc_hz, Prior(position_std_m))
    std = max(layout.position_std, 0.02)
    wavelengths = (geometry.positions_m - geometry.positions_m.mean(axis=0)) / layout.wavelength_m
    nominal = wavelengths[:, : layout.nominal.shape[1]]
    options = {"position_std_m": std * layout.wavelength_m, "seed": seed, "time_limit_s": time_limit_s}
    stated = tuple(range(len(nominal)))
    angles = np.deg2rad(np.linspace(*support_deg, 61) if layout.is_line else np.arange(-180, 180, 5.0))
    orders = likely_orders(
        triple_coherence(_blocks(obs)),
        expected_coherence(nominal, std, angles),
        nominal,
        _CANDIDATES,
        seed=seed,
    )
    # a stated order that the statistic does not doubt is tried first, else last
    candidates = [place for place, _ in orders if place != stated]
    doubted = orders[0][0] != stated and dict(orders)[stated] > 1.5 * orders[0][1]
    candidates = [*candidates, stated] if doubted else [stated, *candidates]
    for tried, place in enumerate(candidates, 1):
        there = replace(geometry, positions_m=geometry.positions_m[list(place)])
        try:
            fitted = fit_array(obs, there, fc_hz, n_sources, **options)
        except CalibrationError:
            if place == stated:
                raise
            continue
        if fitted.fits:
            learned = np.empty_like(nominal)
            learned[fitted.layout.order] = fitted.fit.model.r
            order = order_from_positions(learned, nominal, std)
            return PortReport(_words(order, geometry), order, fitted, tried)
    finding = Finding(
        "no-fit", True, f"no array fits the data in any of {len(candidates)} orders of the ports",
        "check --sources, multipath and dead channels first", float("nan"),
    )  # fmt: skip
    return PortReport(finding, None, None, len(candidates))


def _blocks(obs: Observations) -> NDArray[np.complex128]:
    return obs.covariance[:: max(1, obs.n_blocks // 600)]


def _words(order: PortOrder, geometry: ArrayGeometry) -> Finding:
    confidence = float(1 / (1 + np.exp(-min(order.log_ratio, 500.0))))
    symmetry = "the mirror image" if geometry.kind == "line" else "a rotation or mirror image of the array"
    if not order.moved or order.log_ratio < _SURE:
        doubt = f" (ports {_ports(order.moved)} lie unusually close together)" if order.moved else ""
        return Finding(
            "swapped-ports", False, f"the ports are in the stated order, up to {symmetry}{doubt}", "",
            confidence if not order.moved else 1 - confidence,
        )  # fmt: skip
    labels = f"up to {symmetry}, " + "; ".join(
        f"port {i} is at the place of {geometry.labels[order.place[i]]}" for i in order.moved
    )
    return Finding(
        "swapped-ports", True, f"ports are exchanged: {labels}",
        "change the cables, or write ports = "
        f"{np.argsort(np.array(order.place)).tolist()} for elements in the stated order into the array file",
        confidence, order.moved,
    )  # fmt: skip


def _ports(ports: tuple[int, ...]) -> str:
    return ", ".join(str(p) for p in ports)
