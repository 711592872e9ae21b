"""A race of methods in the place of one method: the winner's result, offered and not applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from calib.csi import ChannelResponses
from calib.observations import Observations
from calib.race import RaceResult, race
from calib.result import GaugeRequest, LearnOptions, LearnResult
from hil.core.errors import NotIdentifiable
from hil.core.geometry import ArrayGeometry


@dataclass(slots=True)
class RaceTeacher:
    """Callable with the signature of a method; `outcome` is the race once it was run.

    methods : names, None: all that the data allow. csi : channel responses of the same blocks, or None.
    """

    methods: Sequence[str] | None = None
    csi: ChannelResponses | None = None
    outcome: RaceResult | None = None

    @property
    def name(self) -> str:
        """Of the winner, else of the best; "race" before it was run."""
        best = self.outcome.best if self.outcome is not None else None
        return best.method if best is not None else "race"

    def __call__(
        self,
        obs: Observations,
        geometry: ArrayGeometry,
        fc_hz: float,
        n_sources: int | None,
        gauge: GaugeRequest,
        **options: Unpack[LearnOptions],
    ) -> LearnResult:
        """The winner's result, or the best one that did not converge.

        Raises NotIdentifiable if no method gave any, or the blocks are too few.
        """
        self.outcome = race(
            obs, geometry, fc_hz, n_sources, gauge, methods=self.methods, csi=self.csi, **options
        )
        best = self.outcome.best
        if best is None or best.result is None:
            raise NotIdentifiable(
                self.outcome.offer, parameters=["gain", "phase", "position"],
                hint="let the emitter show more directions, or name one method to see its own hint",
            )  # fmt: skip
        result = best.result
        result.converged, result.reason = best.converged, best.reason
        result.notes.append(self.outcome.offer)
        return result
