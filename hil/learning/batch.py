"""Learning from a batch of covariances, and what its result amounts to: a calibration or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from calib.registry import get_method
from calib.result import GaugeRequest, LearnResult, Prior, Progress
from hil.core.calibration import Calibration, Validity
from hil.core.errors import ConfigError, NotConverged, NotIdentifiable
from hil.core.frame import StreamInfo
from hil.core.geometry import ArrayGeometry
from hil.core.units import SPEED_OF_LIGHT_M_S
from hil.learning.observe import CovarianceBatch
from hil.learning.settings import LearnSettings

_NOT_CONVERGED_HINT = "let the emitter show more directions, capture longer, or check --sources and --array"
_NOT_CONVERGED_HINTS = {
    "pilot": "check the labels against each other and the array, or add known directions",
    "weiss-friedlander": "it needs exact positions and small phase errors: --method cold-start needs neither",
    "gain-phase-isac": "give more blocks, or check --array and the sectors of the targets",
    "differentiable-omp": "the receivers' gains must be known in this epoch: learn them first, --method cold-start (or "
    "gain-phase-isac where the positions are right), and give that file: --calibration gains.h5",
}


def require_learnable(settings: LearnSettings, n_elements: int) -> None:
    """Refuse before anything is captured what no data can change. Raises ConfigError."""
    if settings.anchor_elevations_deg and settings.method != "planar-2d":
        raise ConfigError(
            f"{settings.method} learns one angle per source: an anchor has no elevation here", where="--anchor",
            hint="--method planar-2d learns azimuth and elevation of a planar array",
        )  # fmt: skip
    if n_elements < 3:
        raise ConfigError(
            f"learning needs at least 3 elements, this array has {n_elements}",
            hint="use a board with more channels, or several: iio:ip:A,ip:B",
        )
    if settings.n_sources is not None and settings.n_sources >= n_elements:
        raise ConfigError(
            f"{settings.n_sources} sources: {n_elements} elements separate 1 to {n_elements - 1}",
            where="--sources", hint="name those that send at the same time, or auto",
        )  # fmt: skip


def learn_batch(
    batch: CovarianceBatch,
    geometry: ArrayGeometry,
    fc_hz: float,
    settings: LearnSettings,
    *,
    time_limit_s: float = 20.0,
    progress: Callable[[Progress], None] | None = None,
    method: Callable[..., LearnResult] | None = None,
) -> LearnResult:
    """Learn from covariances with the method that the settings name, or with `method` (a race, labels).

    Raises
    ------
    NotIdentifiable : the data cannot determine the array. ConfigError, ShapeError : settings do not fit.
    """
    from calib.observations import Observations

    wavelength_m = SPEED_OF_LIGHT_M_S / fc_hz
    gauge = GaugeRequest(
        settings.gauge_kind(line=geometry.kind == "line"), settings.support_deg, settings.anchors_deg,
        rotations=settings.rotations, anchor_elevations_deg=settings.anchor_elevations_deg,
    )  # fmt: skip
    prior = Prior(settings.position_std_wavelengths * wavelength_m)
    observations = Observations(batch.covariance, batch.n_snapshots, batch.time_s - batch.time_s[0])
    return (method or get_method(settings.method))(
        observations, geometry, fc_hz, settings.n_sources, gauge,
        prior=prior, seed=settings.seed, time_limit_s=time_limit_s, progress=progress,
    )  # fmt: skip


def to_calibration(
    result: LearnResult,
    stream: StreamInfo,
    settings: LearnSettings,
    *,
    captures: Sequence[str] = (),
    metrics: Mapping[str, float] | None = None,
) -> Calibration:
    """The calibration that a searched result amounts to, bound to the stream's device, carrier and epoch."""
    if stream.geometry is None:
        raise ConfigError(
            "the array is not known", where="--array", hint="give --array ula:8:0.5 or a TOML file"
        )
    half_hz = stream.fs_hz / 2
    return Calibration(
        geometry=stream.geometry,
        impairments=result.impairments,
        sigma=result.sigma,
        gauge=result.gauge,
        fc_hz=stream.fc_hz,
        valid=Validity(stream.fc_hz - half_hz, stream.fc_hz + half_hz, stream.gains_db),
        method=settings.method,
        epoch=stream.epoch,
        coherent_groups=stream.device.coherent_groups,
        device_model=stream.device.model,
        device_serial=stream.device.serial,
        settings=settings.as_dict(),
        config_hash=settings.hash(),
        seed=settings.seed,
        captures=tuple(captures),
        score=result.score,
        predicted_score=result.predicted_score,
        # angles taken from the truth show what a method could reach; nobody may use them
        converged=result.converged and result.gauge.kind != "oracle",
        lit_deg=result.lit_deg,
        metrics=dict(metrics or {}),
        created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def require_good(
    result: LearnResult, settings: LearnSettings, calibration: Calibration | None = None
) -> None:
    """Raise what exit code 4 stands for, if the result is not good enough to use.

    Raises
    ------
    NotConverged : the label-free verdict failed.
    NotIdentifiable : the absolute angles rest on an assumption that leaves more than the limit open.
    """
    if not result.converged:
        raise NotConverged(
            f"not converged: {result.reason or 'the null is not as deep as noise alone allows'}",
            best=calibration,
            hint=_NOT_CONVERGED_HINTS.get(settings.method, _NOT_CONVERGED_HINT),
        )
    if result.gauge.kind == "oracle":
        raise NotIdentifiable(
            "gauge oracle: the absolute angles were taken from the truth, for diagnosis only",
            parameters=["angle offset", "angle scale"],
            hint="learn with --support, --anchor or --rotations",
        )
    sigma_deg = result.gauge.angle_sigma_deg
    if not sigma_deg <= settings.angle_sigma_limit_deg:
        assumption = result.gauge.assumes or "nothing is known about the absolute angles"
        hint = "give --support A:B, --anchor DEG or --rotations F, or let the emitter show more directions"
        if settings.method == "planar-2d":
            hint = (
                "give known directions: --anchor AZIMUTH/ELEVATION, three of them where positions are learned"
            )
        elif settings.method == "gain-phase-isac":
            hint = "give --support A:B (targets spread evenly over their sectors) or --anchor DEG"
        elif settings.method == "differentiable-omp":
            hint = "give --support A:B (targets fill it evenly up to its edges), or --anchor DEG far from broadside"
        if settings.rotations and result.notes:
            hint = "; ".join(n for n in result.notes if n.startswith(("turn ", "add ", "the turns "))) or hint
        raise NotIdentifiable(
            f"absolute angles are open by {sigma_deg:.2g} degrees (limit {settings.angle_sigma_limit_deg:g}): {assumption}",
            parameters=["angle offset", "angle scale"],
            hint=hint,
        )
