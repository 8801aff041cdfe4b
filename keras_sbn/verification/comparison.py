"""Counting where the outputs of the file and of the model differ."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sbn.binarize import decisions
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.structures import names_in_order, order_by_name, output_structure, outputs_in_order
from keras_sbn.verification.inputs import Batch
from keras_sbn.verification.result import Difference, Verification


class Comparison:
    """Counts what differs, batch after batch."""

    def __init__(self, converted: ConvertedModel, model: Any) -> None:
        self.samples, self.differing = 0, 0
        self.first_batch: Batch | None = None
        self._tensors = converted.report.outputs
        self._names = converted.output_names
        self._model = model
        own = getattr(model, "output_names", [])
        self._order = order_by_name(self._names, names_in_order(output_structure(model)), own)
        self._decisions, self._ties, self._largest = 0, 0, 0.0
        self._first: Difference | None = None

    def add(self, batch: Batch, outputs: Any, received: list[np.ndarray]) -> None:
        expected = [np.asarray(value, _float(value)) for value in outputs_in_order(outputs, self._model)]
        received = self._paired(expected, received)
        samples = len(batch.for_model[0])
        pairs = list(zip(expected, received, strict=True))
        for a, b in pairs:
            self.differing += int(np.count_nonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))))
            self._largest = max(self._largest, float(np.abs(a - b).max(initial=0)))
        wrong = np.array(
            [(decisions(a) != decisions(b)).reshape(samples, -1).any(axis=1) for a, b in pairs]
        )
        tied = (~wrong | [_ties(a, b, samples) for a, b in pairs]).all(axis=0)
        differing = wrong.any(axis=0)
        if differing.any() and self._first is None:
            at = int(differing.argmax())
            output = int(wrong[:, at].argmax())
            a, b = pairs[output]
            self._first = Difference(self.samples + at, output, a[at], b[at])
            self.first_batch = batch.sample(at)
        self._decisions += int(differing.sum())
        self._ties += int((differing & tied).sum())
        self.samples += samples

    def _paired(self, expected: list[np.ndarray], received: list[np.ndarray]) -> list[np.ndarray]:
        """The file's outputs in the order of the model's.

        Raises:
            ValueError: If they are not as many, or of other shapes.
        """
        if len(expected) == len(received):
            paired = [received[index] for index in self._order]
            if _shapes(paired) == _shapes(expected):
                return paired
        outputs = zip(self._names, _shapes(received), strict=False)
        known = ", ".join(f"{name!r} of shape {shape}" for name, shape in outputs)
        raise ValueError(
            f"Expected a model with the outputs of the file, {known}. Received: "
            f"{getattr(self._model, 'name', 'a model')!r} with outputs of shapes "
            f"{', '.join(_shapes(expected))}"
        )

    def notes(self) -> list[str]:
        """What explains differences that are no fault of a layer."""
        steps = [tensor.scale for tensor in self._tensors if tensor.dtype in ("int8", "uint8", "int16")]
        if not self._ties or not any(steps):
            return []
        step = max(scale for scale in steps if scale is not None)
        return [
            f"on {self._ties} of the {self._decisions} differing samples several outputs of the file are "
            "largest, that of the model's decision among them: the outputs are rounded to integers, "
            f"in steps of up to {step:.3g}"
        ]

    def result(self, **others: Any) -> Verification:
        """What was counted, with the other fields of a `Verification`."""
        counted = (self.samples, self._decisions, self.differing, self._largest, self._first)
        return Verification(*counted, **others)


def _ties(a: np.ndarray, b: np.ndarray, samples: int) -> np.ndarray:
    """For each sample whether `b` is largest, among others, wherever `a` is."""
    if a.ndim < 2 or a.shape[-1] < 2:
        return np.zeros(samples, bool)
    there = np.take_along_axis(b, a.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return np.asarray((there == b.max(axis=-1)).reshape(samples, -1).all(axis=1))


def _float(value: Any) -> Any:
    """What outputs are compared in: float32 for halves, whose kinds NumPy does not all know."""
    dtype = np.asarray(value).dtype
    return np.float32 if dtype.itemsize == 2 and dtype.kind in "fV" else dtype


def _shapes(arrays: list[np.ndarray]) -> list[str]:
    """The shapes of outputs, for any number of samples."""
    return [str(("samples", *array.shape[1:])) for array in arrays]
