"""What is meant to be written, for comparison with the file that was written, and why."""

from __future__ import annotations

from dataclasses import dataclass


class LoweringError(ValueError):
    """A layer cannot be converted as it was meant to be; the message names it and the remedy."""


@dataclass(frozen=True)
class Reason:
    """Why a layer is not binary in the file, and what to do if it should be."""

    reason: str
    remedy: str


NO_REASON = Reason("", "")


@dataclass(frozen=True)
class Unsupported(Reason):
    """Why a layer that should be binary cannot be, with the error that says so."""

    message: str


@dataclass(frozen=True)
class PlannedOperator:
    """An operator that the conversion means to write.

    `binary` says that it computes with binary values, however the target stores them; `quantization` is
    scale, zero point and type of what it writes.
    """

    layer: str
    operator: str
    output: str
    dtype: str
    shape: tuple[int, ...]
    constant_bytes: int
    binary: bool
    reason: Reason
    quantization: tuple[float, int, str] | None = None
