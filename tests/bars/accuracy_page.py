"""Tables of docs/accuracy.md: each lives between its own two markers and is replaced by its script."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "accuracy.md"


def insert_table(name: str, markdown: str, page: Path = PAGE) -> None:
    """Replace what stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, or append such a section."""
    text = page.read_text(encoding="utf-8") if page.exists() else "# Accuracy\n"
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    stamp = datetime.now(UTC).date().isoformat()
    block = f"{begin}\n{markdown}\n\nMade on {stamp} by `tests/bars`.\n{end}"
    if begin in text:
        text = re.sub(re.escape(begin) + ".*?" + re.escape(end), lambda _: block, text, flags=re.S)
    else:
        text += f"\n## {name}\n\n{block}\n"
    page.write_text(text, encoding="utf-8")
