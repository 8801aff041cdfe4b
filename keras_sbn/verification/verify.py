"""Does the file compute what the Keras model computes?"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_sbn.binarize import decisions
from keras_sbn.conversion.converted import ConvertedModel
from keras_sbn.tflite.batches import batches, sample_count
from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.worker import Worker
from keras_sbn.verification.first_difference import first_differing_layer

#: Operators that write values as they read them.
_COPYING = ("CONCATENATION", "MAX_POOL_2D", "MAXIMUM", "PAD", "PADV2", "REDUCE_MAX", "RESHAPE", "SLICE")


@dataclass(frozen=True)
class Difference:
    """Where two models first decide differently: the sample, the output, and both outputs there."""

    sample: int
    output: int
    expected: np.ndarray
    received: np.ndarray


@dataclass(frozen=True)
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
    """

    samples: int
    differing_decisions: int
    differing_outputs: int
    largest_difference: float
    first_difference: Difference | None
    first_differing_layer: str | None = None
    rounding_operators: int = 0
    required_agreement: float = 1.0

    @property
    def agreement(self) -> float:
        """The share of the samples on which every decision is equal."""
        return 1 - self.differing_decisions / self.samples

    def __bool__(self) -> bool:
        return self.agreement >= self.required_agreement

    def __str__(self) -> str:
        text = (
            f"{self.samples} samples: {self.differing_decisions} decisions differ; "
            f"{self.differing_outputs} output values differ, by at most {self.largest_difference:.3g}"
        )
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
        return text

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as plain lists, strings and numbers."""
        found = {**asdict(self), "agreement": self.agreement}
        first = self.first_difference
        if first is not None:
            found["first_difference"]["expected"] = first.expected.tolist()
            found["first_difference"]["received"] = first.received.tolist()
        return found


def verify(
    converted: ConvertedModel,
    model: Any,
    x: Any,
    *,
    batch_size: int = 128,
    workers: int = 1,
    progress: bool = False,
    required_agreement: float = 1.0,
) -> Verification:
    """Compares the file with the Keras model on all of `x`, batch by batch.

    A file with float32 activations decides as the model does. One with int8 activations rounds, so its
    values differ by steps of its scales and now and then a decision with them: say what share of
    equal decisions you require.

    Args:
        converted: The result of `keras_sbn.convert`, or of `ConvertedModel.load(path)`.
        model: The Keras model it should equal: hard, or folded.
        x: Inputs, `(samples, ...)`, as `model.predict` takes them; or a `PyDataset`, a
            `tf.data.Dataset`, or a generator, of batches of inputs or of `(inputs, labels)`.
        batch_size: Samples that are compared at once, where `x` is not batched yet.
        workers: Number of processes that run the file. 1 runs it in this one.
        progress: Whether to show the number of samples done, on standard error.
        required_agreement: The share of the samples, at most 1, on which decisions have to be equal.

    Returns:
        A `Verification`, true where the decisions are equal; `print` shows the figures, where the first
        difference is, and the first layer that differs there.

    Raises:
        ValueError: If `x` is empty or does not fit, `batch_size` or `workers` is not positive, or
            `required_agreement` is no share.
        RuntimeError: If the interpreter refuses the file.

    Example:

    >>> model = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4)])
    >>> report = keras_sbn.binarize(model)
    >>> bool(keras_sbn.verify(keras_sbn.convert(model), model, np.ones((2, 32), "float32")))
    True
    """
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be positive. Received: {name}={value}")
    if not 0 <= required_agreement <= 1:
        raise ValueError(
            "Expected `required_agreement` to be a share, from 0 to 1. Received: "
            f"required_agreement={required_agreement}"
        )
    comparison = _Comparison()
    total = sample_count(x)
    for inputs, expected, received in _outputs(converted, model, x, batch_size, workers):
        comparison.add(inputs, expected, received)
        if progress:
            _show(comparison.samples, total)
    if progress:
        print(file=sys.stderr)
    if comparison.samples == 0:
        raise ValueError("Expected at least one sample. Received: none.")
    layer = None
    if comparison.first_inputs is not None:
        layer = first_differing_layer(converted.content, converted.target, model, comparison.first_inputs)
    return replace(
        comparison.result(layer),
        rounding_operators=_rounding_operators(converted.content),
        required_agreement=float(required_agreement),
    )


def _rounding_operators(content: bytes) -> int:
    """How many operators write int8 values of a scale other than 1, which integers have."""
    return sum(
        tensor.dtype == "int8" and tensor.scales != (1.0,) and op.name not in _COPYING
        for op in read_file(content).operators
        for tensor in op.outputs
    )


class _Comparison:
    """Counts what differs, batch after batch."""

    def __init__(self) -> None:
        self.samples = 0
        self.first_inputs: list[np.ndarray] | None = None
        self._decisions, self._outputs, self._largest = 0, 0, 0.0
        self._first: Difference | None = None

    def add(
        self, inputs: list[np.ndarray], expected: list[np.ndarray], received: list[np.ndarray]
    ) -> None:
        samples = len(inputs[0])
        differing = np.zeros(samples, bool)
        first: Difference | None = None
        for index, (a, b) in enumerate(zip(expected, received, strict=True)):
            self._outputs += int(np.count_nonzero(~((a == b) | (np.isnan(a) & np.isnan(b)))))
            self._largest = max(self._largest, float(np.abs(a - b).max(initial=0)))
            here = (decisions(a) != decisions(b)).reshape(samples, -1).any(axis=1)
            differing |= here
            at = int(here.argmax()) if here.any() else samples
            if at < samples and (first is None or self.samples + at < first.sample):
                first = Difference(self.samples + at, index, a[at], b[at])
        if first is not None and self._first is None:
            at = first.sample - self.samples
            self._first = first
            self.first_inputs = [array[at : at + 1] for array in inputs]
        self._decisions += int(differing.sum())
        self.samples += samples

    def result(self, layer: str | None) -> Verification:
        return Verification(
            self.samples, self._decisions, self._outputs, self._largest, self._first, layer
        )


def _outputs(
    converted: ConvertedModel, model: Any, x: Any, batch_size: int, workers: int
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]]:
    """Yields inputs, Keras's outputs and the file's outputs of every batch.

    While the workers run the file, this process runs Keras on the batches after.
    """
    stream = (
        _as_the_model_takes(model, arrays) for arrays in batches(x, converted.input_names, batch_size)
    )
    if workers == 1:
        for inputs in stream:
            yield inputs, _expected(model, inputs), _as_list(converted.predict(inputs))
        return
    with ExitStack() as stack:
        content, target = converted.content, converted.target
        idle = [stack.enter_context(Worker(content, target)) for _ in range(workers)]
        pending: deque[tuple[list[np.ndarray], list[np.ndarray], Worker]] = deque()
        for inputs in stream:
            if not idle:
                done, expected, worker = pending.popleft()
                yield done, expected, worker.result()
                idle.append(worker)
            worker = idle.pop()
            worker.submit(inputs)
            pending.append((inputs, _expected(model, inputs), worker))
        for done, expected, worker in pending:
            yield done, expected, worker.result()


def _as_the_model_takes(model: Any, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Integers for a model of float inputs are values, though the file's inputs may be integers."""
    tensors = getattr(model, "inputs", None) or []
    if len(tensors) != len(arrays):
        return arrays
    wanted = [keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors]
    return [
        array.astype("float32") if dtype.startswith("float") and array.dtype.kind in "iu" else array
        for array, dtype in zip(arrays, wanted, strict=True)
    ]


def _expected(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    return _as_list(model.predict_on_batch(inputs[0] if len(inputs) == 1 else inputs))


def _show(samples: int, total: int | None) -> None:
    share = ""
    if total:
        filled = 30 * samples // total
        share = f"/{total:,} [{'#' * filled}{'.' * (30 - filled)}]"
    print(f"\rverify {samples:,}{share}", end="", file=sys.stderr, flush=True)


def _as_list(outputs: Any) -> list[np.ndarray]:
    if isinstance(outputs, dict):
        return [np.asarray(value) for value in outputs.values()]
    if isinstance(outputs, list | tuple):
        return [np.asarray(value) for value in outputs]
    return [np.asarray(outputs)]
