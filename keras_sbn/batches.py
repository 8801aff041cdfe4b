"""One way to go through data, whatever holds it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import keras
import numpy as np


def batches(data: Any, batch_size: int = 256, steps: int | None = None) -> Iterator[Any]:
    """Yields the inputs of `data`, batch after batch, as NumPy arrays.

    Args:
        data: An array, or a list or dictionary of them for a model with several inputs; a tuple
            `(inputs, targets)` or `(inputs, targets, sample_weights)` of such; or an iterable of batches
            of any of these forms: a `tf.data.Dataset`, a `keras.utils.PyDataset`, a `DataLoader`.
        batch_size: Size of the batches that arrays are cut into.
        steps: Largest number of batches; `None` takes all.

    Raises:
        ValueError: If `batch_size` or `steps` is not positive, or there is no data.
    """
    for name, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and value <= 0:
            raise ValueError(f"Expected `{name}` to be positive. Received: {name}={value}")
    empty = True
    for batch in islice(_all_batches(data, batch_size), steps):
        empty = False
        yield keras.tree.map_structure(np.asarray, inputs_of(batch))
    if empty:
        raise ValueError("Expected data with at least one batch. Received none; is the iterator used up?")


def inputs_of(batch: Any) -> Any:
    """The inputs in `inputs`, `(inputs, targets)` or `(inputs, targets, sample_weights)`."""
    return batch[0] if isinstance(batch, tuple) else batch


def is_iterable_of_batches(data: Any) -> bool:
    """Whether `data` yields batches, so is neither an array nor a structure of arrays."""
    return not isinstance(data, tuple | list | dict) and not hasattr(data, "shape")


def _all_batches(data: Any, batch_size: int) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        for index in range(data.num_batches or 0):
            yield data[index]
    elif is_iterable_of_batches(data):
        yield from data
    else:
        arrays = inputs_of(data)
        size = len(keras.tree.flatten(arrays)[0])
        for start in range(0, size, batch_size):
            rows = slice(start, start + batch_size)
            yield keras.tree.map_structure(lambda array, rows=rows: array[rows], arrays)
