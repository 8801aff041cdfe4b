"""What a comparison of a file with its model found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, repr=False)
class Difference:
    """Where two models first decide differently: the sample, the output, and both outputs there."""

    sample: int
    output: int
    expected: np.ndarray
    received: np.ndarray

    def __repr__(self) -> str:
        return f"<Difference in sample {self.sample}, output {self.output}>"


@dataclass(frozen=True, repr=False)
class Verification:
    """What `verify` found. It is true where no decision differs, or no more than were allowed to.

    Attributes:
        samples: Number of samples compared.
        differing_decisions: Number of samples with a decision (class, or sign of a single output) that
            differs in any output.
        differing_outputs: Number of output values that are not equal bit for bit.
        largest_difference: Largest absolute difference of two output values.
        first_difference: The first `Difference` in a decision, or `None`.
        first_differing_layer: Name of the first layer that differs on that sample, where there is one
            and the file has a tensor of its name.
        rounding_operators: Number of operators of the file that round values to int8.
        required_agreement: The share of samples on which decisions have to be equal.
        runtime: What ran the file, such as "LiteRT, one-bit kernels, avx512".
        notes: Why values may differ though no layer is wrong: the model computes in float16, say.
    """

    samples: int
    differing_decisions: int
    differing_outputs: int
    largest_difference: float
    first_difference: Difference | None
    first_differing_layer: str | None = None
    rounding_operators: int = 0
    required_agreement: float = 1.0
    runtime: str = ""
    notes: tuple[str, ...] = ()

    @property
    def agreement(self) -> float:
        """The share of the samples on which every decision is equal."""
        return 1 - self.differing_decisions / self.samples

    def __bool__(self) -> bool:
        return self.agreement >= self.required_agreement

    def __repr__(self) -> str:
        return (
            f"<Verification of {self.samples} samples: {self.differing_decisions} decisions and "
            f"{self.differing_outputs} output values differ; {self.runtime}>"
        )

    def __str__(self) -> str:
        text = (
            f"{self.samples} samples: {self.differing_decisions} decisions differ; "
            f"{self.differing_outputs} output values differ, by at most {self.largest_difference:.3g}"
        )
        if self.runtime:
            text += f"\nthe file ran in {self.runtime}"
        if self.rounding_operators or self.required_agreement < 1:
            count = self.rounding_operators
            rounding = f"{count} operators round to int8; " if count else ""
            text += (
                f"\n{rounding}decisions agree on {100 * self.agreement:.4g} % of the samples, "
                f"{100 * self.required_agreement:.4g} % required"
            )
        first = self.first_difference
        if first is not None:
            text += (
                f"\nfirst difference: sample {first.sample}, output {first.output}\n"
                f"  expected {np.array2string(first.expected, precision=6)}\n"
                f"  received {np.array2string(first.received, precision=6)}"
            )
        if self.first_differing_layer is not None:
            text += f"\nfirst layer that differs: {self.first_differing_layer}"
        return "\n".join([text, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain lists, strings and numbers."""
        found = {**asdict(self), "agreement": self.agreement, "notes": list(self.notes)}
        first = self.first_difference
        if first is not None:
            found["first_difference"]["expected"] = first.expected.tolist()
            found["first_difference"]["received"] = first.received.tolist()
        return found
