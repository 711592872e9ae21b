"""SigMF annotations: what was noticed about the samples of a recording while it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: More are not kept: a recording with a fault in every block says so without them.
MOST_ANNOTATIONS = 2000
_LONGEST_LABEL = 20  # SigMF 1.2.5, annotations


def annotation(
    segments: Sequence[Mapping[str, Any]],
    n_samples: int,
    first_sample: int,
    last_sample: int,
    label: str,
    comment: str,
    keys: Mapping[str, Any],
) -> dict[str, Any] | None:
    """Annotations object for samples first_sample..last_sample (absolute indices); None if nothing is recorded yet.

    What lies before the recording, in a gap or behind its end is put at the nearest sample that is there.
    """
    if not segments or n_samples < 1:
        return None
    start, end = (_place(segments, n_samples, index) for index in (first_sample, last_sample))
    return {
        "core:sample_start": start,
        "core:sample_count": max(end - start, 0),
        "core:label": label[:_LONGEST_LABEL],
        "core:comment": comment,
        "core:generator": "coherent-array-hil health",
        "hil:first_sample": first_sample,
        **keys,
    }


def _place(segments: Sequence[Mapping[str, Any]], n_samples: int, index: int) -> int:
    """Place in the file of an absolute sample index."""
    for k in range(len(segments) - 1, -1, -1):
        here = segments[k]
        if index >= here["core:global_index"] or k == 0:
            end = segments[k + 1]["core:sample_start"] if k + 1 < len(segments) else n_samples
            place = here["core:sample_start"] + index - here["core:global_index"]
            return int(min(max(place, here["core:sample_start"]), end))
    return 0
