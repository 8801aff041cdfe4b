"""Sums that Keras does not compute as NumPy does.

With TensorFlow, `keras.ops.add` takes a second argument with one axis of more than one value for a
bias, wherever that axis lies, and adds it along the last axis, or along the first after the batch, if the
size fits: ``x + c`` with a c of shape (4, 1, 1) and an x of (None, 4, 3, 4). The other backends, and a
file, add as NumPy does.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.computation import operation_class

_X = keras.KerasTensor((2, 1))
_ADD: Any = operation_class(ops.add, _X, _X)


def adds_elsewhere(operation: Any, arguments: Any, tensors: list[Any]) -> str | None:
    """What Keras does with a constant that it adds along another axis than NumPy, or `None`.

    Args:
        operation: A layer, or an operation of `keras.ops`.
        arguments: The nested `(args, kwargs)` of its call, arrays and slots among them.
        tensors: The `keras.KerasTensor` of every slot.
    """
    if type(operation) is not _ADD or len(tensors) != 1:
        return None
    constant = np.asarray(keras.tree.flatten(arguments)[-1])
    axes = [axis for axis, size in enumerate(constant.shape) if size > 1]
    if constant.dtype == object or len(axes) != 1 or axes[0] == constant.ndim - 1:
        return None
    along = axes[0] - constant.ndim
    size = constant.shape[along]
    rank = len(tensors[0].shape)
    if rank < -along:
        return None
    known = [2, *tensors[0].shape[1:]]
    shape = [(size if axis - rank == along else 1) if n is None else n for axis, n in enumerate(known)]
    zeros, constant = np.zeros(shape, "float32"), constant.astype("float32")
    if np.array_equal(ops.convert_to_numpy(ops.add(zeros, constant)), zeros + constant):
        return None
    return (
        f"with {keras.backend.backend()}, Keras adds the constant of shape {constant.shape} along "
        f"another axis than axis {along}; keras.ops.add(constant, x) adds it there"
    )
