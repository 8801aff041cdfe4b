"""Where the pages of the documentation lie: beside the package in a clone, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path


def page(name: str) -> str:
    """Returns the path of a page, for messages that point to it.

    Args:
        name: Its name, such as `"devices"`.

    Raises:
        ValueError: If there is none of that name.
    """
    here = Path(__file__).parent
    for path in (here / "docs" / f"{name}.md", here.parent / "docs" / f"{name}.md"):
        if path.is_file():
            return str(path)
    raise ValueError(f"Expected the name of a page of the documentation. Received: {name!r}")
