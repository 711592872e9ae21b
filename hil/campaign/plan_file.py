"""A campaign in one TOML file: what is connected, and the plan. `hil sweep --plan F`; also kept in the folder."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hil.campaign.plan import Plan, parse_angles
from hil.core.errors import ConfigError

NAME = "campaign.toml"
_MOST_BYTES = 4 << 20
_TEXTS = ("device", "positioner", "array")
_NUMBERS = ("fc_hz", "fs_hz")


@dataclass(frozen=True, slots=True)
class CampaignFile:
    """plan : what to do. device, positioner : URIs; array : as `--array`; fc_hz, fs_hz, gain_db : settings of the
    receiver. None: not said here."""

    plan: Plan
    device: str | None = None
    positioner: str | None = None
    array: str | None = None
    fc_hz: float | None = None
    fs_hz: float | None = None
    gain_db: float | tuple[float, ...] | None = None

    def to_toml(self) -> str:
        """The file as text; `parse_campaign` of it gives an equal one."""
        lines = ["# a turntable campaign: hil sweep --plan FILE --out FOLDER"]
        top = {name: getattr(self, name) for name in (*_TEXTS, *_NUMBERS, "gain_db")}
        lines += [f"{key} = {_value(value)}" for key, value in top.items() if value is not None]
        lines += ["", "[plan]", f"angles = {_value(self.plan.angles_deg)}"]
        for key in _plan_keys():
            value = getattr(self.plan, _field(key))
            if value is not None:
                lines.append(f"{key} = {_value(value)}")
        return "\n".join(lines) + "\n"


def load_campaign(path: Path) -> CampaignFile:
    """Read and check a file. Raises ConfigError that names file, key and what is allowed."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror or err}", where="--plan") from err
    if len(data) > _MOST_BYTES:
        raise ConfigError(f"{path} is longer than {_MOST_BYTES >> 20} MB", where="--plan")
    try:
        return parse_campaign(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 text", where="--plan") from err


def parse_campaign(text: str, where: str = "campaign") -> CampaignFile:
    """From TOML text. Raises ConfigError."""
    try:
        top = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as err:
        raise ConfigError(f"not TOML: {err}", where=where) from err
    _known(top, (*_TEXTS, *_NUMBERS, "gain_db", "plan"), where)
    table = top.get("plan")
    if not isinstance(table, dict):
        raise ConfigError("has no table [plan]", where=where, hint='at least: [plan] angles = "-60:60:1"')
    return CampaignFile(
        plan=_plan(table, f"{where}, [plan]"),
        **{key: _typed(top, key, str, where) for key in _TEXTS},
        **{key: _typed(top, key, float, where) for key in _NUMBERS},
        gain_db=_gain(top, where),
    )


def _plan(table: Mapping[str, Any], where: str) -> Plan:
    _known(table, ("angles", *_plan_keys()), where)
    angles = table.get("angles")
    if isinstance(angles, str):
        found = parse_angles(angles, f"{where}: angles")
    else:
        found = _floats(angles, f"{where}: angles")
    types = {f.name: str(f.type) for f in fields(Plan)}
    given: dict[str, Any] = {}
    for key in _plan_keys():
        if key not in table:
            continue
        kind = types[_field(key)]
        if kind.startswith("tuple"):
            given[_field(key)] = _floats(table[key], f"{where}: {key}")
        else:
            given[_field(key)] = _typed(
                table, key, float if "float" in kind else int if "int" in kind else str, where
            )
    try:
        return Plan(found, **given)
    except ConfigError as err:
        raise ConfigError(str(err).removeprefix("plan: "), where=where, hint=err.hint) from None


def _plan_keys() -> tuple[str, ...]:
    return tuple("emitters" if f.name == "emitters_deg" else f.name for f in fields(Plan))[1:]


def _field(key: str) -> str:
    return "emitters_deg" if key == "emitters" else key


def _gain(top: Mapping[str, Any], where: str) -> float | tuple[float, ...] | None:
    value = top.get("gain_db")
    return (
        _floats(value, f"{where}: gain_db")
        if isinstance(value, list)
        else _typed(top, "gain_db", float, where)
    )


def _floats(value: Any, where: str) -> tuple[float, ...]:
    numbers = value if isinstance(value, list) else None
    if numbers is None or any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        raise ConfigError("must be a list of numbers", where=where, hint="for example [-30.0, 0.0, 30.0]")
    return tuple(float(v) for v in numbers)


def _typed(table: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = table.get(key)
    if value is None:
        return None
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {float: "a number", int: "a whole number", str: "a text"}[kind]
        raise ConfigError(f"{key} must be {words}", where=where)
    return value


def _known(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            raise ConfigError(
                f"unknown key {key!r}", where=where,
                hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}",
            )  # fmt: skip


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
