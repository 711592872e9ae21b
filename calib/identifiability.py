"""What the data seen so far, or a planned experiment, can show about an array, and what they cannot.

The Fisher information of the array's parameters, with all angles, powers and noise levels unknown, is split by its
singular values: directions without information are named (the gauge), badly seen ones as well, and the rest
gives the smallest standard deviation that any unbiased method can reach (Cramer-Rao bound).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calib.fisher.array import TWO_PI, ArrayPoint, Unknowns
from calib.fisher.gauge import Direction, known_changes, name_direction, name_null_space
from calib.fisher.information import Information, Looks, SourceModel, information
from calib.fisher.looks import (
    angles_rad,
    constrained,
    default_unknowns,
    kind_of,
    looks_at,
    looks_of_result,
    plan_looks,
    point_of,
)
from calib.fisher.next_angle import next_angle
from calib.fisher.report import Identifiability
from calib.fisher.words import describe_null_space, describe_weak, is_convention, mirror_note
from calib.observations import Observations
from calib.result import GaugeRequest, LearnResult
from hil.core.calibration import Sigma
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S

_DB_PER_NEPER = 20 / np.log(10)
#: One sigma of this many radians rms per element costs 1e-3 of manifold correlation: the limit of a silent failure.
WEAK_SIGMA_RAD = 0.045
WEAK_RELATIVE = 0.03
_FIELD_DEG = {"line": (-60.0, 60.0), "planar": (-180.0, 180.0), "volume": (-180.0, 180.0)}


def identify(
    point: ArrayPoint,
    unknowns: Unknowns,
    looks: Looks,
    *,
    wavelength_m: float = 1.0,
    source_model: SourceModel = "correlated",
    field_deg: tuple[float, float] | None = None,
    position_std_wavelengths: float = 0.1,
    assumptions: tuple[str, ...] = (),
) -> Identifiability:
    """Null space, bounds and best next look for blocks at an array.

    Parameters
    ----------
    point : the array at which everything is linearised: the learned one, or a guess. unknowns : its unknown
        parameters. looks : the blocks (`calib.fisher.looks` makes them). source_model : see `information`.
    field_deg : directions that could be looked at next; default -60..60 on a line, else all round.
    position_std_wavelengths : spread of position errors, only used to compare next angles.

    Raises
    ------
    ShapeError : as many sources as elements or more.
    """
    seen = information(point, unknowns, looks, source_model)
    _, values, vt = np.linalg.svd(seen.factor)
    # zero up to rounding: eps, the size of the sums, and what the whitening of a block amplifies
    rows = looks.n_blocks * point.n_elements**2
    floor = values[0] * np.finfo(float).eps * max(np.sqrt(rows), len(values)) * np.sqrt(seen.conditioning)
    rank = int(np.sum(values > 4 * floor))
    null = vt[rank:].T
    known = known_changes(point, unknowns)
    named = tuple(name_null_space(null, known, point, unknowns))
    scaled = vt[:rank] / values[:rank, None]
    covariance = scaled.T @ scaled
    weak = tuple(_weak(vt[:rank], values, null, known, point, unknowns))
    crb_known, crb_learned = _angle_bounds(seen, looks, covariance)
    line = point.kind == "line"
    ahead, ahead_deg = _candidates(point, looks, unknowns, field_deg or _FIELD_DEG[point.kind])
    options: dict[str, Any] = {
        "position_std_wavelengths": position_std_wavelengths, "source_model": source_model,
    }  # fmt: skip
    best = next_angle(point, unknowns, seen, ahead, ahead_deg, **options)
    best_known = None
    if any(not is_convention(d) for d in named):
        at_known = Looks(
            ahead.direction, ahead.tangent, ahead.per_coordinate_rad, ahead.source_covariance, ahead.noise,
            ahead.n_snapshots, np.zeros_like(ahead.known_sigma_rad), ahead.emitter,
        )  # fmt: skip
        best_known = next_angle(point, unknowns, seen, at_known, ahead_deg, **options)
    single = bool(np.ptp(looks.direction, axis=0).max() < 1e-9)
    return Identifiability(
        unknowns=unknowns,
        null=named,
        weak=weak,
        singular_values=values,
        null_space=tuple(describe_null_space(named, point, unknowns, single_look=single)),
        weak_words=tuple(describe_weak(d) for d in weak),
        notes=tuple(n for n in (mirror_note(named, point),) if n),
        covariance=covariance,
        sigma=_sigma(covariance, unknowns, point.n_elements, wavelength_m),
        coupling_sigma=_coupling_sigma(covariance, unknowns, point.n_elements),
        angle_deg=np.rad2deg(angles_rad(looks, line=line)),
        crb_known_deg=crb_known,
        crb_learned_deg=crb_learned,
        next_angle=best,
        next_known_angle=best_known,
        assumptions=assumptions,
        n_snapshots=looks.n_snapshots,
    )


def identify_result(
    result: LearnResult,
    obs: Observations,
    geometry: ArrayGeometry,
    fc_hz: float,
    *,
    unknowns: Unknowns | None = None,
    gauge: GaugeRequest | None = None,
    position_std_wavelengths: float = 0.1,
) -> Identifiability:
    """What the blocks of a finished learning run can show, at the array and the angles that were learned.

    unknowns : default what the learner learns. gauge : what may be assumed about absolute angles besides.

    Raises
    ------
    ShapeError, NotIdentifiable : see `looks_of_result`.
    """
    free = position_std_wavelengths > 0
    unknowns = unknowns or default_unknowns(geometry, free_positions=free)
    point, looks, blocks = looks_of_result(result, obs, geometry, fc_hz)
    looks, words = _result_constraints(result, obs, blocks, looks, geometry, gauge)
    return identify(
        point, unknowns, looks, wavelength_m=SPEED_OF_LIGHT_M_S / fc_hz, field_deg=_field(gauge),
        position_std_wavelengths=position_std_wavelengths or 0.1, assumptions=tuple(words),
    )  # fmt: skip


def identify_plan(
    geometry: ArrayGeometry,
    fc_hz: float,
    angles_deg: list[float],
    *,
    n_sources: int = 1,
    elevations_deg: list[float] | None = None,
    blocks_per_angle: int = 1,
    snr_db: float = 20.0,
    n_snapshots: int = 256,
    turntable: bool = False,
    unknowns: Unknowns | None = None,
    gauge: GaugeRequest | None = None,
    position_std_wavelengths: float = 0.1,
) -> Identifiability:
    """What a planned experiment will be able to show, at the nominal array; see `calib.fisher.looks.plan_looks`.

    Raises ConfigError for angles that the array cannot tell apart.
    """
    free = position_std_wavelengths > 0
    unknowns = unknowns or default_unknowns(
        geometry, free_positions=free, elevation=elevations_deg is not None
    )
    # free heights of a plane act through the third direction cosine
    kind = "volume" if unknowns.positions == "xyz" else kind_of(geometry)
    looks = plan_looks(
        geometry, angles_deg, n_sources=n_sources, elevations_deg=elevations_deg, blocks_per_angle=blocks_per_angle,
        snr_db=snr_db, n_snapshots=n_snapshots, turntable=turntable, kind=kind,
    )  # fmt: skip
    looks, words = constrained(looks, gauge, line=geometry.kind == "line")
    words.insert(0, f"the nominal array, {snr_db:g} dB per element")
    if turntable:
        words.append("one standing source; the table's steps are known, its absolute angle is not")
    return identify(
        point_of(geometry, fc_hz), unknowns, looks, wavelength_m=SPEED_OF_LIGHT_M_S / fc_hz, field_deg=_field(gauge),
        position_std_wavelengths=position_std_wavelengths or 0.1, assumptions=tuple(words),
    )  # fmt: skip


def _result_constraints(
    result: LearnResult,
    obs: Observations,
    blocks: NDArray[np.intp],
    looks: Looks,
    geometry: ArrayGeometry,
    gauge: GaugeRequest | None,
) -> tuple[Looks, list[str]]:
    time_s = None if obs.time_s is None else obs.time_s[blocks]
    open_deg = 3 * result.gauge.angle_sigma_deg if np.isfinite(result.gauge.angle_sigma_deg) else 0.0
    return constrained(
        looks, gauge, line=geometry.kind == "line", n_angles=result.n_angles or None, time_s=time_s,
        within_deg=float(np.clip(open_deg, 0.1, 2.0)),
    )  # fmt: skip


def _field(gauge: GaugeRequest | None) -> tuple[float, float] | None:
    return gauge.support_deg if gauge is not None else None


def _weak(
    directions: NDArray[np.float64],
    values: NDArray[np.float64],
    null: NDArray[np.float64],
    known: list[Any],
    point: ArrayPoint,
    unknowns: Unknowns,
) -> list[Direction]:
    out = []
    for vector, value in zip(directions[::-1], values[: len(directions)][::-1], strict=True):
        relative = float(value / values[0])
        sigma = float(1 / value / np.sqrt(point.n_elements))
        if sigma < WEAK_SIGMA_RAD and relative > WEAK_RELATIVE:
            break
        name, parameters = name_direction(vector, null, known, point, unknowns)
        out.append(Direction(name, vector, sigma, relative, parameters))
    return out


def _angle_bounds(
    seen: Information, looks: Looks, covariance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B, K, Q) degrees, array known and array learned."""
    b, k, q = looks.per_coordinate_rad.shape
    unit = looks.per_coordinate_rad.reshape(b, k * q)
    own = seen.angle.copy()
    sigma = looks.known_sigma_rad.reshape(b, k * q)
    each = np.arange(k * q)
    own[:, each, each] += np.where(np.isfinite(sigma), (unit / np.maximum(sigma, 1e-9)) ** 2, 0.0)
    inverse = np.linalg.pinv(own, hermitian=True)
    blind = np.linalg.norm(np.eye(k * q) - own @ inverse, axis=1) > 1e-6
    through = inverse @ seen.cross
    joint = inverse + through @ covariance @ through.transpose(0, 2, 1)
    diagonal = np.arange(k * q)
    out = []
    for matrix in (inverse, joint):
        variance = np.where(blind, np.inf, matrix[:, diagonal, diagonal])
        out.append(np.rad2deg(np.sqrt(variance) * unit).reshape(b, k, q))
    return out[0], out[1]


def _candidates(
    point: ArrayPoint, looks: Looks, unknowns: Unknowns, field_deg: tuple[float, float]
) -> tuple[Looks, NDArray[np.float64]]:
    """One-source blocks over the field of view, as strong as the typical source seen."""
    strength = np.einsum("bkk->bk", looks.source_covariance).real / looks.noise[:, None]
    low, high = np.clip(field_deg, -85, 85) if point.kind == "line" else field_deg
    degrees = np.linspace(low, high, 1 + max(24, int(np.ceil((high - low) / 2.5))))
    if high - low >= 360:
        degrees = degrees[:-1]
    azimuth = np.deg2rad(degrees)[:, None]
    elevation = np.full_like(azimuth, np.deg2rad(20.0)) if unknowns.elevation else None
    ahead = looks_at(
        azimuth, elevation, kind="volume" if unknowns.positions == "xyz" else point.kind,
        power=float(np.median(strength)), n_snapshots=looks.n_snapshots,
    )  # fmt: skip
    return ahead, degrees


def _sigma(covariance: NDArray[np.float64], unknowns: Unknowns, n: int, wavelength_m: float) -> Sigma:
    groups = unknowns.groups(n)
    centring = np.eye(n) - 1 / n
    reference = np.eye(n) - np.eye(n)[:1]

    def spread(name: str, change: NDArray[np.float64]) -> NDArray[np.float64]:
        if name not in groups:
            return np.full(n, np.nan)
        block = covariance[np.ix_(groups[name], groups[name])]
        return np.sqrt(np.maximum(np.diag(change @ block @ change.T), 0.0))

    position = np.column_stack([spread(axis, centring) for axis in "xyz"]) * wavelength_m / TWO_PI
    return Sigma(
        spread("gain", centring) * _DB_PER_NEPER,
        np.rad2deg(spread("phase", reference)),
        np.where(np.isnan(position), 0.0, position),
        np.full(n, np.nan),
    )


def _coupling_sigma(covariance: NDArray[np.float64], unknowns: Unknowns, n: int) -> NDArray[np.float64]:
    columns = unknowns.groups(n).get("coupling")
    if columns is None:
        return np.empty(0)
    variance = np.diag(covariance)[columns]
    return np.sqrt(variance[: len(columns) // 2] + variance[len(columns) // 2 :])
