"""Why a layer is not written as it was meant to be."""

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
