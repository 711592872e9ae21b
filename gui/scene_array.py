"""The array of a simulated source, which knows its own."""

from __future__ import annotations

from hil.core.geometry import ArrayGeometry


def scene_array(uri: str) -> ArrayGeometry:
    """The array that the scene of `sim:` states. uri : sim:[FILE][?WORDS]. Raises ConfigError."""
    from hil.jobs.demo import scene_geometry
    from sim_backend.scene import load_scene

    return scene_geometry(load_scene(uri.removeprefix("sim:").split("?")[0] or None))
