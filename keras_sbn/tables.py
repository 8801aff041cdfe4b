"""Plain text tables for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]], right: str = "") -> str:
    """Lays out rows under a header, columns two spaces apart.

    Args:
        header: Column titles.
        rows: Cells; they are shown with `str`.
        right: One character a column: "r" aligns it right, anything else left. Short strings are
            filled with left.

    Returns:
        The table without a trailing line break.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    aligned = right.ljust(len(header), "l")

    def line(values: Sequence[str]) -> str:
        shown = [
            value.rjust(width) if side == "r" else value.ljust(width)
            for value, width, side in zip(values, widths, aligned, strict=True)
        ]
        return "  ".join(shown).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *(line(row) for row in cells)])
