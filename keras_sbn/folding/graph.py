"""A small graph of a Keras model: read it, rewrite it, build a Keras model from it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_sbn.folding.ops import KerasCall, Op, Pick, Placeholder, Slot


@dataclass(eq=False)
class Node:
    """One operation of the graph and where its inputs come from.

    `shape` is that of the output, batch axis first; `name` is the name of the Keras layer it stems
    from, and the name of the layer that is built from it.
    """

    name: str
    op: Op
    inputs: list[Node]
    shape: tuple[int | None, ...]

    @property
    def input(self) -> Node:
        """The only input of a node that has one."""
        (only,) = self.inputs
        return only


@dataclass
class Graph:
    """Inputs and outputs; everything between hangs on the outputs.

    `signs` says where the value of each sign of the original model is to be found, by the name of the
    layer that took it; a value that no node holds any more is not in it.
    """

    name: str
    inputs: list[Node]
    outputs: list[Node]
    output_structure: Any = field(repr=False, default=None)
    signs: dict[str, Node] = field(repr=False, default_factory=dict)

    def nodes(self) -> list[Node]:
        """All nodes, each after its inputs."""
        ordered: list[Node] = []
        done: set[int] = set()
        stack: list[tuple[Node, Iterator[Node]]] = [(n, iter(n.inputs)) for n in self.outputs[::-1]]
        stack += [(n, iter(())) for n in self.inputs[::-1]]
        while stack:
            node, pending = stack[-1]
            if id(node) in done:
                stack.pop()
                continue
            following = next((n for n in pending if id(n) not in done), None)
            if following is not None:
                stack.append((following, iter(following.inputs)))
                continue
            done.add(id(node))
            ordered.append(node)
            stack.pop()
        return ordered

    def consumers(self, node: Node) -> list[Node]:
        """The nodes that read `node`, once for each reading."""
        return [other for other in self.nodes() for source in other.inputs if source is node]

    def is_output(self, node: Node) -> bool:
        return any(output is node for output in self.outputs)

    def has_one_use(self, node: Node) -> bool:
        """Whether exactly one node reads `node` and the model does not return it."""
        return not self.is_output(node) and len(self.consumers(node)) == 1

    def replace(self, old: Node, new: Node) -> None:
        """Makes every reader of `old` read `new`, `new` itself excepted."""
        for node in self.nodes():
            if node is not new:
                node.inputs = [new if source is old else source for source in node.inputs]
        self.outputs = [new if output is old else output for output in self.outputs]
        self.follow(old, new)

    def follow(self, old: Node, new: Node) -> None:
        """Says that the sign whose value `old` held is found in `new` from now on."""
        self.signs = {name: new if at is old else at for name, at in self.signs.items()}

    def exchange(self, node: Node, before: Node, moved: list[Node]) -> None:
        """Puts `before`, which `node` alone reads, in the place of `node`, and has it read `moved`.

        What `before` gave until now, no node gives any more.
        """
        self.forget(before)
        before.inputs = moved
        self.replace(node, before)

    def forget(self, node: Node) -> None:
        """Says that `node` no longer holds the value of a sign of the original model."""
        self.signs = {name: at for name, at in self.signs.items() if at is not node}


def read(model: Any) -> Graph:
    """Reads a built Functional or Sequential model; nested models are flattened.

    Args:
        model: `keras.Model`, Functional or Sequential, built.

    Returns:
        The graph, whose leaves are the original layers: it holds no copy of their weights.

    Raises:
        ValueError: If the model is subclassed or not built.
    """
    functional = _as_functional(model)
    values: dict[int, Node] = {}
    inputs = []
    for tensor in functional.inputs:
        node = Node(tensor.name, _placeholder(tensor), [], tuple(tensor.shape))
        values[id(tensor)] = node
        inputs.append(node)
    _read_calls(functional, values, {})
    outputs = [values[id(tensor)] for tensor in functional.outputs]
    return Graph(model.name, inputs, outputs, functional.output)


def _placeholder(tensor: Any) -> Placeholder:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return Placeholder(tensor, dtype, {"uint8": 255, "int8": 128}.get(dtype))


def _as_functional(model: Any) -> Any:
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a Keras model. Received: {type(model).__name__} {model!r}")
    if isinstance(model, keras.Sequential):
        if not model.built or getattr(model, "_functional", None) is None:
            raise ValueError(
                f"Expected a built model. Received: Sequential model {model.name!r} without a known "
                "input shape. Start it with keras.Input(shape), or call it on an input."
            )
        return model._functional
    if not hasattr(model, "_nodes_by_depth"):
        raise ValueError(
            "Expected a Functional or Sequential model, whose layers form a graph that can be read. "
            f"Received: subclassed model {model.name!r} of class {type(model).__name__}. Build the same "
            "layers with the Functional API: model = keras.Model(inputs, outputs)."
        )
    return model


def _is_model(operation: Any) -> bool:
    return isinstance(operation, keras.Model)


def _read_calls(functional: Any, values: dict[int, Node], names: dict[str, int]) -> None:
    """Adds a node for every call of `functional`, in an order in which inputs come first."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for call in functional._nodes_by_depth[depth]:
            if call.is_input or all(id(tensor) in values for tensor in call.outputs):
                continue
            operation = call.operation
            if _is_model(operation):
                _inline(operation, call, values, names)
                continue
            inputs = [values[id(tensor)] for tensor in call.arguments.keras_tensors]
            slots = iter(range(len(inputs)))
            arguments = keras.tree.map_structure(
                lambda x, slots=slots: Slot(next(slots)) if _is_symbolic(x) else x,
                (call.arguments.args, call.arguments.kwargs),
            )
            name = _unique(operation.name, names)
            shape = tuple(call.outputs[0].shape)
            node = Node(name, KerasCall(operation, arguments), inputs, shape)
            if len(call.outputs) == 1:
                values[id(call.outputs[0])] = node
                continue
            for index, tensor in enumerate(call.outputs):
                pick = Node(f"{name}_{index}", Pick(index), [node], tuple(tensor.shape))
                values[id(tensor)] = pick


def _inline(model: Any, call: Any, values: dict[int, Node], names: dict[str, int]) -> None:
    inner = _as_functional(model)
    local = {
        id(formal): values[id(actual)]
        for formal, actual in zip(inner.inputs, call.arguments.keras_tensors, strict=True)
    }
    _read_calls(inner, local, names)
    for formal, actual in zip(inner.outputs, call.outputs, strict=True):
        values[id(actual)] = local[id(formal)]


def _is_symbolic(x: Any) -> bool:
    return isinstance(x, keras.KerasTensor)


def _unique(name: str, names: dict[str, int]) -> str:
    count = names.get(name, 0)
    names[name] = count + 1
    return name if count == 0 else f"{name}_{count}"


def build(graph: Graph, make_layer: Callable[[Node], Any]) -> Any:
    """Builds a Keras model from the graph.

    Args:
        graph: The graph.
        make_layer: Returns the Keras layer or operation that computes a node, with its weights ready to
            be set once it is built, as a pair `(layer, weights or None)`.

    Returns:
        A Functional `keras.Model` with the inputs and outputs of the model that was read.
    """
    values: dict[int, Any] = {}
    inputs = []
    for node in graph.inputs:
        assert isinstance(node.op, Placeholder)
        tensor = keras.Input(batch_shape=node.shape, dtype=node.op.dtype, name=node.name)
        values[id(node)] = tensor
        inputs.append(tensor)
    for node in graph.nodes():
        if id(node) in values:
            continue
        sources = [values[id(source)] for source in node.inputs]
        if isinstance(node.op, Pick):
            values[id(node)] = keras.tree.flatten(sources[0])[node.op.index]
            continue
        layer, weights = make_layer(node)
        if isinstance(node.op, KerasCall):
            args, kwargs = keras.tree.map_structure(
                lambda x, sources=sources: sources[x.index] if isinstance(x, Slot) else x,
                node.op.arguments,
            )
            values[id(node)] = layer(*args, **kwargs)
        else:
            values[id(node)] = layer(*sources)
        if weights is not None:
            layer.set_weights(weights)
    outputs = [values[id(output)] for output in graph.outputs]
    structure = graph.output_structure
    packed = keras.tree.pack_sequence_as(structure, outputs) if structure is not None else outputs
    single_input = len(inputs) == 1
    return keras.Model(inputs[0] if single_input else inputs, packed, name=graph.name)
