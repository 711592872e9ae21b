"""SigMF annotations: what was noticed about the samples of a recording while it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from drivers.sigmf_annotations import place_of

#: More are not kept: a recording with a fault in every block says so without them.
MOST_ANNOTATIONS = 2000
_LONGEST_LABEL = 20  # SigMF 1.2.5, annotations


def annotation(
    first_sample: int, last_sample: int, label: str, comment: str, keys: Mapping[str, Any]
) -> dict[str, Any]:
    """Annotations object for samples first_sample..last_sample (absolute indices), not yet placed in the file."""
    own = {
        key.replace("hil_", "hil:", 1): None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in keys.items()
    }
    return {
        "core:label": label[:_LONGEST_LABEL],
        "core:comment": comment,
        "core:generator": "coherent-array-hil health",
        "hil:first_sample": int(first_sample),
        "hil:last_sample": int(last_sample),
        **own,
    }


def placed(
    annotations: Sequence[Mapping[str, Any]], segments: Sequence[Mapping[str, Any]], n_samples: int
) -> list[dict[str, Any]]:
    """The annotations with their places in the file, in order; none if nothing is recorded."""
    starts = [(s["core:sample_start"], s["core:global_index"]) for s in segments]
    out = []
    for item in annotations if starts and n_samples else ():
        start, end = (place_of(starts, n_samples, item[f"hil:{which}_sample"]) for which in ("first", "last"))
        out.append({"core:sample_start": start, "core:sample_count": max(end - start, 0), **item})
    return sorted(out, key=lambda a: a["core:sample_start"])
