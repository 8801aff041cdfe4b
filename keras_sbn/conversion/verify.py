"""Does the file compute what the Keras model computes?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.binarize import decisions
from keras_sbn.conversion.converted import ConvertedModel


@dataclass(frozen=True)
class Difference:
    """Where two models first decide differently: the sample, the output, and both outputs there."""

    sample: int
    output: int
    expected: np.ndarray
    received: np.ndarray


@dataclass(frozen=True)
class Verification:
    """What `verify` found. It is true where no decision differs.

    Attributes:
        samples: Number of samples compared.
        differing_decisions: Number of samples with a decision (class, or sign of a single output) that
            differs in any output.
        differing_outputs: Number of output values that are not equal bit for bit.
        largest_difference: Largest absolute difference of two output values.
        first_difference: The first `Difference` in a decision, or `None`.
    """

    samples: int
    differing_decisions: int
    differing_outputs: int
    largest_difference: float
    first_difference: Difference | None

    def __bool__(self) -> bool:
        return self.differing_decisions == 0

    def __str__(self) -> str:
        text = (
            f"{self.samples} samples: {self.differing_decisions} decisions differ; "
            f"{self.differing_outputs} output values differ, by at most {self.largest_difference:.3g}"
        )
        first = self.first_difference
        if first is not None:
            text += (
                f"\nfirst difference: sample {first.sample}, output {first.output}\n"
                f"  expected {np.array2string(first.expected, precision=6)}\n"
                f"  received {np.array2string(first.received, precision=6)}"
            )
        return text


def verify(converted: ConvertedModel, model: Any, x: Any) -> Verification:
    """Compares the file with the Keras model on all of `x`.

    Args:
        converted: The result of `keras_sbn.convert`.
        model: The Keras model it should equal: hard, or folded.
        x: Inputs, `(samples, ...)`, as `model.predict` takes them.

    Returns:
        A `Verification`, true where every decision is equal; `print` shows the figures and where the
        first difference is.

    Raises:
        ValueError: If `x` is empty or does not fit.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> bool(keras_sbn.verify(keras_sbn.convert(model), model, np.ones((2, 32), "float32")))
    True
    """
    samples = len(_as_list(x)[0])
    if samples == 0:
        raise ValueError("Expected at least one sample. Received: none.")
    expected = _as_list(model.predict(x, verbose=0))
    received = _as_list(converted.predict(x))
    differing = np.zeros(samples, bool)
    first: Difference | None = None
    unequal, largest = 0, 0.0
    for index, (a, b) in enumerate(zip(expected, received, strict=True)):
        unequal += int(np.count_nonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))))
        largest = max(largest, float(np.abs(a - b).max(initial=0)))
        here = (decisions(a) != decisions(b)).reshape(samples, -1).any(axis=1)
        differing |= here
        at = int(here.argmax())
        if here.any() and (first is None or at < first.sample):
            first = Difference(at, index, a[at], b[at])
    return Verification(samples, int(differing.sum()), unequal, largest, first)


def _as_list(outputs: Any) -> list[np.ndarray]:
    if isinstance(outputs, dict):
        return [np.asarray(value) for value in outputs.values()]
    if isinstance(outputs, list | tuple):
        return [np.asarray(value) for value in outputs]
    return [np.asarray(outputs)]
