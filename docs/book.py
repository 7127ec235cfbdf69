"""What mkdocs calls while it builds the book: two of its pages are made from the source."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from docs import messages, reference

MADE = {"reference.md": reference.page, "messages.md": messages.page}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Add what is made from the source below what is written by hand."""
    make = MADE.get(page.file.src_uri)
    return f"{markdown}\n\n{make()}" if make else markdown
