"""The ranges of a model's values on representative data, from which int8 scales follow."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sbn.batches import batches, is_iterable_of_batches
from keras_sbn.conversion.geometry import static_shape
from keras_sbn.conversion.quantization import QuantParams, params_of_lattice, params_of_range
from keras_sbn.folding import graph as graphs
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Pick, Placeholder
from keras_sbn.folding.to_keras import LayerMaker
from keras_sbn.folding.value_ranges import grid, is_binary
from keras_sbn.structures import inputs_in_order

#: Samples that are run at once, and numbers that may be held at once.
_BATCH, _NUMBERS = 32, 2**26
#: An 8-bit image has no more different values.
_MOST_VALUES = 256


@dataclass
class _Range:
    #: The different values of an input, while they are few; otherwise `None`.
    values: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0

    def add(self, array: np.ndarray) -> None:
        if array.size:
            self.low = min(self.low, float(array.min()))
            self.high = max(self.high, float(array.max()))
        if self.values is not None:
            found = np.union1d(self.values, array)
            self.values = found if found.size <= _MOST_VALUES else None


class Calibration:
    """What values the nodes of a graph take on representative data.

    Args:
        graph: The folded model.
        data: Its inputs: an array, or whatever `keras_sbn.verify` takes; a function without arguments
            that returns an iterable of lists of inputs, as `tf.lite.RepresentativeDataset` wants it,
            does as well.
        original: The Keras model that was folded, whose dictionaries of inputs are understood.

    Raises:
        ValueError: If there is no sample, an input does not fit, or a value is not finite.
    """

    def __init__(self, graph: Graph, data: Any, original: Any = None) -> None:
        self.samples = 0
        #: Parts, and the layers that make several: they are stored as what is taken apart.
        self._parts = {node for node in graph.nodes() if isinstance(node.op, Pick)}
        self._parts |= {node.input for node in self._parts}
        nodes = [
            node
            for node in graph.nodes()
            if not isinstance(node.op, Placeholder) and node not in self._parts and not is_binary(node)
        ]
        self._ranges = {node: _Range() for node in nodes}
        self._ranges |= {node: _Range(np.zeros(0)) for node in graph.inputs}
        model = None
        if nodes:
            with _masks_may_end():
                model = graphs.build(Graph(graph.name, graph.inputs, nodes), LayerMaker())
        names = tuple(node.name for node in graph.inputs)
        data = data() if callable(data) and is_iterable_of_batches(data) else data
        numbers = sum(math.prod(static_shape(node)) for node in nodes)
        size = int(np.clip(_NUMBERS // max(numbers, 1), 1, _BATCH))
        for given in batches(data, size, name="representative_data"):
            arrays = [np.asarray(array) for array in inputs_in_order(given, original, names)]
            for start in range(0, len(arrays[0]), size):
                part = [array[start : start + size] for array in arrays]
                self._add(graph, nodes, model, part)
        if self.samples == 0:
            raise ValueError("Expected representative data. Received: no sample.")

    def _add(self, graph: Graph, nodes: list[Node], model: Any, inputs: list[np.ndarray]) -> None:
        self.samples += len(inputs[0])
        for node, array in zip(graph.inputs, inputs, strict=True):
            if tuple(array.shape[1:]) != tuple(node.shape[1:]):
                raise ValueError(
                    f"Expected representative data of shape {('samples', *node.shape[1:])} for input "
                    f"{node.name!r}. Received: shape {array.shape}"
                )
            if not np.isfinite(array.astype(np.float32)).all():
                raise ValueError(f"Expected finite data. Received: NaN or infinity in {node.name!r}")
            self._ranges[node].add(array)
        if model is None:
            return
        with _masks_may_end():
            outputs = model.predict_on_batch(inputs[0] if len(inputs) == 1 else inputs)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        for node, array in zip(nodes, outputs, strict=True):
            if not np.isfinite(array).all():
                raise ValueError(f"Expected finite values. Received: NaN or infinity from {node.name!r}")
            self._ranges[node].add(array)

    def range(self, node: Node) -> tuple[float, float]:
        """The least and the largest value of a node, 0 among them."""
        found = self._of(node)
        return found.low, found.high

    def scale(self, node: Node) -> QuantParams:
        """How a node's values are stored."""
        found = self._of(node)
        values = found.values if isinstance(node.op, Placeholder) else None
        lattice = None if values is None else params_of_lattice(values)
        return lattice or params_of_range(found.low, found.high, grid(node))

    def _of(self, node: Node) -> _Range:
        while node in self._parts:
            node = node.input
        return self._ranges[node]


@contextlib.contextmanager
def _masks_may_end() -> Iterator[None]:
    """Without Keras's warning where a layer that a pass put in ends a mask, which no layer uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*was passed an input with a mask attached to it")
        yield
