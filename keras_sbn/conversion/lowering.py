"""What both targets share: a walk over the folded model that emits operators and keeps the plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sbn.conversion.options import ACTIVATION
from keras_sbn.conversion.plan import NO_REASON as NO_REASON
from keras_sbn.conversion.plan import LoweringError as LoweringError
from keras_sbn.conversion.plan import PlannedOperator as PlannedOperator
from keras_sbn.conversion.plan import Reason as Reason
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.tflite.writer import ModelWriter

#: Name of an options table of the schema without "Options", and its fields.
Options = tuple[str, dict[str, Any]]


def static_shape(node: Node) -> tuple[int, ...]:
    """The shape of a node's output for a batch of one.

    Raises:
        LoweringError: If a size other than the batch is unknown.
    """
    sizes = node.shape[1:]
    if any(size is None for size in sizes):
        raise LoweringError(
            f"Expected a model of fixed input sizes. Received: {node.name!r} with output shape "
            f"{node.shape}. Build the model with keras.Input(shape) without None."
        )
    return (1, *(int(size) for size in sizes if size is not None))


class Lowering:
    """Emits the operators of one model; the targets add how binary layers are written."""

    def __init__(self, graph: Graph, writer: ModelWriter) -> None:
        self.graph = graph
        self.writer = writer
        self.plan: list[PlannedOperator] = []
        self.reasons: dict[str, Reason] = {}
        self._constant_bytes: dict[int, int] = {}
        self._reals: dict[int, int] = {}

    def real(self, node: Node) -> int:
        """The float32 tensor that holds a node's value."""
        return self._reals[id(node)]

    def set_real(self, node: Node, tensor: int) -> None:
        """Says which float32 tensor holds a node's value."""
        self._reals[id(node)] = tensor

    def emit(
        self,
        layer: str,
        operator: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        *,
        dtype: str = "float32",
        name: str = "",
        suffix: str = "",
        options: Options | None = None,
        custom: dict[str, int] | None = None,
        version: int = 1,
        quantization: tuple[float, int] | None = None,
        binary: bool = False,
    ) -> int:
        """Adds an operator of one output and returns the output's tensor index.

        An operator whose name starts with "Lce" is a custom one, with the options in `custom`. The tensor
        is called `name`, or else as the layer, so that a tensor without a suffix holds the value of the
        folded layer of that name. `quantization` is scale and zero point.
        """
        name = name or layer
        name = f"{name}/{suffix}" if suffix else name
        scale, zero_point = quantization or (None, 0)
        output = self.writer.tensor(name, shape, dtype, scale, zero_point)
        if operator.startswith("Lce"):
            self.writer.custom_operator(operator, inputs, [output], custom)
        else:
            self.writer.operator(operator, inputs, [output], options, version)
        size = sum(self._constant_bytes.get(tensor, 0) for tensor in inputs)
        reason = self.reasons.get(layer, NO_REASON)
        self.plan.append(
            PlannedOperator(
                layer, operator, name, dtype, tuple(shape), size, binary, reason, quantization
            )
        )
        return output

    def constant(
        self,
        layer: str,
        suffix: str,
        value: np.ndarray,
        scale: float | Sequence[float] | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Adds a constant that belongs to a layer and returns its tensor index."""
        # Named by what it is: a name of every constant's own would be much of a small file.
        tensor = self.writer.constant(suffix, value, scale, zero_point, axis)
        self._constant_bytes[tensor] = value.nbytes
        return tensor

    def arithmetic(
        self,
        layer: str,
        operator: str,
        tensor: int,
        value: np.ndarray,
        shape: Any,
        *,
        suffix: str = "",
        activation: str = "none",
    ) -> int:
        """Adds, subtracts or multiplies a constant that broadcasts: operator "ADD", "SUB" or "MUL"."""
        constant = self.constant(layer, f"{operator.lower()}_constant", value.astype(np.float32))
        fields = {"fusedActivationFunction": ACTIVATION[activation]} if activation != "none" else {}
        options: Options = (operator.capitalize(), fields)
        return self.emit(layer, operator, [tensor, constant], shape, suffix=suffix, options=options)
