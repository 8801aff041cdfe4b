"""What a function of TensorFlow computes, operation by operation.

Lambda layers, operators such as ``x + y`` on Keras tensors, and layers of one's own are functions that
only TensorFlow can read. Called once on placeholders they leave a graph of operations, whose weights are
constants; what depends on constants alone is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: A batch size that a reshape or a transposition would hardly give another axis: see `trace`.
_BATCH = 3
_TRANSPARENT = (
    "CheckNumerics",
    "Identity",
    "IdentityN",
    "NoOp",
    "Placeholder",
    "PreventGradient",
    "StopGradient",
)
_ATTRIBUTES = (
    "keep_dims",
    "alpha",
    "axis",
    "squeeze_dims",
    "begin_mask",
    "end_mask",
    "ellipsis_mask",
    "new_axis_mask",
    "shrink_axis_mask",
)


@dataclass
class Operation:
    """One operation: its inputs are arrays, or pairs of the number of an operation and of its output.

    The arguments of the traced function are operation -1.
    """

    kind: str
    attributes: dict[str, Any]
    inputs: list[np.ndarray | tuple[int, int]]
    shapes: list[tuple[int | None, ...]]


def trace(
    function: Callable[..., Any], shapes: Sequence[Sequence[int | None]], dtype: str = "float32"
) -> tuple[list[Operation], list[np.ndarray | tuple[int, int]]]:
    """Traces a function of tensors.

    Args:
        function: Takes a tensor a shape and returns one, or a structure of them.
        shapes: Shapes of the tensors, the batch first.
        dtype: Type of the tensors.

    Returns:
        The operations in order, and where the outputs are found.

    Raises:
        ValueError: If a value has no batch axis, or a size is not known.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    specs = [tf.TensorSpec((_BATCH, *shape[1:]), dtype) for shape in shapes]
    concrete = tf.function(lambda *tensors: tf.nest.flatten(function(*tensors))).get_concrete_function(
        *specs
    )
    frozen = convert_variables_to_constants_v2(concrete)
    places: dict[str, tuple[int, int]] = {
        tensor.name: (-1, index) for index, tensor in enumerate(frozen.inputs)
    }
    constants: dict[str, np.ndarray] = {}
    operations: list[Operation] = []
    with tf.compat.v1.Session(graph=frozen.graph) as session:

        def value(tensor: Any) -> np.ndarray | tuple[int, int]:
            if tensor.name in places:
                return places[tensor.name]
            if tensor.name not in constants:
                constants[tensor.name] = session.run(tensor)
            return constants[tensor.name]

        for op in frozen.graph.get_operations():
            depends = [tensor.name in places for tensor in op.inputs]
            if not any(depends):
                continue
            if op.type in _TRANSPARENT:
                for source, result in zip(op.inputs, op.outputs, strict=False):
                    places[result.name] = places[source.name]
                continue
            attributes = {name: op.get_attr(name) for name in _ATTRIBUTES if name in op.node_def.attr}
            results = [_without_batch(op, tensor.shape) for tensor in op.outputs]
            for index, tensor in enumerate(op.outputs):
                places[tensor.name] = (len(operations), index)
            operations.append(Operation(op.type, attributes, [value(t) for t in op.inputs], results))
        outputs = [value(tensor) for tensor in frozen.outputs]
    return operations, outputs


def _without_batch(op: Any, shape: Any) -> tuple[int | None, ...]:
    sizes = shape.as_list() if shape.rank is not None else []
    if not sizes or sizes[0] != _BATCH or None in sizes[1:]:
        raise ValueError(
            "Expected values of known sizes with the batch as their first axis. Received: operation "
            f"{op.type} with an output of shape {shape}"
        )
    return (None, *sizes[1:])
