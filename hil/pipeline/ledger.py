"""Loss accounting: on every edge produced == delivered + dropped + superseded + in flight, in samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hil.core.errors import CaptureError, ConfigError


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """One consistent look at an edge, in samples (per channel).

    produced : handed to the queue. delivered : taken by the consumer. dropped : lost because the queue was
    full. superseded : replaced by newer ones, by design. in_flight : counted in the queue itself.
    """

    produced: int = 0
    delivered: int = 0
    dropped: int = 0
    superseded: int = 0
    in_flight: int = 0

    @property
    def missing(self) -> int:
        """Samples that are nowhere; 0 unless the accounting is broken."""
        return self.produced - self.delivered - self.dropped - self.superseded - self.in_flight


class Edge(Protocol):
    """A queue that counts: it reads its own counters under its own lock."""

    @property
    def name(self) -> str:
        """For example "reader -> dsp"."""
        ...

    def counts(self) -> EdgeCounts:
        """Counters that belong to one moment."""
        ...


class Ledger:
    """All edges of one session."""

    def __init__(self) -> None:
        self._edges: dict[str, Edge] = {}

    def add(self, edge: Edge) -> None:
        """Register an edge. Raises ConfigError for a name that is taken."""
        if edge.name in self._edges:
            raise ConfigError(f"an edge named {edge.name!r} exists already")
        self._edges[edge.name] = edge

    def counts(self) -> dict[str, EdgeCounts]:
        """Name -> counters, at any time, also while running."""
        return {name: edge.counts() for name, edge in self._edges.items()}

    def check(self) -> dict[str, EdgeCounts]:
        """`counts`, after making sure that no sample is unaccounted for.

        Raises
        ------
        CaptureError : names the first edge whose counters do not add up.
        """
        found = self.counts()
        for name, c in found.items():
            if c.missing or min(c.produced, c.delivered, c.dropped, c.superseded, c.in_flight) < 0:
                raise CaptureError(
                    f"ledger: edge {name!r} does not add up: produced {c.produced}, delivered {c.delivered}, "
                    f"dropped {c.dropped}, superseded {c.superseded}, in flight {c.in_flight}",
                    hint="this is a fault of the program; please report it",
                )
        return found
