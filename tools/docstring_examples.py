"""Turns the examples of docstrings, `Example:` and doctest lines, into sections for mkdocstrings."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe


def as_section(docstring: str) -> str:
    """Returns the docstring with what follows `Example:` indented below `Examples:`."""
    match = re.search(r"^Example:\n+(?=>>>)", docstring, re.MULTILINE)
    if match is None:
        return docstring
    return f"{docstring[: match.start()]}Examples:\n{textwrap.indent(docstring[match.end() :], '    ')}"


class DocstringExamples(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by griffe for every object."""
        if obj.docstring is not None:
            obj.docstring.value = as_section(obj.docstring.value)
