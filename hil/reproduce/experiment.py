"""What an experiment is: independent cases, and a report made from their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Plan:
    """What the user asked for. seeds : number of random arrays, None = the experiment's own choice."""

    quick: bool = False
    seeds: int | None = None
    with_baselines: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """One independent piece of work of 1 to 30 s, cached by its function and arguments.

    key : safe as a file name, unique in the experiment. function : "hil.reproduce.module:name", called with
    `arguments` (JSON values), returns a dict of JSON values. weight : expected seconds.
    """

    key: str
    function: str
    arguments: dict[str, Any]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Table:
    """Written as NAME.csv and into the page. rows : numbers, words or None (not run)."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Written as NAME.png. draw : fills an empty matplotlib figure of `size` inches."""

    name: str
    title: str
    draw: Callable[[Figure], None]
    note: str = ""
    size: tuple[float, float] = (7.0, 4.2)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the bar. met : None if these cases cannot judge it (too few, or not run)."""

    what: str
    published: str
    ours: str
    bar: str
    met: bool | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a page shows."""

    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict[str, float])


class Experiment(Protocol):
    """A published experiment. source : the paper. intro : Markdown, what is reproduced and how."""

    name: str
    title: str
    source: str
    intro: str

    def cases(self, plan: Plan) -> list[Case]:
        """The work, independent of order."""
        ...

    def report(self, plan: Plan, results: dict[str, dict[str, Any]]) -> Report:
        """Tables, pictures and checks from results by case key; a case that was not run is absent."""
        ...
