"""Scenes for `hil sim serve` from what a test states. Standard library only (see hil.sim_server)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def scene_file(scene: dict[str, Any] | str | Path | None, folder: Path) -> Path | None:
    """Path of a scene file: of a dict or TOML text, written into `folder`; a path as it is; None for the default.

    Raises TypeError for a value that TOML does not have.
    """
    if scene is None or isinstance(scene, Path):
        return scene
    text = scene if isinstance(scene, str) else toml_text(scene)
    count = len(list(folder.glob("scene-*.toml")))
    path = folder / f"scene-{count}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def toml_text(tables: dict[str, Any]) -> str:
    """TOML of a scene: top level values, tables (dict) and arrays of tables (list of dicts)."""
    lines = [f"{key} = {_value(value)}" for key, value in tables.items() if not _is_table(value)]
    for key, value in tables.items():
        if isinstance(value, dict):
            lines += [f"[{key}]", *_entries(value)]
        elif _is_table(value):
            for entry in value:
                lines += [f"[[{key}]]", *_entries(entry)]
    return "\n".join(lines) + "\n"


def _entries(table: dict[str, Any]) -> list[str]:
    return [f"{name} = {_value(item)}" for name, item in table.items()]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(v, dict) for v in value)
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return json.dumps(value)  # a JSON string is a TOML basic string
    if isinstance(value, float):
        return repr(value)
    raise TypeError(f"{value!r}: a scene holds texts, numbers, true and false, lists and tables")
