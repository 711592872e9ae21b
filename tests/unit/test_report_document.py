"""One document as HTML and as PDF."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from hil.reporting import plots
from hil.reporting.document import Bullets, Document, Heading, Paragraph, Picture, Table, Verdict
from hil.reporting.html import to_html
from hil.reporting.pdf import to_pdf

_NASTY = '<script>alert("x")</script> & \u00b5 \u2212 \u03bb \u00e9 \u2264'


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def document(rows: int = 3) -> Document:
    figure = plots.new_figure(4, 2)
    figure.add_subplot().plot([0, 1], [1, 0])
    blocks = [
        Table((), [("device", _NASTY)], text=True), Verdict(_NASTY, True), Verdict("no", False), Verdict("open", None),
        Heading("Section"), Picture(figure, f"caption {_NASTY}", "a falling line"), Heading("Part", minor=True),
        Table(("a", "b / \u00b0"), [(f"row {i}", f"{i}") for i in range(rows)]), Paragraph(_NASTY), Paragraph("note", small=True),
        Heading("List"), Bullets(["one", _NASTY * 40]), Heading("Hash"), Table(("name", "hash"), [("x", "f" * 128)], text=True),
    ]  # fmt: skip
    return Document(f"Title {_NASTY}", "subtitle", blocks, "footer")


def test_page_is_self_contained_without_script_and_every_picture_has_words() -> None:
    text = to_html(document())
    page = _Page()
    page.feed(text)
    names = [tag for tag, _ in page.tags]
    assert "script" not in names
    assert "link" not in names
    assert not re.search(r"https?://|url\(|@import|\son\w+=", text)
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 1
    assert pictures[0]["alt"] == "a falling line"
    assert (pictures[0]["src"] or "").startswith("data:image/png;base64,")
    assert "default-src 'none'" in text


def test_page_prints_white_on_a4_with_heads_repeated() -> None:
    text = to_html(document())
    for rule in (
        "color-scheme:light",
        "size:A4",
        "break-inside:avoid",
        "table-header-group",
        "background:#fff",
    ):
        assert rule in text
    assert text.count("<thead>") == 2


def pages_of(data: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", data))


def test_pdf_has_the_title_embedded_fonts_and_pages() -> None:
    data = to_pdf(document())
    assert data.startswith(b"%PDF-")
    assert b"/FontFile2" in data
    assert b"DejaVuSans" in data
    assert 1 <= pages_of(data) <= 3


def test_a_long_table_goes_on_over_pages() -> None:
    assert pages_of(to_pdf(document(rows=300))) >= 5


@pytest.mark.parametrize("rows", [1, 24, 25])
def test_tables_of_any_length_fit(rows: int) -> None:
    to_pdf(document(rows))


def test_a_cell_longer_than_a_page_does_not_stop_the_pdf() -> None:
    table = Table(("reason", "which"), [("why", ", ".join(f"{i}" for i in range(6000)))], text=True)
    assert pages_of(to_pdf(Document("t", "s", [Heading("h"), table]))) >= 2
