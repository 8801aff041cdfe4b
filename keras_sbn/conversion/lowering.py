"""What both targets share: a walk over the folded model that emits operators and keeps the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.conversion.writer import ModelWriter
from keras_sbn.folding.graph import Graph, Node

#: Name of an options table of the schema without "Options", and its fields.
Options = tuple[str, dict[str, Any]]


class LoweringError(ValueError):
    """A layer cannot be converted as it was meant to be; the message names it and the remedy."""


@dataclass(frozen=True)
class PlannedOperator:
    """An operator we mean to write, for comparison with the file that was written."""

    layer: str
    operator: str
    output: str
    dtype: str
    shape: tuple[int, ...]
    reason: str


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
        self.reasons: dict[str, str] = {}
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
        suffix: str = "",
        options: Options | None = None,
        custom: dict[str, int] | None = None,
        version: int = 1,
    ) -> int:
        """Adds an operator of one output and returns the output's tensor index.

        An operator whose name starts with "Lce" is a custom one, with the options in `custom`.
        """
        name = f"{layer}/{suffix}" if suffix else layer
        output = self.writer.tensor(name, shape, dtype)
        if operator.startswith("Lce"):
            self.writer.custom_operator(operator, inputs, [output], custom)
        else:
            self.writer.operator(operator, inputs, [output], options, version)
        reason = self.reasons.get(layer, "")
        self.plan.append(PlannedOperator(layer, operator, name, dtype, tuple(shape), reason))
        return output

    def constant(self, layer: str, suffix: str, value: np.ndarray) -> int:
        """Adds a constant that belongs to a layer and returns its tensor index."""
        return self.writer.constant(f"{layer}/{suffix}", value)

    def arithmetic(self, layer: str, operator: str, tensor: int, value: np.ndarray, shape: Any) -> int:
        """Adds, subtracts or multiplies a constant that broadcasts: operator "ADD", "SUB" or "MUL"."""
        suffix = operator.lower()
        other = self.constant(layer, f"{suffix}_constant", value.astype(np.float32))
        options: Options = (operator.capitalize(), {})
        return self.emit(layer, operator, [tensor, other], shape, suffix=suffix, options=options)
