"""Pieces of an HTML page that needs nothing else: tables, and pictures within the page."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222 }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
summary { cursor: pointer } summary h2 { display: inline-block }
p.note { color: #666; margin: .2rem 0 .8rem } img { max-width: min(100%, 50rem); height: auto }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0 }
.figures div { border: 1px solid #ddd; border-radius: 6px; padding: .6rem 1.1rem }
.figures b { display: block; font-size: 1.5rem; font-weight: 600 } .figures span { color: #666 }
.beside { display: flex; flex-wrap: wrap; gap: 2rem; align-items: flex-start }
.beside img { max-width: min(100%, 32rem) }
table { border-collapse: collapse; font-size: .88rem }
th, td { padding: .22rem .7rem; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #bbb; white-space: nowrap } td { border-bottom: 1px solid #eee }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.scroll { overflow-x: auto } .binary { color: #14683b } .float { color: #99531a }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page; `parts` are HTML."""
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f"{head}{view}<style>{STYLE}</style></head><body>" + "\n".join(parts) + "</body></html>\n"


def note(text: str) -> str:
    """A paragraph in grey; `text` is no HTML."""
    return f'<p class="note">{escape(text)}</p>'


def table(header: Sequence[str], rows: Sequence[Sequence[object]], numbers: Collection[int]) -> str:
    """A table; the columns in `numbers` are aligned right."""

    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(
            f'<{tag} class="{_class(index in numbers, str(value))}">{escape(str(value))}</{tag}>'
            for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells(header, "th")}</tr>{body}</table></div>'


def _class(is_number: bool, value: str) -> str:
    if is_number:
        return "n"
    return value if value in ("binary", "float") else ""


def picture(title: str, draw: Any, *arguments: Any, **options: Any) -> str:
    """The picture that `draw(*arguments, path, **options)` writes, in the page itself."""
    with tempfile.TemporaryDirectory() as folder:
        content = draw(*arguments, Path(folder) / "picture.png", **options).read_bytes()
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{escape(title)}" src="data:image/png;base64,{encoded}">'


def size_of(count: int) -> str:
    """A number of bytes for a person."""
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
