"""Turns the formulas of the documentation, `$…$` and `$$…$$`, into MathML: a hook of MkDocs.

Browsers draw MathML by themselves, so that the pages need no script and no network. GitHub reads the same
formulas. `pymdownx.arithmatex` finds them and marks what it found; here the marks become mathematics.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

_MARKED = re.compile(
    r'<(span|div) class="arithmatex">\\(?:\(|\[)\s*(.*?)\s*\\(?:\)|\])\s*</\1>', re.DOTALL
)


def on_page_content(content: str, **kwargs: Any) -> str:
    """Called by MkDocs with the HTML of every page.

    Raises:
        ValueError: If a formula has a command that is not known, or is left over.
    """
    done = _MARKED.sub(_formula, content)
    if 'class="arithmatex"' in done:
        raise ValueError(f"Expected every formula to be turned into MathML. Received: {done}")
    return done


def _formula(found: re.Match[str]) -> str:
    element, latex = found[1], html.unescape(found[2])
    result = convert(latex, display="block" if element == "div" else "inline")
    # A command or an alignment mark that is not known is passed on as text.
    if re.search(r"\\|&(?!#?\w+;)", result):
        raise ValueError(f"Expected LaTeX that latex2mathml knows. Received: {latex}")
    return f'<div class="formula">{result}</div>' if element == "div" else result
