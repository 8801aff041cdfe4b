"""What a run with a float model shows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: The files of the float model in the folder of a run.
FLOAT, INT8 = "model_float32.tflite", "model_int8.tflite"

#: Titles of `rows`.
HEADER = ("network", "accuracy", "bytes", "an image takes", "file, and what ran it")


@dataclass(frozen=True)
class Beside:
    """One row of the comparison.

    Attributes:
        name: What it is.
        accuracy: Share of the validation images that it recognizes; `None` where it was not run.
        bytes: Size of its file; `None` without one.
        median_ms: Time of an image on this machine, on one thread; `None` where it was not run.
        note: What ran it, or why nothing did.
    """

    name: str
    accuracy: float | None
    bytes: int | None
    median_ms: float | None
    note: str


def rows(beside: Sequence[Beside]) -> list[tuple[str, ...]]:
    """The rows of the table, for a person."""
    return [
        (
            one.name,
            "" if one.accuracy is None else f"{100 * one.accuracy:.2f} %",
            "" if one.bytes is None else f"{one.bytes:,}",
            "" if one.median_ms is None else f"{one.median_ms:.3f} ms",
            one.note,
        )
        for one in beside
    ]
