"""Writes the metadata files of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hil.core.geometry import ArrayGeometry
from hil.recorder.files import write_json
from hil.recorder.metadata import EXTENSIONS, SIGMF_VERSION, element_geometry

_SHARED = ("core:author", "core:description", "core:license")


def write_description(
    path: Path,
    members: Sequence[Path],
    global_keys: Mapping[str, Any],
    segments: list[dict[str, Any]],
    geometry: ArrayGeometry | None,
    hashes: Sequence[str] | None = None,
    annotations: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Replace all metadata files, the collection last: it holds the hashes of its members' metadata.

    Parameters
    ----------
    path : of the recording. members : base names of its data files. hashes : SHA-512 of the data files once the
        recording is complete, "" where there is none; None while it is being made. annotations : of all members.
    """
    collection = path.suffix == ".sigmf-collection"
    final: dict[str, Any] = {} if hashes is None else {"hil:complete": True}
    n_channels = int(global_keys["spatial:num_elements"])
    streams = []
    for i, member in enumerate(members):
        own: dict[str, Any] = {"spatial:channel_index": i}
        own |= {"core:collection": path.stem} if collection else {"core:num_channels": n_channels}
        if hashes is not None and hashes[i]:
            own["core:sha512"] = hashes[i]
        value = {
            "global": {**global_keys, **own, **final},
            "captures": segments,
            "annotations": list(annotations),
        }
        streams.append({"name": member.name, "hash": write_json(Path(f"{member}.sigmf-meta"), value)})
    if collection:
        keys = {
            "core:version": SIGMF_VERSION,
            "core:extensions": EXTENSIONS,
            "core:streams": streams,
            "spatial:element_geometry": element_geometry(geometry, n_channels),
            **{key: value for key, value in global_keys.items() if key in _SHARED},
            **final,
        }
        write_json(path, {"collection": keys})
