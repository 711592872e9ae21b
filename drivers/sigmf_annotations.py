"""Annotations of SigMF recordings: what was noticed about samples while they were recorded.

They stand in the metadata of a recording that was closed, and in the journal, with absolute indices, of one that
was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Key of a journal line that is an annotation and not a segment.
JOURNAL_KEY = "hil:annotation"
_MOST = 100_000
_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something noticed about samples of a recording.

    Attributes
    ----------
    start, n : first sample in the file and number of samples (0: a moment), per channel.
    label, comment : texts. keys : the object as it is in the file; `hil:` keys are described in docs/files.md.
    """

    start: int
    n: int
    label: str
    comment: str
    keys: Mapping[str, Any] = field(default_factory=dict, repr=False)


def place_of(starts: Sequence[tuple[int, int]], n_samples: int, index: int) -> int:
    """Place in the file of an absolute sample index.

    starts : (place in the file, absolute index) of each segment's first sample. What lies before the recording,
    in a gap or behind its end is put at the nearest sample that is there.
    """
    for k in range(len(starts) - 1, -1, -1):
        start, first = starts[k]
        if index >= first or k == 0:
            end = starts[k + 1][0] if k + 1 < len(starts) else n_samples
            return int(min(max(start + index - first, start), end))
    return 0


def read_annotations(objects: Sequence[Any], n_samples: int) -> tuple[Annotation, ...]:
    """Annotations of a metadata file, in order. One that cannot be used is left out: the samples count more."""
    found = []
    for item in objects[:_MOST]:
        if not isinstance(item, Mapping):
            continue
        start, count = item.get("core:sample_start"), item.get("core:sample_count", 0)
        if type(start) is not int or type(count) is not int or not 0 <= start <= n_samples or count < 0:
            continue
        label, comment = item.get("core:label", ""), item.get("core:comment", "")
        if isinstance(label, str) and isinstance(comment, str):
            count = min(count, n_samples - start)
            found.append(Annotation(start, count, label[:_LONGEST_TEXT], comment[:_LONGEST_TEXT], item))
    return tuple(sorted(found, key=lambda a: a.start))


def journal_annotations(
    objects: Sequence[Any], starts: Sequence[tuple[int, int]], n_samples: int
) -> tuple[Annotation, ...]:
    """Annotations of a journal: `hil:first_sample`, `hil:last_sample` are absolute indices."""
    placed = []
    for item in objects:
        first = item.get("hil:first_sample") if isinstance(item, Mapping) else None
        last = item.get("hil:last_sample", first) if isinstance(item, Mapping) else None
        if type(first) is int and type(last) is int and starts and n_samples:
            start, end = place_of(starts, n_samples, first), place_of(starts, n_samples, last)
            placed.append({**item, "core:sample_start": start, "core:sample_count": max(end - start, 0)})
    return read_annotations(placed, n_samples)
