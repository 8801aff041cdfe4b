"""What is known of a value in the graph: is it ±1, is it an integer, how large can it be."""

from __future__ import annotations

import keras

from keras_sbn.folding.graph import Node
from keras_sbn.folding.ops import BinaryConv2D, BinaryDense, KerasCall, Reshape, Sign, Threshold

#: Layers whose outputs are some of their inputs, in another place.
_SELECTING = (
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.Concatenate,
    keras.layers.Permute,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.RepeatVector,
)


def integer_bound(node: Node) -> int | None:
    """Returns a K with ``|value| <= K`` where the value is always an integer, else `None`."""
    op = node.op
    if isinstance(op, Sign | Threshold):
        return 1
    if isinstance(op, Reshape):
        return integer_bound(node.input)
    if isinstance(op, KerasCall) and isinstance(op.operation, _SELECTING):
        bounds = [integer_bound(source) for source in node.inputs]
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None
    if isinstance(op, BinaryConv2D | BinaryDense):
        bound = integer_bound(node.input)
        if bound is None:
            return None
        if isinstance(op, BinaryConv2D) and op.padding == "same":
            if not op.pad_value.is_integer():
                return None
            bound = max(bound, abs(int(op.pad_value)))
        return bound * int(op.kernel[..., 0].size)
    return None


def is_binary(node: Node) -> bool:
    """Whether the value is always -1 or +1."""
    op = node.op
    if isinstance(op, Sign | Threshold):
        return True
    if isinstance(op, Reshape):
        return is_binary(node.input)
    if isinstance(op, KerasCall) and isinstance(op.operation, _SELECTING):
        return all(is_binary(source) for source in node.inputs)
    return False
