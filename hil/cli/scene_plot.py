"""The picture of a scene: array from above with port numbers, emitters and targets, and the angle convention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.core.errors import ConfigError

if TYPE_CHECKING:
    from sim_backend.echo_spec import Target
    from sim_backend.scene import Emitter, Scene

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def draw_scene(scene: Scene, path: Path) -> None:
    """Draw a scene, seen from above, into an image file.

    Raises
    ------
    ConfigError : the file cannot be written, or matplotlib does not know its ending.
    """
    from matplotlib.figure import Figure

    from sim_backend.drawn import element_positions

    figure = Figure(figsize=(7.5, 7.0), layout="constrained")
    axes = figure.add_subplot()
    positions = element_positions(scene) / scene.wavelength_m
    reach = max(1.0, 1.35 * float(np.max(np.linalg.norm(positions[:, :2], axis=1))))
    _array(axes, positions, scene, reach)
    for k, emitter in enumerate(scene.emitters):
        _emitter(axes, emitter, k, reach * (1.3 + 0.16 * k))
    for k, target in enumerate(scene.targets):
        _target(axes, target, k, reach, len(scene.emitters), max(t.range_m for t in scene.targets))
    _convention(axes, reach)
    rings = len(scene.emitters) + 2 * bool(scene.targets)
    limit = reach * (1.75 + 0.16 * max(0, rings - 1))
    all_deg = [d for e in scene.emitters for d in (*e.range_deg, *(p.angle_deg for p in e.paths))]
    all_deg += [d for t in scene.targets for d in t.range_deg]
    flat = np.ptp(positions[:, 1]) < 1e-9 and all(abs(d) <= 95 for d in all_deg)
    axes.set(xlim=(-limit, limit), ylim=(-0.5 * limit if flat else -limit, limit), aspect="equal")
    axes.set(xlabel="x in wavelengths", ylabel="y in wavelengths (boresight, 0°)")
    r = scene.receiver
    axes.set_title(
        f"{scene.n_elements} elements on {scene.n_boards} x {r.board}, {r.fc_hz / 1e9:g} GHz, seen from above",
        fontsize=11,
    )
    if scene.emitters or scene.targets:
        figure.legend(loc="outside lower center", fontsize=8, ncols=2 if rings > 4 else 1)
    axes.grid(alpha=0.2)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as err:
        raise ConfigError(
            f"cannot write the picture: {err}", where=str(path), hint="use a name such as scene.png"
        ) from err


def _array(axes: Any, positions: np.ndarray, scene: Scene, reach: float) -> None:
    ports = scene.array.ports or tuple(range(scene.n_elements))
    c = scene.board.n_channels
    boards = np.array(ports) // c
    for board in sorted(set(boards.tolist())):
        here = positions[boards == board]
        axes.plot(here[:, 0], here[:, 1], "s", color="0.15" if board % 2 == 0 else "0.55", markersize=7)
    every = max(1, scene.n_elements // 32)
    flat = np.ptp(positions[:, 1]) < 1e-9
    for element, port in enumerate(ports):
        if element % every == 0:
            x, y = positions[element, :2]
            outward = np.array([0.0, -1.0]) if flat else np.array([x, y]) / max(np.hypot(x, y), 1e-9)
            axes.annotate(
                f"{port}",
                (x, y),
                textcoords="offset points",
                xytext=14 * outward,
                fontsize=9,
                ha="center",
                va="center",
            )
    axes.text(0, -0.22 * reach, "receiver ports", ha="center", va="center", fontsize=8, color="0.35")


def _direction(angle_deg: np.ndarray | float) -> tuple[Any, Any]:
    """Unit vector in the picture: azimuth counts from +y towards +x."""
    return np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))


def _emitter(axes: Any, emitter: Emitter, k: int, radius: float) -> None:
    colour = _COLOURS[k % len(_COLOURS)]
    low, high = emitter.range_deg
    if high > low:
        x, y = _direction(np.linspace(low, high, 181))
        axes.plot(radius * x, radius * y, color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
        for edge in (low, high):
            x, y = _direction(edge)
            axes.annotate(
                f"{edge:g}°", (radius * x, radius * y), textcoords="offset points", xytext=(16 * x, 16 * y),
                fontsize=8, color=colour, ha="center", va="center",
            )  # fmt: skip
    move = (
        f"hops {low:g}° to {high:g}°"
        if emitter.hop
        else f"tracks {low:g}° to {high:g}°"
        if emitter.track
        else f"{low:g}°"
    )
    name = Path(emitter.file).name or emitter.waveform
    label = f"emitter {k}: {name}, {emitter.power_db:+g} dB, {move}"
    if not emitter.hop:
        x, y = _direction(emitter.angle_deg)
        axes.plot(radius * x, radius * y, "o", color=colour, markersize=9, label=label)
    else:
        axes.plot([], [], color=colour, linewidth=5, alpha=0.35, label=label)
    for path in emitter.paths:
        x, y = _direction(path.angle_deg)
        axes.plot(
            [0.75 * radius * x, radius * x], [0.75 * radius * y, radius * y], "--", color=colour, linewidth=1
        )
        axes.plot(radius * x, radius * y, "o", color=colour, markersize=6, markerfacecolor="white")


def _target(axes: Any, target: Target, k: int, reach: float, n_emitters: int, farthest_m: float) -> None:
    """A target, the nearer the farther in; its range is written, not drawn to the scale of the array."""
    colour = _COLOURS[(n_emitters + k) % len(_COLOURS)]
    radius = reach * (1.3 + 0.16 * n_emitters + 0.3 * target.range_m / farthest_m)
    low, high = target.range_deg
    if high > low:
        x, y = _direction(np.linspace(low, high, 181))
        axes.plot(radius * x, radius * y, color=colour, linewidth=3, alpha=0.35, linestyle=":")
    speed = f", {target.speed_m_s:+g} m/s" if target.speed_m_s else ""
    where = f"{low:g}°" if low == high else f"{low:g}° to {high:g}°"
    hop = target.hop
    far = f"{hop.min_m:g}..{hop.max_m:g} m" if hop and hop.min_m and hop.max_m else f"{target.range_m:g} m"
    label = f"target {k}: {where}, {far}, {target.rcs_db:+g} dB{speed}"
    x, y = _direction((low + high) / 2 if hop else target.angle_deg)
    axes.plot(radius * x, radius * y, "D", color=colour, markersize=0 if hop else 8)
    axes.plot([], [], "D", color=colour, markersize=8, label=label)
    axes.annotate(
        far, (radius * x, radius * y), textcoords="offset points", xytext=(0, -13),
        fontsize=8, color=colour, ha="center", va="center",
    )  # fmt: skip


def _convention(axes: Any, reach: float) -> None:
    """Boresight, and an arrow from 0 to +30 degrees."""
    axes.plot([0, 0], [0, 1.15 * reach], color="0.5", linewidth=0.8, linestyle=":")
    radius = 0.8 * reach
    x, y = _direction(np.linspace(0, 28, 40))
    axes.plot(radius * x, radius * y, color="black", linewidth=1.2)
    tip, before = _direction(30.0), _direction(27.0)
    axes.annotate(
        "", (radius * tip[0], radius * tip[1]), (radius * before[0], radius * before[1]),
        arrowprops={"arrowstyle": "-|>", "color": "black"},
    )  # fmt: skip
    axes.plot([0, radius * tip[0]], [0, radius * tip[1]], color="0.5", linewidth=0.8, linestyle=":")
    x, y = _direction(15.0)
    axes.text(1.08 * radius * x, 1.08 * radius * y, "+30°", ha="center", va="center", fontsize=9)
