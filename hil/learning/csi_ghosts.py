"""Components that are no source of their own: what a channel's uneven response makes of one that moves.

A response that is not flat puts weak copies of a source at neighbouring delays. In each element such a copy follows
the source from block to block, wherever it moves; another source moves in its own way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hil.dsp.angle_delay_looks import Look, Separated

#: Share of its energy beyond noise with which something follows a look over the blocks.
_FOLLOWS = 0.8
_LEAST_BLOCKS = 16


def without_ghosts(
    found: Separated, csi: NDArray[np.complexfloating], frequency_hz: NDArray[np.float64], still: float
) -> Separated:
    """The same with its copies given back to a single look that moves.

    found : of csi (B, M, S) at frequency_hz (S,). still : share from which a look stands still.
    """
    main = found.looks[0] if found.looks else None
    if main is None or main.still > still or found.direct is not None or len(main.values) < _LEAST_BLOCKS:
        return found
    own = csi / found.deviation[:, None] * np.exp(2j * np.pi * frequency_hz * main.delay_s)
    rest = own - found.responses[0]  # all that was taken for something else, of any strength
    if not np.any(rest) or not _follows(rest, main):
        return found
    notes = tuple(n for n in found.notes if not n.startswith("only one target"))
    return replace(found, looks=(main,), responses=own[None], notes=notes)


def _follows(rest: NDArray[np.complex128], main: Look) -> bool:
    """Whether rest (B, M, S) keeps its ratio to the look in every element and subcarrier over the blocks."""
    h = main.values
    cross = np.einsum("bm,bms->ms", h.conj(), rest)
    along = np.sum(np.abs(cross) ** 2 / np.maximum(np.sum(np.abs(h) ** 2, axis=0), 1e-300)[:, None])
    total = float(np.sum(np.abs(rest) ** 2))
    # rest lies in few dimensions over frequency: that much noise is in each of them
    rank = int(np.linalg.matrix_rank(rest[: 2 * _LEAST_BLOCKS].reshape(-1, rest.shape[2]), rtol=1e-6))
    noise = float(rank * h.size)
    return float(along) > _FOLLOWS * (total - noise) > 0
