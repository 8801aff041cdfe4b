"""The nodes of the new network: names, weights, and which value of the original each stems from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras_sbn.folding.copies import copy_of
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Slot, call_of
from keras_sbn.from_keras import binary_layers
from keras_sbn.from_keras.values import Value


class NewGraph:
    """Takes nodes, and keeps what value each stems from.

    Args:
        original: The graph of the original model.

    Attributes:
        graph: The graph of the new network; its outputs come last.
        inputs: By input of the original, the new one.
        memo: What `once` has made, by key.
        made: By value, the nodes that stem from it.
        notes: By value, what is to be said of it.
        loads: By identity of a new layer, what gives it its weights.
        reset: Identities of normalizations of the original whose statistics start afresh, as their input
            is another one.
    """

    def __init__(self, original: Graph) -> None:
        names = {node.name for node in original.nodes()}
        inputs = [Node(node.name, node.op, [], node.shape) for node in original.inputs]
        self.graph = Graph(
            original.name, inputs, [], original.output_structure, original.input_structure, names=names
        )
        self.inputs = dict(zip(original.inputs, inputs, strict=True))
        self.memo: dict[Any, Node] = {}
        self.made: dict[Value, list[Node]] = {}
        self.notes: dict[Value, list[str]] = {}
        self.loads: dict[int, Callable[[], None]] = {}
        self.reset: set[int] = set()
        self._layers: dict[Any, Any] = {}
        self._copies: dict[int, Any] = {}
        #: Names that layers of the original have again, and those of all new layers.
        self._given = {node.name for node in inputs}
        self._taken: set[str] = set()

    def once(self, key: Any, make: Callable[[], Node]) -> Node:
        """The node of a key, made when it is first asked for."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def layer(self, key: Any, value: Value, make: Callable[[str], Any], wanted: str | None = None) -> Any:
        """A new layer, the same one for every call of a layer that the model shares."""
        if key not in self._layers:
            self._layers[key] = make(self.name(wanted or value.name, value))
        return self._layers[key]

    def starts_afresh(self, layer: Any) -> None:
        """Says that a new layer has no weights but those it starts with."""
        self.loads[id(layer)] = _nothing

    def node(
        self,
        value: Value,
        wanted: str,
        layer: Any,
        sources: list[Node],
        shape: tuple[int | None, ...],
        listed: bool = False,
    ) -> Node:
        """A node that calls a new layer, with one argument a source, or a list of them all."""
        slots: Any = [Slot(index) for index in range(len(sources))]
        arguments: Any = ((slots,) if listed else tuple(slots), {})
        name = layer.name if layer.name not in self._taken else self.name(wanted, value)
        self._taken.add(name)
        return self._made(value, Node(name, KerasCall(layer, arguments), sources, shape))

    def same_node(self, value: Value, sources: list[Node]) -> Node:
        """A node that does what the original one did, on other sources."""
        op = value.node.op
        if isinstance(op, KerasCall):
            op = KerasCall(op.operation, op.arguments)
        return self._made(value, Node(self.name(value.name, value), op, sources, value.shape))

    def part_node(self, value: Value, wanted: str, layer: Any, sources: list[Node]) -> Node:
        """A node that calls a layer which another layer of the model calls, as its activation."""
        return self._made(value, Node(self.name(wanted, value), call_of(layer), sources, value.shape))

    def _made(self, value: Value, node: Node) -> Node:
        self.made.setdefault(value, []).append(node)
        return node

    def name(self, wanted: str, value: Value) -> str:
        """A name that no other layer has: its own for the layer of a value, never that of another one."""
        if wanted == value.name and wanted not in self._given:
            self._given.add(wanted)
            return wanted
        return self.graph.new_name(wanted)

    def note(self, value: Value, text: str) -> None:
        """Notes what is to be said of a value, once."""
        notes = self.notes.setdefault(value, [])
        if text not in notes:
            notes.append(text)

    def name_outputs(self, names: Sequence[str]) -> None:
        """Gives the outputs the names that they had."""
        for name, node in zip(names, self.graph.outputs, strict=True):
            if node.name == name:
                continue
            for other in self.graph.nodes():
                if other.name == name:
                    other.name = node.name
            node.name = name

    def make_layer(self, node: Node) -> tuple[Any, Callable[[], None] | None]:
        """The layer of a node, and what gives it its weights, for `graph.build`."""
        assert isinstance(node.op, KerasCall)
        operation = node.op.operation
        if id(operation) in self.loads:
            if id(operation) not in self._copies:
                operation.name = node.name
                self._copies[id(operation)] = operation
            return operation, self.loads[id(operation)]
        if id(operation) in self._copies:
            return self._copies[id(operation)], None
        copy, load = copy_of(operation, node.name)
        self._copies[id(operation)] = copy
        if load is None:
            return copy, None

        def load_and_train() -> None:
            load()
            parts = zip(operation._flatten_layers(), copy._flatten_layers(), strict=True)
            for part, other in parts:
                other.trainable = part.trainable
            if id(operation) in self.reset:
                binary_layers.reset_statistics(copy)

        return copy, load_and_train


def _nothing() -> None:
    """The weights of a new layer stay as they are."""
