"""What a report consists of, free of any file format: hil.reporting.html and hil.reporting.pdf write the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a section, or a part of one if `minor`."""

    text: str
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text. small : a note."""

    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer in one sentence. good : None if nothing was judged."""

    text: str
    good: bool | None


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is left-aligned, and all columns if `text`.

    columns : heads, () for none. widths : shares of the page, () for even ones beside a wider first.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: bool = False
    widths: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure. alt : what it shows, for those who cannot see it."""

    figure: Figure
    caption: str
    alt: str = ""


Block = Heading | Paragraph | Verdict | Bullets | Table | Picture


@dataclass(frozen=True, slots=True)
class Document:
    """title, subtitle, and blocks in order. footer : at the foot of every page."""

    title: str
    subtitle: str
    blocks: Sequence[Block]
    footer: str = ""
