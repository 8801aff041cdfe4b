"""Whatever Keras takes as data, as batches of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np


def batches(x: Any, input_names: tuple[str, ...], batch_size: int) -> Iterator[list[np.ndarray]]:
    """Yields the inputs of a model batch by batch, one array an input.

    Args:
        x: An array, or a list or dictionary of arrays for several inputs; or a `PyDataset`,
            `tf.data.Dataset`, generator or other iterable of batches: of inputs, or of tuples that begin
            with the inputs, such as `(inputs, labels)`.
        input_names: Names of the model's inputs, in order.
        batch_size: Samples a batch, where `x` is not batched yet.

    Raises:
        ValueError: If inputs are missing.
    """
    if is_streamed(x):
        for element in _elements(x):
            yield arrays_of(element[0] if isinstance(element, tuple) else element, input_names)
        return
    arrays = arrays_of(x, input_names)
    for start in range(0, len(arrays[0]), batch_size):
        yield [array[start : start + batch_size] for array in arrays]


def sample_count(x: Any) -> int | None:
    """Returns the number of samples, or `None` where only going through them can tell."""
    if is_streamed(x):
        return None
    first = next(iter(x.values())) if isinstance(x, dict) else x
    return len(first[0] if isinstance(first, list | tuple) else first)


def is_streamed(x: Any) -> bool:
    """Whether `x` yields batches, and is not an array or several."""
    return not isinstance(x, dict | list | tuple) and not hasattr(x, "__array__")


def _elements(x: Any) -> Iterator[Any]:
    if isinstance(x, keras.utils.PyDataset):
        count = x.num_batches
        if count is None:
            raise ValueError("Expected a dataset that ends. Received: a PyDataset of num_batches=None")
        yield from (x[index] for index in range(count))
    else:
        yield from x


def arrays_of(x: Any, input_names: tuple[str, ...]) -> list[np.ndarray]:
    """Returns one array an input, from an array, a list of them, or a dictionary by input name.

    Raises:
        ValueError: If an input is missing.
    """
    if isinstance(x, dict):
        missing = [name for name in input_names if name not in x]
        if missing:
            raise ValueError(f"Expected inputs named {list(input_names)}. Received: {list(x)}")
        x = [x[name] for name in input_names]
    elif not isinstance(x, list | tuple):
        x = [x]
    return [_array(value) for value in x]


def _array(value: Any) -> np.ndarray:
    return np.asarray(value) if hasattr(value, "__array__") else keras.ops.convert_to_numpy(value)
