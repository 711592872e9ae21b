"""A report as one HTML page: no reference to outside, no script, white in dark browsers, A4 in print."""

from __future__ import annotations

from html import escape

from hil.reporting import plots
from hil.reporting.document import Block, Bullets, Document, Heading, Paragraph, Picture, Table, Verdict

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light}
html{background:#fff}
body{font:16px/1.5 system-ui,"Segoe UI","DejaVu Sans",sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .2rem}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;padding-bottom:.15rem;border-bottom:2px solid #0b6bb8}
h3{font-size:1rem;margin:1.4rem 0 .3rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;min-width:50%}
th,td{padding:.25rem .7rem;text-align:right;vertical-align:top;border-bottom:1px solid #dcdcdc}
th{background:#f2f5f8;vertical-align:bottom}
td{white-space:nowrap}.text td{white-space:normal}
th:first-child,td:first-child,.text th,.text td{text-align:left}
.text{width:100%}.text td{overflow-wrap:anywhere}.text td:first-child{width:24%;color:#444}
figure{margin:1.2rem 0}img{max-width:100%;height:auto;display:block}
figcaption,.small{color:#4a4a4a;font-size:.9rem}
.verdict{font-size:1.08rem;padding:.8rem 1rem;border-left:.5rem solid}
.good{border-color:#1a7f37;background:#eefaf1}.bad{border-color:#b42318;background:#fdf0ee}
.open{border-color:#7f7f7f;background:#f4f4f4}
footer{margin-top:2.5rem;padding-top:.5rem;border-top:1px solid #dcdcdc;color:#4a4a4a;font-size:.85rem}
@page{size:A4;margin:16mm 15mm}
@media print{
body{font-size:9.5pt;line-height:1.4;max-width:none;margin:0;padding:0}
table{font-size:8.5pt}th,td{padding:.15rem .45rem}figcaption,.small{font-size:8.5pt}.verdict{font-size:10pt}
h2{margin-top:1.3rem}figure{margin:.7rem 0}footer{display:none}
h2,h3{break-after:avoid}
figure,tr,.verdict,.whole{break-inside:avoid}thead{display:table-header-group}p,li{orphans:3;widows:3}
.scroll{overflow:visible}img{max-height:230mm}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""
_MOST_ROWS_KEPT = 24  # a longer table may go on on the next page
_STATE = {True: "good", False: "bad", None: "open"}


def to_html(document: Document) -> str:
    """The page as text."""
    body = "\n".join(_block(block) for block in document.blocks)
    title = escape(document.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<style>{_STYLE}</style></head><body><main><header><h1>{title}</h1><p class="small">{escape(document.subtitle)}</p>'
        f"</header>\n{body}\n</main><footer>{escape(document.footer)}</footer></body></html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Heading(text, minor):
            level = "h3" if minor else "h2"
            return f"<{level}>{escape(text)}</{level}>"
        case Paragraph(text, small):
            return f"<p{_class('small', small)}>{escape(text)}</p>"
        case Verdict(text, good):
            return f'<p class="verdict {_STATE[good]}">{escape(text)}</p>'
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
        case Table():
            return _table(block)
        case Picture(figure, caption, alt):
            source = plots.data_uri(figure)
            return (
                f'<figure><img alt="{escape(alt or caption)}" src="{source}">'
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in table.rows)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    kind = "scroll whole" if len(table.rows) <= _MOST_ROWS_KEPT else "scroll"
    return f'<div class="{kind}"><table{_class("text", table.text)}>{top}<tbody>{rows}</tbody></table></div>'


def _class(name: str, wanted: bool) -> str:
    return f' class="{name}"' if wanted else ""
