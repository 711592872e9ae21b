"""A report as PDF on A4, by ReportLab; texts in the font that comes with matplotlib, which has all signs that are used."""

from __future__ import annotations

import functools
import io
from html import escape
from pathlib import Path
from typing import Any

from hil.reporting.document import Block, Bullets, Document, Heading, Paragraph, Picture, Table, Verdict

_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_MARGIN_MM = 15.0
_FRAME_PADDING = 6.0  # points, of ReportLab's page template
_LONGEST_CELL = 1500  # characters; a longer one may go on on the next page
_MOST_ROWS_KEPT = 24  # a longer table may go on on the next page
_INK, _PALE, _LINE, _ACCENT = "#1b1b1b", "#4a4a4a", "#dcdcdc", "#0b6bb8"
_STATE = {True: ("#1a7f37", "#eefaf1"), False: ("#b42318", "#fdf0ee"), None: ("#7f7f7f", "#f4f4f4")}


def to_pdf(document: Document) -> bytes:
    """The file as bytes."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate, Spacer

    _register_fonts()
    styles = _styles()
    buffer = io.BytesIO()
    template = SimpleDocTemplate(
        buffer, pagesize=A4, leftMargin=_MARGIN_MM * mm, rightMargin=_MARGIN_MM * mm, topMargin=_MARGIN_MM * mm,
        bottomMargin=(_MARGIN_MM + 6) * mm, title=document.title, subject=document.subtitle, author="hil", lang="en",
    )  # fmt: skip
    width = float(template.width) - 2 * _FRAME_PADDING
    story: list[Any] = [
        _text(document.title, styles["title"]),
        _text(document.subtitle, styles["small"]),
        Spacer(1, 2 * mm),
    ]
    headings: list[Any] = []
    for block in document.blocks:
        flow = _flow(block, styles, width)
        if isinstance(block, Heading):
            headings += flow
        else:
            story += _together([*headings, *flow], block)
            headings = []

    def foot(canvas: Any, template: Any) -> None:
        canvas.saveState()
        canvas.setFont(_FONT, 7)
        canvas.setFillColor(_colour(_PALE))
        at = _MARGIN_MM * mm
        canvas.drawString(at + _FRAME_PADDING, at, document.footer[:110])
        canvas.drawRightString(at + _FRAME_PADDING + width, at, f"page {template.page}")
        canvas.restoreState()

    template.build(story, onFirstPage=foot, onLaterPages=foot)
    return buffer.getvalue()


def _colour(text: str) -> Any:
    from reportlab.lib.colors import HexColor

    return HexColor(text)


@functools.cache
def _register_fonts() -> None:
    from matplotlib import get_data_path
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    fonts = Path(get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        pdfmetrics.registerFont(TTFont(name, fonts / f"{name}.ttf"))


def _styles() -> dict[str, Any]:
    from reportlab.lib.styles import ParagraphStyle

    body = ParagraphStyle(
        "body", fontName=_FONT, fontSize=8.8, leading=12.6, textColor=_colour(_INK), spaceAfter=4
    )
    cell = ParagraphStyle("cell", body, fontSize=7.6, leading=10, spaceAfter=0)
    return {
        "body": body,
        "title": ParagraphStyle("title", body, fontName=_BOLD, fontSize=17, leading=21, spaceAfter=3),
        "heading": ParagraphStyle("heading", body, fontName=_BOLD, fontSize=11.5, leading=15, spaceBefore=11,
                                  spaceAfter=5),
        "minor": ParagraphStyle("minor", body, fontName=_BOLD, fontSize=9, spaceBefore=6, spaceAfter=3),
        "small": ParagraphStyle("small", body, fontSize=7.6, leading=10.4, textColor=_colour(_PALE)),
        "verdict": ParagraphStyle("verdict", body, fontSize=9.4, leading=13.4, spaceAfter=0),
        "bullet": ParagraphStyle("bullet", body, leftIndent=12, bulletIndent=2, spaceAfter=2.5),
        "left": cell,
        "right": ParagraphStyle("right", cell, alignment=2),
        "head-left": ParagraphStyle("head-left", cell, fontName=_BOLD),
        "head-right": ParagraphStyle("head-right", cell, fontName=_BOLD, alignment=2),
    }  # fmt: skip


def _text(text: str, style: Any, bullet: str | None = None) -> Any:
    from reportlab.platypus import Paragraph as Flowing

    return Flowing(escape(text, quote=False), style, bulletText=bullet)


def _flow(block: Block, styles: dict[str, Any], width: float) -> list[Any]:
    from reportlab.platypus import HRFlowable

    match block:
        case Heading(text, minor):
            if minor:
                return [_text(text, styles["minor"])]
            line = HRFlowable(width="100%", thickness=1, color=_colour(_ACCENT), spaceBefore=0, spaceAfter=4)
            return [_text(text, styles["heading"]), line]
        case Paragraph(text, small):
            return [_text(text, styles["small" if small else "body"])]
        case Verdict(text, good):
            return [_verdict(text, good, styles, width)]
        case Bullets(items):
            return [_text(item, styles["bullet"], "\u2022") for item in items]
        case Table():
            return [_table(block, styles, width)]
        case Picture(figure, caption):
            return [_image(figure, width), _text(caption, styles["small"])]


def _together(flow: list[Any], block: Block) -> list[Any]:
    """Headings with what follows; a table that fits a page is not cut."""
    from reportlab.platypus import CondPageBreak, KeepTogether

    longest = max((len(c) for r in block.rows for c in r), default=0) if isinstance(block, Table) else 0
    if isinstance(block, Table) and (len(block.rows) > _MOST_ROWS_KEPT or longest > _LONGEST_CELL):
        return [CondPageBreak(120), *flow]
    return flow if isinstance(block, Bullets) and len(flow) > _MOST_ROWS_KEPT else [KeepTogether(flow)]


def _image(figure: Any, width: float) -> Any:
    from reportlab.platypus import Image

    from hil.reporting import plots

    inches = figure.get_size_inches()
    height = width * inches[1] / inches[0]
    return Image(io.BytesIO(plots.png(figure)), width=width, height=height)


def _verdict(text: str, good: bool | None, styles: dict[str, Any], width: float) -> Any:
    from reportlab.platypus import Table as Grid

    edge, ground = map(_colour, _STATE[good])
    return Grid(
        [[_text(text, styles["verdict"])]], colWidths=[width], spaceBefore=3, spaceAfter=6,
        style=[("BACKGROUND", (0, 0), (-1, -1), ground), ("LINEBEFORE", (0, 0), (0, -1), 5, edge),
               ("LEFTPADDING", (0, 0), (-1, -1), 12), ("TOPPADDING", (0, 0), (-1, -1), 7),
               ("BOTTOMPADDING", (0, 0), (-1, -1), 8)],
    )  # fmt: skip


def _table(table: Table, styles: dict[str, Any], width: float) -> Any:
    from reportlab.platypus import Table as Grid

    def row(cells: Any, kind: str) -> list[Any]:
        side = ["left" if table.text or i == 0 else "right" for i in range(len(cells))]
        return [_text(c, styles[kind + s]) for c, s in zip(cells, side, strict=True)]

    n = len(table.columns) or len(table.rows[0])
    shares = list(table.widths) or ([0.24, *[0.76 / (n - 1)] * (n - 1)] if n > 1 else [1.0])
    cells = ([row(table.columns, "head-")] if table.columns else []) + [row(r, "") for r in table.rows]
    style = [("LINEBELOW", (0, 0), (-1, -1), 0.4, _colour(_LINE)), ("VALIGN", (0, 0), (-1, -1), "TOP"),
             ("TOPPADDING", (0, 0), (-1, -1), 2.2), ("BOTTOMPADDING", (0, 0), (-1, -1), 2.8),
             ("LEFTPADDING", (0, 0), (-1, -1), 4), ("RIGHTPADDING", (0, 0), (-1, -1), 4)]  # fmt: skip
    if table.columns:
        style += [("BACKGROUND", (0, 0), (-1, 0), _colour("#f2f5f8")), ("VALIGN", (0, 0), (-1, 0), "BOTTOM")]
    return Grid(
        cells, colWidths=[width * s / sum(shares) for s in shares], repeatRows=1 if table.columns else 0,
        splitInRow=int(any(len(c) > _LONGEST_CELL for r in table.rows for c in r)),
        spaceBefore=2, spaceAfter=6, style=style,
    )  # fmt: skip
