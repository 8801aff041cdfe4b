"""What someone meant who misspelt a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a question that names what is nearest to `name`, or nothing.

    Args:
        name: What was written.
        known: The names that there are.

    Returns:
        Text such as ``" Did you mean 'cifar10'?"``, with a space before it, or an empty string.
    """
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
