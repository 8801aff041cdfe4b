"""A small graph of a Keras model: read it, rewrite it, build a Keras model from it again."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import keras

from keras_sbn.folding.bias_add import adds_elsewhere
from keras_sbn.folding.computation import averages, change_of_model, ignores_mask, output_dtype, takes
from keras_sbn.folding.functions import layer_of
from keras_sbn.folding.links import Links
from keras_sbn.folding.ops import KerasCall, Op, Pick, Placeholder, Reshape, Slot
from keras_sbn.folding.own_layers import (
    NotReadError,
    called_on_inputs,
    constant_of,
    is_ones_own,
    recorded,
)

#: Keras before 3.7 gives a list of inputs the values of a dictionary in the order of its sorted keys.
_LOOKS_NAMES_UP = tuple(int(part) for part in keras.__version__.split(".")[:2]) >= (3, 7)

_Input = TypeVar("_Input")


class Node:
    """One operation of the graph and where its inputs come from.

    Attributes:
        name: The name of the Keras layer it stems from, and of the layer that is built from it.
        op: The operation.
        inputs: The nodes it reads. To change them, assign a new list.
        shape: The shape of the output, batch axis first.
        links: The `Links` that the node is in, which it tells of its changes.
    """

    def __init__(self, name: str, op: Op, inputs: Iterable[Node], shape: tuple[int | None, ...]) -> None:
        self.name = name
        self.shape = shape
        self.links: list[Links] = []
        self._op = op
        self._inputs = list(inputs)

    def __repr__(self) -> str:
        sources = ", ".join(source.name for source in self._inputs)
        return f"Node({self.name!r}, {type(self._op).__name__}, [{sources}], {self.shape})"

    @property
    def op(self) -> Op:
        """The operation."""
        return self._op

    @op.setter
    def op(self, op: Op) -> None:
        self._op = op
        for links in self.links:
            links.operation_changed(self)

    @property
    def inputs(self) -> list[Node]:
        """The nodes it reads."""
        return self._inputs

    @inputs.setter
    def inputs(self, inputs: Iterable[Node]) -> None:
        before, self._inputs = self._inputs, list(inputs)
        for links in list(self.links):
            links.inputs_changed(self, before)

    @property
    def input(self) -> Node:
        """The only input of a node that has one."""
        return only_input(self.name, self._inputs)


def only_input(name: str, inputs: Sequence[_Input]) -> _Input:
    """The input of a layer that has one.

    Raises:
        ValueError: If it has another number of them, as Keras allows: ``Dropout(0.5)([x, y])``.
    """
    if len(inputs) != 1:
        raise ValueError(
            f"Expected layer {name!r} to have one input. Received: it is called with {len(inputs)}. Call "
            "it on each of them, or use a layer that merges them."
        )
    return inputs[0]


def reshaped(node: Node, name: str, shape: tuple[int | None, ...]) -> Node:
    """The value of a node in another shape, whose sizes are known but for the batch."""
    sizes = tuple(int(size) for size in shape[1:] if size is not None)
    return Node(name, Reshape(sizes), [node], shape)


class Graph:
    """Inputs and outputs; everything between hangs on the outputs.

    Args:
        name: The name of the model.
        inputs: The nodes of its inputs.
        outputs: The nodes of its outputs.
        output_structure: The lists and dictionaries in which the model returns its outputs.
        input_structure: The lists and dictionaries in which the model takes its inputs.
        names: Names that no node that comes later may have, beside those of the nodes.

    """

    def __init__(
        self,
        name: str,
        inputs: list[Node],
        outputs: list[Node],
        output_structure: Any = None,
        input_structure: Any = None,
        names: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.inputs = inputs
        self._outputs = list(outputs)
        self.output_structure = output_structure
        self.input_structure = input_structure
        self._signs: dict[Node, list[str]] = {}
        self._names = {*names, *(node.name for node in self.nodes())}
        self._replacements: dict[int, tuple[Any, Any]] = {}
        self._links: Links | None = None

    @property
    def links(self) -> Links:
        """Which node reads which, from when this is asked first."""
        if self._links is None:
            self._links = Links(self.nodes(), (*self.inputs, *self._outputs))
        return self._links

    @property
    def outputs(self) -> list[Node]:
        """The nodes of the outputs. To change them, assign a new list."""
        return self._outputs

    @outputs.setter
    def outputs(self, outputs: Iterable[Node]) -> None:
        self._outputs = list(outputs)
        if self._links is not None:
            self._links.keep((*self.inputs, *self._outputs))

    @property
    def signs(self) -> dict[str, Node]:
        """Where the value of each sign of the original model is to be found.

        Keys are the names of the layers that took the signs. A value that no node holds any more is not
        in it.
        """
        return {name: node for node, names in self._signs.items() for name in names}

    def add_sign(self, name: str, node: Node) -> None:
        """Says that `node` holds the value of the sign that the layer `name` takes."""
        self._signs.setdefault(node, []).append(name)

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

    def new_name(self, wanted: str) -> str:
        """Returns a name that no node has and no layer of the model had: `wanted`, or with a number.

        Every node that a rule adds, beside the one that takes the place of another, asks here.
        """
        return _free(wanted, self._names)

    def in_place_of(self, layer: Any, make: Callable[[], Any]) -> Any:
        """What `make` returned when this layer was asked for first, so that a shared one stays shared."""
        if id(layer) not in self._replacements:
            # The layer is kept beside its id, so that no id is used twice.
            self._replacements[id(layer)] = layer, make()
        return self._replacements[id(layer)][1]

    def consumers(self, node: Node) -> list[Node]:
        """The nodes that read `node`, once for each reading."""
        return self.links.readers(node)

    def is_output(self, node: Node) -> bool:
        return any(output is node for output in self._outputs)

    def has_one_use(self, node: Node) -> bool:
        """Whether exactly one node reads `node` and the model does not return it."""
        return not self.is_output(node) and self.links.readings(node) == 1

    def replace(self, old: Node, new: Node) -> None:
        """Makes every reader of `old` read `new`, `new` itself excepted."""
        links = self.links
        readers = dict.fromkeys(links.readers(old))
        if old in links:
            links.add_after(new, old)
        for node in readers:
            if node is not new:
                node.inputs = [new if source is old else source for source in node.inputs]
        if self.is_output(old):
            self.outputs = [new if output is old else output for output in self.outputs]
        self.follow(old, new)

    def follow(self, old: Node, new: Node) -> None:
        """Says that the sign whose value `old` held is found in `new` from now on."""
        names = self._signs.pop(old, [])
        if names:
            self._signs.setdefault(new, []).extend(names)

    def exchange(self, node: Node, before: Node, moved: list[Node]) -> None:
        """Puts `before`, which `node` alone reads, in the place of `node`, and has it read `moved`.

        What `before` gave until now, no node gives any more.
        """
        self.forget(before)
        before.inputs = moved
        self.replace(node, before)

    def forget(self, node: Node) -> None:
        """Says that `node` no longer holds the value of a sign of the original model."""
        self._signs.pop(node, None)


def _free(wanted: str, names: set[str]) -> str:
    """Returns `wanted`, or it with the first number that makes it new, and adds it to `names`."""
    name, count = wanted, 0
    while name in names:
        count += 1
        name = f"{wanted}_{count}"
    names.add(name)
    return name


def read(model: Any, to_train: bool = False) -> Graph:
    """Reads a built model; nested models, and layers of one's own that can be read, are flattened.

    Args:
        model: `keras.Model`, built.
        to_train: Whether the graph is to be trained. Then a layer of one's own is read only where it
            calls the same in training, and no weight of its own becomes a constant.

    Returns:
        The graph, whose leaves are the original layers: it holds no copy of their weights.

    Raises:
        ValueError: If the model is not built, is subclassed and cannot be read, or calls a nested model
            in a way that its layers alone do not show.
    """
    with contextlib.ExitStack() as stack:
        if is_ones_own(model):
            functional = stack.enter_context(called_on_inputs(model))
        else:
            functional = _as_functional(model)
        reader = _Reader(functional, to_train)
        inputs = [reader.input(tensor) for tensor in functional.inputs]
        outputs = reader.read(functional, inputs, training=None)
        return Graph(model.name, inputs, outputs, functional.output, functional.input, names=reader.names)


class _Reader:
    """Makes the nodes of a model; the layers of nested models get names that no other layer has."""

    def __init__(self, functional: Any, to_train: bool) -> None:
        self._to_train = to_train
        self._within: str | None = None
        self.names = {operation.name for operation in _operations(functional)}
        self.names |= {tensor.name for tensor in functional.inputs}
        self._given: set[str] = set()

    def input(self, tensor: Any) -> Node:
        """The node of an input."""
        self._given.add(tensor.name)
        return Node(tensor.name, _placeholder(tensor), [], tuple(tensor.shape))

    def read(self, functional: Any, inputs: list[Node], training: bool | None) -> list[Node]:
        """Returns the nodes of the outputs of `functional` on `inputs`."""
        values = {id(t): node for t, node in zip(functional.inputs, inputs, strict=True)}
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for call in functional._nodes_by_depth[depth]:
                if call.is_input or all(id(tensor) in values for tensor in call.outputs):
                    continue
                if isinstance(call.operation, keras.Model) and not is_ones_own(call.operation):
                    self._read_model(call, values, training)
                else:
                    self._read_call(call, values, training)
        return [values[id(tensor)] for tensor in functional.outputs]

    def _read_call(self, call: Any, values: dict[int, Node], training: bool | None) -> None:
        operation = call.operation
        args, kwargs = _arguments(operation, call.arguments, training)
        if self._within is not None and self._to_train and kwargs.get("training"):
            # As its layer was told, and not for good.
            kwargs.pop("training")
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
        inputs = [values[id(tensor)] for tensor in tensors]
        dtypes = tuple(map(dtype_of, inputs))
        doubt = None
        if is_ones_own(operation):
            try:
                with recorded(operation, (args, kwargs), dtypes, self._to_train) as inner:
                    outputs = self._read_inside(operation, inner, inputs)
            except NotReadError as error:
                if isinstance(operation, keras.Model):
                    raise _unread_model(operation, error) from error
                doubt = str(error)
            else:
                values.update((id(t), node) for t, node in zip(call.outputs, outputs, strict=True))
                return
        slots = iter(map(Slot, range(len(inputs))))
        arguments = keras.tree.map_structure(
            lambda x: next(slots) if isinstance(x, keras.KerasTensor) else constant_of(x), (args, kwargs)
        )
        is_layer = isinstance(operation, keras.layers.Layer)
        within = None if is_layer else self._within
        name = self._name(operation.name if within is None else f"{within}_{operation.name}")
        dtype = _output_dtype(call, args, kwargs, dtypes)
        layer = layer_of(operation, arguments, tensors, self._to_train)
        if layer is None:
            doubt = doubt or adds_elsewhere(operation, arguments, tensors)
        else:
            layer.name = name  # by which errors call it
            operation, arguments = layer, ((Slot(0),), {})
        made = KerasCall(operation, arguments, dtype, dtypes, doubt)
        node = Node(name, made, inputs, tuple(call.outputs[0].shape))
        if len(call.outputs) == 1:
            values[id(call.outputs[0])] = node
            return
        for index, tensor in enumerate(call.outputs):
            pick = Node(self._name(f"{name}_{index}"), Pick(index), [node], tuple(tensor.shape))
            values[id(tensor)] = pick

    def _read_inside(self, layer: Any, functional: Any, inputs: list[Node]) -> list[Node]:
        """Reads what a layer of one's own calls. The names of functions begin with that of the layer."""
        before, self._within = self._within, layer.name
        try:
            return self.read(functional, inputs, training=None if self._to_train else False)
        finally:
            self._within = before

    def _read_model(self, call: Any, values: dict[int, Node], training: bool | None) -> None:
        model = call.operation
        inner = _as_functional(model)
        args, kwargs = call.arguments.args, call.arguments.kwargs
        if any(mask is not None for mask in keras.tree.flatten(kwargs.get("mask"))):
            _refuse_masked(model)
        given = kwargs.get("training")
        actual = _in_the_order_of_the_inputs(inner, args[0] if args else kwargs["inputs"])
        inputs = [values[id(tensor)] for tensor in actual]
        outputs = self.read(inner, inputs, training if given is None else given)
        for tensor, output in zip(call.outputs, outputs, strict=True):
            values[id(tensor)] = output

    def _name(self, wanted: str) -> str:
        if self._within is None and wanted in self.names and wanted not in self._given:
            self._given.add(wanted)
            return wanted
        name = _free(wanted, self.names)
        self._given.add(name)
        return name


def _operations(functional: Any) -> Iterator[Any]:
    """All operations, those of nested models included."""
    for operation in functional.operations:
        yield operation
        if isinstance(operation, keras.Model) and not is_ones_own(operation):
            yield from _operations(_as_functional(operation))


def _arguments(operation: Any, arguments: Any, training: bool | None) -> tuple[Any, Any]:
    """The arguments of a call, without those that its layer does not use at inference.

    `training` is what the nested model that the call is part of was called with.
    """
    args, kwargs = arguments.args, dict(arguments.kwargs)
    if not isinstance(operation, keras.layers.Layer):
        return args, kwargs
    if training is not None and (takes(operation, "training") or (training and is_ones_own(operation))):
        # As Keras does, whatever the layer itself is called with; what it calls hears of it in any case.
        kwargs["training"] = training
    if ignores_mask(operation) and not kwargs.get("training"):
        kwargs.pop("mask", None)
    return args, kwargs


def _in_the_order_of_the_inputs(inner: Any, given: Any) -> list[Any]:
    """The tensors that a nested model is called with, one an input, as Keras assigns them."""
    names = [tensor.name for tensor in inner.inputs]
    if isinstance(given, dict) and not isinstance(inner.input, dict) and _LOOKS_NAMES_UP:
        given = [given[name] for name in names if name in given]
    flat = keras.tree.flatten(given)
    ranks = [None if x is None else len(x.shape) for x in flat]
    if ranks != [len(tensor.shape) for tensor in inner.inputs]:
        raise ValueError(
            f"Expected nested model {inner.name!r} to be called with a tensor of the same rank for each "
            f"of its inputs {names}. Received: {[None if x is None else tuple(x.shape) for x in flat]}. "
            "Reshape them before the call."
        )
    return flat


def _refuse_masked(model: Any) -> None:
    """Raises a ValueError where a layer of a nested model that is called with a mask uses it."""
    layers = [x for x in model._flatten_layers() if not isinstance(x, keras.Model)]
    using = [layer.name for layer in layers if takes(layer, "mask") and not ignores_mask(layer)]
    if using:
        raise ValueError(
            f"Expected nested model {model.name!r} to be called without a mask. Received a mask, which "
            f"its layers {using} use. Call these layers outside of the nested model, after a Masking or "
            "Embedding layer of the same model."
        )


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
    return model


def _unread_model(model: Any, why: Exception) -> ValueError:
    change = change_of_model(model) or f"of class {type(model).__name__}, which defines its own call"
    return ValueError(
        "Expected a model of layers and functions of keras.ops that can be read. Received: model "
        f"{model.name!r} {change}, and {why}. Build it from layers: model = keras.Model(inputs, outputs)."
    )


def build(graph: Graph, make_layer: Callable[[Node], Any]) -> Any:
    """Builds a Keras model from the graph.

    Args:
        graph: The graph.
        make_layer: Returns the Keras layer or operation that computes a node, and what gives it its
            weights once it is built: a function without arguments, or `None`.

    Returns:
        A Functional `keras.Model` with the inputs and outputs of the model that was read.
    """
    values: dict[int, Any] = {}
    inputs = []
    nodes = graph.nodes()
    _make_names_unique(nodes)
    for node in graph.inputs:
        assert isinstance(node.op, Placeholder)
        tensor = keras.Input(batch_shape=node.shape, dtype=node.op.dtype, name=node.name)
        values[id(node)] = tensor
        inputs.append(tensor)
    for node in nodes:
        if id(node) in values:
            continue
        sources = [values[id(source)] for source in node.inputs]
        if isinstance(node.op, Pick):
            values[id(node)] = keras.tree.flatten(sources[0])[node.op.index]
            continue
        layer, load = make_layer(node)
        if isinstance(node.op, KerasCall):
            if averages(node.op.kind):
                sources = [_as_float(tensor) for tensor in sources]
            args, kwargs = keras.tree.map_structure(
                lambda x, sources=sources: sources[x.index] if isinstance(x, Slot) else x,
                node.op.arguments,
            )
            _check_mask(node, layer, args, kwargs)
            made = layer(*args, **kwargs)
            tensors = keras.tree.flatten(made)
            # `ops.split(x, 1)` is a list too.
            values[id(node)] = made if len(tensors) > 1 else tensors[0]
        else:
            values[id(node)] = layer(*sources)
        if load is not None:
            load()
    outputs = [values[id(output)] for output in graph.outputs]
    taken = _packed(graph.input_structure, inputs, inputs[0] if len(inputs) == 1 else inputs)
    with recursion_of(3 * len(nodes)), warnings.catch_warnings():
        # The keys of a dictionary need not be the names of the inputs; the original has said so.
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict")
        return keras.Model(taken, _packed(graph.output_structure, outputs, outputs), name=graph.name)


def dtype_of(node: Node) -> str:
    """The type of a node's value: float32 for all that this package computes itself."""
    if isinstance(node.op, Pick):
        node = node.input
    return node.op.dtype if isinstance(node.op, KerasCall | Placeholder) else "float32"


def _output_dtype(call: Any, args: Any, kwargs: Any, dtypes: Sequence[str]) -> str:
    """The type of what a call gives, where those of what it gets are the true ones.

    Where it is not known, it is taken for that of the integers that go in: refused, not floats.
    """
    integers = [dtype for dtype in dtypes if not keras.backend.is_float_dtype(dtype)]
    if not integers:
        return str(keras.backend.standardize_dtype(call.outputs[0].dtype))
    left = iter(dtypes)
    given = keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, next(left)) if isinstance(x, keras.KerasTensor) else x,
        (args, kwargs),
    )
    return output_dtype(call.operation, *given) or integers[0]


def _as_float(tensor: Any) -> Any:
    """The values of a tensor as real numbers: what pools average, where backends take no integers."""
    integers = not keras.backend.standardize_dtype(tensor.dtype).startswith(("float", "bfloat"))
    return keras.ops.cast(tensor, "float32") if integers else tensor


@contextlib.contextmanager
def recursion_of(calls: int) -> Iterator[None]:
    """Lets what goes from layer to layer by recursion, as Keras does, be so many calls deep."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 1000 + calls))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _check_mask(node: Node, layer: Any, args: Any, kwargs: Any) -> None:
    """Raises a ValueError where a layer would use a mask that did not reach it in the original model."""
    masked = args and getattr(args[0], "_keras_mask", None) is not None
    if masked and kwargs.get("mask") is None and takes(layer, "mask") and not ignores_mask(layer):
        raise ValueError(
            f"Expected a mask to end in front of layer {node.name!r}, as it does in the model. Received: "
            "a layer before it that passes masks on once the model is folded. Take the Masking layer, or "
            "mask_zero=True of the Embedding, out of the model: nothing uses the mask."
        )


def _packed(structure: Any, tensors: list[Any], otherwise: Any) -> Any:
    return otherwise if structure is None else keras.tree.pack_sequence_as(structure, tensors)


def _make_names_unique(nodes: list[Node]) -> None:
    """Gives nodes whose name another one has before them, from a rule of one's own, a new name."""
    names: set[str] = set()
    again = []
    for node in nodes:
        if node.name in names:
            again.append(node)
        names.add(node.name)
    # All names first, so that none that comes later is given away.
    for node in again:
        node.name = _free(node.name, names)
