"""What a data argument means, for every function of the package that takes one.

It means what it means for `keras.Model.fit`:

- an array is the input of a model of one input;
- a list is one array an input, in the order of the model's inputs;
- a dictionary is one array an input, by name;
- a tuple is `(inputs, targets)` or `(inputs, targets, sample_weights)`, or `(inputs,)`, and its inputs
  are any of the above;
- everything else that can be iterated over (a `tf.data.Dataset`, a `keras.utils.PyDataset`, a
  `torch.utils.data.DataLoader`, a generator) yields batches, each in one of the forms above.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np


def batches(
    data: Any, batch_size: int = 256, steps: int | None = None, name: str = "data"
) -> Iterator[Any]:
    """Yields the inputs in `data`, batch after batch, as NumPy arrays.

    Args:
        data: Data in one of the forms above.
        batch_size: Size of the batches that arrays are cut into.
        steps: Largest number of batches; `None` takes all.
        name: Name of the argument, for errors.

    Yields:
        An array, or a list or dictionary of arrays, as the data has them.

    Raises:
        ValueError: If `batch_size` or `steps` is not positive, the data is none of these forms, its
            arrays have different lengths, it is empty, or it has no end and `steps` is `None`.
    """
    for argument, value in (("batch_size", batch_size), ("steps", steps)):
        if value is not None and value <= 0:
            raise ValueError(f"Expected `{argument}` to be positive. Received: {argument}={value}")
    empty = True
    for batch in islice(_all_batches(data, batch_size, steps, name), steps):
        empty = False
        yield keras.tree.map_structure(_array, inputs_of(batch))
    if empty:
        raise ValueError(
            f"Expected `{name}` to have at least one batch. Received none: "
            + ("an iterator can be read only once." if _is_iterator(data) else f"{name} is empty.")
        )


def inputs_of(batch: Any) -> Any:
    """The inputs in `inputs`, `(inputs,)`, `(inputs, targets)` or `(inputs, targets, sample_weights)`."""
    return batch[0] if isinstance(batch, tuple) else batch


def arrays_of(inputs: Any, input_names: Sequence[str], name: str = "data") -> list[np.ndarray]:
    """Returns one array an input, in the order of `input_names`, of what `batches` yields.

    Args:
        inputs: An array, a list of arrays, or a dictionary of them by input name.
        input_names: Names of the model's inputs.
        name: Name of the argument, for errors.

    Raises:
        ValueError: If the number of inputs or their names do not fit.
    """
    if isinstance(inputs, dict):
        missing = [one for one in input_names if one not in inputs]
        if missing:
            raise ValueError(
                f"Expected `{name}` to have inputs named {list(input_names)}. Received: {list(inputs)}"
            )
        inputs = [inputs[one] for one in input_names]
    elif not isinstance(inputs, list | tuple):
        inputs = [inputs]
    if len(inputs) != len(input_names):
        raise ValueError(
            f"Expected `{name}` to have one array for each of the inputs {list(input_names)}. Received: "
            f"{len(inputs)} arrays"
        )
    return [_array(value) for value in inputs]


def sample_count(data: Any) -> int | None:
    """Returns the number of samples in arrays, or `None` where only iterating over `data` can tell."""
    if is_iterable_of_batches(data):
        return None
    return len(keras.tree.flatten(inputs_of(data))[0])


def is_iterable_of_batches(data: Any) -> bool:
    """Whether `data` yields batches, so is neither an array nor a structure of arrays."""
    return not isinstance(data, tuple | list | dict) and not hasattr(data, "shape")


def check_can_be_read_twice(data: Any, name: str) -> None:
    """Raises a ValueError that names the argument if `data` can be read only once."""
    if _is_iterator(data):
        raise ValueError(
            f"Expected `{name}` that can be read more than once: arrays, a tf.data.Dataset or a "
            f"keras.utils.PyDataset. Received an iterator: {data!r}"
        )


def _is_iterator(data: Any) -> bool:
    return is_iterable_of_batches(data) and hasattr(data, "__next__")


def _all_batches(data: Any, batch_size: int, steps: int | None, name: str) -> Iterator[Any]:
    if not is_iterable_of_batches(data):
        yield from _cut(data, batch_size, name)
    elif isinstance(data, keras.utils.PyDataset):
        count = steps if data.num_batches is None else int(data.num_batches)
        if count is None:
            raise ValueError(
                f"Expected `{name}` to have an end. Received a PyDataset of num_batches=None: {data!r}"
            )
        for index in range(count):
            yield data[index]
    elif _is_torch_loader(data):
        # It makes lists of the tuples that its data set has; Keras reads them as tuples too.
        for batch in data:
            yield tuple(batch) if isinstance(batch, list) else batch
    elif isinstance(data, Iterable):
        if steps is None and _is_endless(data):
            raise ValueError(
                f"Expected `{name}` to have an end. Received a tf.data.Dataset that repeats without one: "
                f"give {name}.take(number_of_batches)"
            )
        yield from data
    else:
        raise ValueError(
            f"Expected `{name}` to be an array, a list or dictionary of arrays, a tuple (inputs, "
            f"targets), or an iterable of batches. Received: {name}={data!r}"
        )


def _cut(data: Any, batch_size: int, name: str) -> Iterator[Any]:
    if isinstance(data, tuple) and not 1 <= len(data) <= 3:
        raise ValueError(
            f"Expected a tuple in `{name}` to be (inputs,), (inputs, targets) or (inputs, targets, "
            f"sample_weights). Received: {len(data)} elements; several inputs are a list"
        )
    arrays = inputs_of(data)
    leaves = keras.tree.flatten(arrays)
    if not all(map(_shape, leaves)):
        kinds = sorted({type(leaf).__name__ for leaf in leaves if not _shape(leaf)})
        raise ValueError(
            f"Expected the inputs in `{name}` to be arrays with an axis of samples. Received: "
            f"{', '.join(kinds)}; a list is one array an input, so make one array of a list of samples"
        )
    lengths = sorted({int(_shape(leaf)[0]) for leaf in keras.tree.flatten(data) if _shape(leaf)})
    if len(lengths) > 1:
        raise ValueError(
            f"Expected the arrays in `{name}` to have equally many samples. Received: {lengths}"
        )
    for start in range(0, lengths[0] if lengths else 0, batch_size):
        rows = slice(start, start + batch_size)
        yield keras.tree.map_structure(lambda array, rows=rows: array[rows], arrays)


def _shape(leaf: Any) -> tuple[Any, ...]:
    return tuple(getattr(leaf, "shape", ()))


def _is_torch_loader(data: Any) -> bool:
    torch = sys.modules.get("torch.utils.data")
    return torch is not None and isinstance(data, torch.DataLoader)


def _is_endless(data: Any) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not isinstance(data, tensorflow.data.Dataset):
        return False
    return bool(data.cardinality() == tensorflow.data.INFINITE_CARDINALITY)


def _array(value: Any) -> np.ndarray:
    # What has no `__array__`, or one that raises because it is on another device, is the backend's.
    if hasattr(value, "__array__") and not hasattr(value, "detach"):
        return np.asarray(value)
    return np.asarray(value if np.isscalar(value) else keras.ops.convert_to_numpy(value))
