"""The graph of the binary network, made value by value from that of the float one.

A value of the original network has up to three counterparts:

- its **sign**, -1 or +1, for the binary layers that read it;
- its **real** value, for the layers that stay float;
- its **stream**, the real value without any activation function, for shortcuts (policy "bireal").

Each is made when something asks for it, and once. Between a binary layer and the sign after it stand,
in this order, the pools, one batch normalization, and the sign:

    convolution → activation → pool → …      becomes      convolution → pool → normalization → sign → …

A maximum of signs is +1 nearly everywhere, and an average of signs is none; sums in a pool keep what
there is to know, and the normalization behind it puts the sign where half of the values are on either
side. A maximum and a rising function can change places, so where a ReLU stands between normalization and
pool, both orders are the same function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sbn import layers
from keras_sbn.folding.computation import plain_copy
from keras_sbn.folding.copies import copy_of
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import KerasCall, Pick, Slot
from keras_sbn.from_keras import binary_layers
from keras_sbn.from_keras.policy import Role
from keras_sbn.from_keras.shortcuts import Shortcuts, fit
from keras_sbn.from_keras.values import SEPARABLE, Value, activation_layer, is_convolution

K = keras.layers

_POOLS = ("max_pool", "average_pool", "pad")
#: What may stand between a value and the sign that a binary layer takes of it.
_BEFORE_A_SIGN = (*_POOLS, "activation", "normalization", "training")


class Rewriter:
    """Makes the nodes of the new graph, and keeps who they stem from.

    Args:
        graph: The graph of the original model.
        roles: What becomes of the layers with kernels, by identity of the layer.
        kept: Names of layers that stay as they are.
        shortcuts: What goes around which layer, or `None` for a network without new shortcuts.
        carry_weights: Whether binary layers start from the weights of the float ones.

    Attributes:
        made: By value, the nodes that stem from it.
        notes: By value, what is to be said of it.
    """

    def __init__(
        self,
        graph: Graph,
        roles: dict[int, Role],
        kept: set[str],
        shortcuts: Shortcuts | None,
        carry_weights: bool,
    ) -> None:
        self._roles = roles
        self._kept = kept
        self._shortcuts = shortcuts
        self._carry = carry_weights
        names = {node.name for node in graph.nodes()}
        inputs = [Node(node.name, node.op, [], node.shape) for node in graph.inputs]
        self.graph = Graph(
            graph.name, inputs, [], graph.output_structure, graph.input_structure, names=names
        )
        self._inputs = dict(zip(graph.inputs, inputs, strict=True))
        self._given = {node.name for node in inputs}
        self._memo: dict[Any, Node] = {}
        self._layers: dict[Any, Any] = {}
        self._loads: dict[int, Callable[[], None]] = {}
        self._copies: dict[int, Any] = {}
        self._reset: set[int] = set()
        self._taken: set[str] = set()
        self._known: dict[Any, bool] = {}
        self.made: dict[Value, list[Node]] = {}
        self.notes: dict[Value, list[str]] = {}

    def make_layer(self, node: Node) -> tuple[Any, Callable[[], None] | None]:
        """The layer of a node of the new graph, and what gives it its weights, for `graph.build`."""
        assert isinstance(node.op, KerasCall)
        operation = node.op.operation
        if id(operation) in self._loads:
            if id(operation) not in self._copies:
                operation.name = node.name
                self._copies[id(operation)] = operation
            return operation, self._loads[id(operation)]
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
            if id(operation) in self._reset:
                binary_layers.reset_statistics(copy)

        return copy, load_and_train

    def finish(self, outputs: list[Value]) -> None:
        """Makes the outputs of the new graph, of the names that they had."""
        self.graph.outputs = [self.real(value) for value in outputs]
        self._join_activations()
        for value, node in zip(outputs, self.graph.outputs, strict=True):
            if node.name == value.name:
                continue
            for other in self.graph.nodes():
                if other.name == value.name:
                    other.name = node.name
            node.name = value.name

    def _join_activations(self) -> None:
        """Float layers whose activation function still follows them alone compute it themselves again."""
        calls: dict[int, list[tuple[Value, Node, Node] | None]] = {}
        for value in list(self.made):
            if (
                value.function is None
                or self._is_binary(value.input)
                or ("real", value.input) not in self._memo
            ):
                continue
            product, function = self._memo["real", value.input], self._memo.get(("real", value))
            alone = (
                function is not None
                and function.inputs == [product]
                and product in self.graph.links
                and self.graph.has_one_use(product)
                and value.layer_kind not in SEPARABLE
            )
            found = (value, product, function) if alone and function is not None else None
            calls.setdefault(id(value.layer), []).append(found)
        for several in calls.values():
            if None in several:
                continue
            for value, product, function in filter(None, several):
                function.op = value.node.op
                function.inputs = product.inputs
                function.name, product.name = product.name, function.name

    # The counterparts of a value.

    def real(self, value: Value) -> Node:
        """The real value, for layers that stay float and for outputs."""
        return self._once(("real", value), lambda: self._real(value))

    def sign(self, value: Value) -> Node:
        """The value as -1 or +1, for binary layers."""
        return self._once(("sign", value), lambda: self._sign(value))

    def stream(self, value: Value) -> Node:
        """The real value without the activation functions, for shortcuts."""
        return self._once(("stream", value), lambda: self._stream(value))

    def _once(self, key: Any, make: Callable[[], Node]) -> Node:
        if key not in self._memo:
            self._memo[key] = make()
        return self._memo[key]

    def _real(self, value: Value) -> Node:
        if value.kind == "input":
            return self._inputs[value.node]
        if self._is_binary(value):
            return self._normalized(value)
        if value.kind == "linear":
            return self._float(value)
        if value.kind == "normalization" and value.name not in self._kept:
            return self._normalization(value, self._raw(value.input), direct=value.input)
        if value.kind == "add" and value.name not in self._kept:
            return self._addition(value)
        if value.kind == "normalization":
            return self._same(value, [self._raw(value.input)])
        return self._same(value, [self.real(source) for source in value.inputs])

    def _raw(self, value: Value) -> Node:
        """The sums of a binary layer, maybe pooled or moved, where batch normalization follows anyway."""
        if not self._is_raw(value):
            return self.real(value)
        return self._once(("raw", value), lambda: self._make_raw(value))

    def _is_raw(self, value: Value) -> bool:
        if self._is_binary(value):
            return True
        moves = value.kind in (*_POOLS, "move", "training") and self._shortcuts is None
        return moves and value.name not in self._kept and self._all(self._is_raw, value)

    def _all(self, holds: Callable[[Value], bool], value: Value) -> bool:
        """Whether something holds of everything that a value is made of; each is asked once."""
        key = (holds.__name__, value)
        if key not in self._known:
            self._known[key] = all(map(holds, value.inputs))
        return self._known[key]

    def _make_raw(self, value: Value) -> Node:
        if self._is_binary(value):
            return self._product(value)
        return self._same(value, [self._raw(source) for source in value.inputs])

    def _stream(self, value: Value) -> Node:
        if value.name in self._kept:
            return self.real(value)
        if value.kind in ("activation", "training"):
            if value.kind == "training":
                self._note(value, "not on shortcuts: a sign makes +1 of a value that it sets to 0")
            return self.stream(value.input)
        if value.kind in (*_POOLS, "move"):
            return self._same(value, [self.stream(source) for source in value.inputs])
        if value.kind == "normalization" and not self._is_binary(value.input):
            return self._normalization(value, self.stream(value.input))
        return self.real(value)

    def _sign(self, value: Value) -> Node:
        if value.kind == "sign":
            return self.real(value)
        if value.kind == "move" and value.name not in self._kept:
            return self._same(value, [self.sign(source) for source in value.inputs])
        if self._shortcuts is not None:
            return self._sign_of_stream(value)
        chain, source = self._before_sign(value)
        pools = [each for each in chain if each.kind in _POOLS]
        trainings = [each for each in chain if each.kind == "training"]
        norms = [each for each in chain if each.kind == "normalization"]
        functions = [each for each in chain if each.kind == "activation"]
        only_maxima = not norms and all(each.kind == "max_pool" for each in pools)
        if only_maxima and chain and source.kind in (*_BEFORE_A_SIGN, "move", "sign"):
            # Others read `source` as well, and its sign is there, or will be.
            node = self.sign(source)
            for function in functions:
                self._note(function, f"left out: binary layers read the sign of {source.name}")
            for pool in reversed(pools):
                node = self._same(pool, [node])
        else:
            node = self._binarized(source, pools, norms, functions, value)
        for training in reversed(trainings):
            self._note(training, "acts on -1 and +1, after the sign: before it, 0 would be +1")
            node = self._same(training, [node])
        return node

    def _before_sign(self, value: Value) -> tuple[list[Value], Value]:
        """What a sign goes back behind, from the last value to the first, and the value before that."""
        chain = []
        each = value
        while (
            each.kind in _BEFORE_A_SIGN
            and each.name not in self._kept
            and (each is value or each.has_one_reader)
            and len(each.inputs) == 1
        ):
            chain.append(each)
            each = each.input
        return chain, each

    def _binarized(
        self,
        source: Value,
        pools: list[Value],
        norms: list[Value],
        functions: list[Value],
        value: Value,
    ) -> Node:
        """Pools, batch normalization and the sign behind `source`."""
        if not pools and norms and norms[0].input is source:
            node = self.real(norms[0])
        elif not pools and not norms:
            node = self._normalized(source)
        else:
            node = self._raw(source)
            for pool in reversed(pools):
                node = self._same(pool, [node])
                if self._moved_before(pool, norms, functions):
                    self._note(pool, "before batch normalization and sign")
            if norms:
                node = self._normalization(norms[0], node, direct=source)
            else:
                node = self._inserted_normalization(source, node, pools=pools)
        for norm in norms[1:]:
            self._note(norm, f"left out: {norms[0].name} normalizes before the sign")
        owner = functions[0] if functions else value
        for function in functions[1:]:
            self._note(function, f"left out: the sign of {functions[0].name} takes its place")
        return self._new_sign(owner, node, bool(functions))

    @staticmethod
    def _moved_before(pool: Value, norms: list[Value], functions: list[Value]) -> bool:
        value = pool.input
        while value.kind in _BEFORE_A_SIGN:
            if value in norms or value in functions:
                return True
            value = value.input
        return False

    def _sign_of_stream(self, value: Value) -> Node:
        if value.kind == "training" and value.name not in self._kept:
            self._note(value, "acts on -1 and +1, after the sign: before it, 0 would be +1")
            return self._same(value, [self.sign(value.input)])
        node = self.stream(value)
        owner, function = value, value
        while function.kind in _POOLS or function.kind in ("normalization", "training"):
            function = function.input
        if function.kind == "activation":
            owner = function
        if not self._is_normalized(value):
            node = self._inserted_normalization(value, node)
        return self._new_sign(owner, node, function.kind == "activation")

    def _is_normalized(self, value: Value) -> bool:
        """Whether the stream of a value is that of normalized values, or a sum of them."""
        if value.kind == "normalization" or self._is_binary(value):
            return True
        if value.kind in ("activation", "training", "max_pool", "move", "add"):
            return value.name not in self._kept and self._all(self._is_normalized, value)
        return False

    # What the counterparts are made of.

    def _is_binary(self, value: Value) -> bool:
        return value.is_candidate and self._roles[id(value.layer)].is_binary

    def _product(self, value: Value) -> Node:
        """The sums of a binary layer."""
        layer, kind = value.layer, value.layer_kind
        assert kind is not None
        role = self._roles[id(layer)]
        read = value.input
        changes: dict[str, Any] = {}
        if read.kind == "pad" and read.has_one_reader and self._is_same_padding(value, read):
            self._note(read, f"done by {value.name}, with padding='same'")
            read, changes = read.input, {"padding": "same"}
        if kind is K.SeparableConv1D:
            return self._separated(value, self.real(read))
        node = self.real(read) if role.first else self.sign(read)
        as_convolution = kind is K.Conv2DTranspose and is_convolution(layer)
        if as_convolution:
            self._note(value, "as a convolution, which it is without strides")
        if role.first and kind is not K.Dense and (kind is not K.Conv2DTranspose or as_convolution):
            changes["pad_value"] = 0.0

        def make(name: str) -> Any:
            new = binary_layers.binary_layer(layer, kind, name, **changes)
            flips = self._flips(value)
            self._loads[id(new)] = lambda: self._load_kernels(layer, new, flips)
            return new

        new = self._layer(("product", id(layer)), value, make)
        dropped = binary_layers.left_out(layer)
        if dropped:
            self._note(value, f"without {' and '.join(dropped)}, as batch normalization follows")
        return self._node(value, value.name, new, [node], value.shape)

    def _load_kernels(self, old: Any, new: Any, flips: np.ndarray | None) -> None:
        if self._carry:
            binary_layers.load_kernels(old, new, flips)

    def _flips(self, value: Value) -> np.ndarray | None:
        """Signs of the gammas of the only batch normalization behind a layer: they go into its kernel."""
        if not (value.has_one_reader and value.readers[0].kind == "normalization"):
            return None
        if value.readers[0].layer_kind is not K.BatchNormalization or value.readers[0].name in self._kept:
            return None
        gamma = binary_layers.gamma_of(value.readers[0].layer)
        return None if gamma is None else np.where(gamma < 0, -1.0, 1.0).astype("float32")

    @staticmethod
    def _is_same_padding(value: Value, pad: Value) -> bool:
        """Whether zeros around the input of a convolution are those that padding="same" adds."""
        layer = value.layer
        if getattr(layer, "padding", None) != "valid" or value.layer_kind is K.Conv2DTranspose:
            return False
        rank = len(pad.shape) - 2
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return False
        given = pad.layer.padding
        given = [given] if rank == 1 else list(given)
        sizes = pad.input.shape[1:-1]
        arguments = (layer.kernel_size, layer.strides, layer.dilation_rate)
        windows, strides, rates = (x if isinstance(x, tuple | list) else (x,) * rank for x in arguments)
        for both, size, window, stride, rate in zip(given, sizes, windows, strides, rates, strict=True):
            if size is None:
                return False
            total = max((math.ceil(size / stride) - 1) * stride + (window - 1) * rate + 1 - size, 0)
            if tuple(both) != (total // 2, total - total // 2):
                return False
        return True

    def _separated(self, value: Value, node: Node) -> Node:
        """A separable convolution over time: a float depthwise one, then a binary one of 1 x 1."""
        layer = value.layer
        depthwise, pointwise = self._layer(
            ("separated", id(layer)),
            value,
            lambda name: binary_layers.separate(
                layer, K.SeparableConv1D, name, self._name(f"{name}_depthwise", value)
            ),
        )
        self._loads[id(depthwise[0])] = depthwise[1]
        shape = (*value.shape[:-1], (node.shape[-1] or 0) * layer.depth_multiplier)
        node = self._node(value, f"{value.name}_depthwise", depthwise[0], [node], shape)
        node = self._inserted_normalization(value, node, f"{value.name}_depthwise")
        node = self._new_sign(value, node, False, f"{value.name}_depthwise")

        def make(name: str) -> Any:
            new = binary_layers.binary_layer(pointwise[0], K.Conv1D, name)

            def load() -> None:
                if self._carry:
                    pointwise[0].build(shape)
                    pointwise[1]()
                    binary_layers.load_kernels(pointwise[0], new)

            self._loads[id(new)] = load
            return new

        self._note(value, "its depthwise part stays float, as there is no binary one over time")
        new = self._layer(("product", id(layer)), value, make)
        return self._node(value, value.name, new, [node], value.shape)

    def _float(self, value: Value) -> Node:
        """A layer with a kernel that stays float."""
        stream = value.is_candidate and self._roles[id(value.layer)].on_shortcut
        sources = [self.stream(x) if stream else self.real(x) for x in value.inputs]
        layer = value.layer
        if value.layer_kind in SEPARABLE:
            return self._float_separable(value, sources)
        if not any(reader.function is not None for reader in value.readers):
            return self._same(value, sources)

        def make(name: str) -> Any:
            new = plain_copy(layer, activation="linear", name=name)
            new.trainable = layer.trainable
            self._loads[id(new)] = lambda: new.set_weights(layer.get_weights())
            return new

        new = self._layer(("linear", id(layer)), value, make)
        return self._node(value, value.name, new, sources, value.shape)

    def _float_separable(self, value: Value, sources: list[Node]) -> Node:
        layer, kind = value.layer, value.layer_kind
        assert kind is not None
        (depthwise, load), (pointwise, load_too) = self._layer(
            ("separated", id(layer)),
            value,
            lambda name: binary_layers.separate(
                layer, kind, name, self._name(f"{name}_depthwise", value)
            ),
        )
        self._loads[id(depthwise)], self._loads[id(pointwise)] = load, load_too
        shape = (*value.shape[:-1], (sources[0].shape[-1] or 0) * layer.depth_multiplier)
        node = self._node(value, f"{value.name}_depthwise", depthwise, sources, shape)
        self._note(value, "as the two layers that it consists of, which files have")
        return self._node(value, value.name, pointwise, [node], value.shape)

    def _normalized(self, value: Value) -> Node:
        """The value behind a batch normalization of its own, and behind its shortcut if there is one."""
        return self._once(("normalized", value), lambda: self._make_normalized(value))

    def _make_normalized(self, value: Value) -> Node:
        if not self._is_binary(value):
            if value.kind == "normalization":
                return self.real(value)
            return self._inserted_normalization(value, self.real(value))
        node = self._inserted_normalization(value, self._raw(value))
        return self._around(value, node)

    def _inserted_normalization(
        self, value: Value, node: Node, name: str | None = None, pools: Sequence[Value] = ()
    ) -> Node:
        wanted = f"{name or value.name}_bn"
        first = value
        while first.kind not in ("linear", "move") and first.inputs:
            first = first.inputs[0]
        axis = 1 if first.kind != "move" and first.channels_first and len(node.shape) > 2 else -1

        def make(made: str) -> Any:
            policy = getattr(value.layer, "dtype_policy", None)
            new = layers.BinaryBatchNormalization(axis=axis, name=made, dtype=policy)
            self._loads[id(new)] = _nothing
            return new

        # One for every call of a layer that the model shares.
        owner = id(value.layer) if value.kind == "linear" else value
        key = ("inserted", owner, name, *(id(pool.layer) for pool in pools))
        new = self._layer(key, value, make, wanted)
        return self._node(value, wanted, new, [node], node.shape)

    def _normalization(self, value: Value, node: Node, direct: Value | None = None) -> Node:
        """The batch normalization of the model, on sums of signs or on real values."""
        old = value.layer
        return self._once(
            ("normalization", value, node),
            lambda: self._make_normalization(value, old, node, direct),
        )

    def _make_normalization(self, value: Value, old: Any, node: Node, direct: Value | None) -> Node:
        behind_binary = direct is not None and self._is_binary(direct)
        gamma = None if isinstance(old, layers.BinaryBatchNormalization) else binary_layers.gamma_of(old)
        positive = gamma is None or bool((gamma > 0).all())
        unchanged = self._is_unchanged(value)
        is_keras = value.layer_kind is K.BatchNormalization
        if unchanged or not is_keras or not (behind_binary or positive):
            made = self._same(value, [node])
        else:

            def make(name: str) -> Any:
                new = binary_layers.binary_normalization(old, name)
                self._loads[id(new)] = lambda: self._load_normalization(old, new)
                return new

            new = self._layer(("normalization", id(old)), value, make)
            made = self._node(value, value.name, new, [node], node.shape)
        return self._around(direct, made) if behind_binary and direct is value.input else made

    def _load_normalization(self, old: Any, new: Any) -> None:
        if self._carry:
            binary_layers.load_normalization(old, new, statistics=False)

    def _is_unchanged(self, value: Value) -> bool:
        """Whether the real value is that of the original network."""
        return not self._is_binary(value) and self._all(self._is_unchanged, value)

    def _new_sign(self, owner: Value, node: Node, named: bool, before: str | None = None) -> Node:
        """A sign in place of an activation function, or after `owner`, or after what `before` names."""
        name = owner.name if named and owner.function is None else f"{before or owner.name}_sign"
        policy = getattr(owner.layer, "dtype_policy", None)
        made = self._name(name, owner)
        new = layers.SelfBinarizingActivation(name=made, dtype=policy)
        self._loads[id(new)] = _nothing
        return self._node(owner, made, new, [node], node.shape)

    def _addition(self, value: Value) -> Node:
        if self._is_unchanged(value):
            return self._same(value, [self.real(source) for source in value.inputs])
        if self._shortcuts is None:
            sums = any(self._is_binary(_behind_functions(source)) for source in value.inputs)
            sources = [self.sign(x) if sums and _is_activated(x) else self.real(x) for x in value.inputs]
            return self._same(value, sources)
        left = self._shortcuts.replaced.get(value)
        if left is not None:
            self._note(value, "each convolution has a shortcut of its own in its place")
            return self.real(left)
        return self._same(value, [self.stream(source) for source in value.inputs])

    def _around(self, value: Value | None, node: Node) -> Node:
        """Adds what goes around a binary layer to its normalized sums."""
        if self._shortcuts is None or value is None:
            return node
        return self._once(("around", value, node), lambda: self._make_around(value, node))

    def _make_around(self, value: Value, node: Node) -> Node:
        assert self._shortcuts is not None
        given = self._shortcuts.given.get(value)
        if given is not None:
            shortcut: Node | str = self.stream(given)
        elif value in self._shortcuts.own or self._roles[id(value.layer)].first:
            return node
        else:
            shortcut = self._fitted(value)
        if isinstance(shortcut, str):
            self._note(value, f"no shortcut: {shortcut}")
            return node
        name = f"{value.name}_shortcut_sum"
        made = self._name(name, value)
        add = K.Add(name=made)
        self._loads[id(add)] = _nothing
        self._note(value, "a shortcut of real values goes around it")
        return self._node(value, made, add, [node, shortcut], node.shape, listed=True)

    def _fitted(self, value: Value) -> Node | str:
        found = fit(value, value.input.shape)
        if isinstance(found, str):
            return found
        node = self.stream(value.input)
        rank = len(value.shape) - 2
        if found.crop is not None:
            crop = K.Cropping1D(found.crop[0]) if rank == 1 else K.Cropping2D(found.crop)
            node = self._shaped(value, "crop", crop, [node])
        if found.pool is not None:
            pool: Any = K.AveragePooling1D if rank == 1 else K.AveragePooling2D
            window = found.pool[0] if rank == 1 else found.pool
            node = self._shaped(value, "pool", pool(window, window, padding="same"), [node])
        if found.copies > 1:
            node = self._shaped(value, "copies", K.Concatenate(), [node] * found.copies)
        return node

    def _shaped(self, value: Value, part: str, layer: Any, sources: list[Node]) -> Node:
        several = len(sources) > 1
        shape = tuple(
            layer.compute_output_shape([s.shape for s in sources] if several else sources[0].shape)
        )
        layer.name = self._name(f"{value.name}_shortcut_{part}", value)
        self._loads[id(layer)] = _nothing
        return self._node(value, layer.name, layer, sources, shape, listed=several)

    def _same(self, value: Value, sources: list[Node]) -> Node:
        """The layer of the original model on other values."""
        return self._once(("same", value, *sources), lambda: self._make_same(value, sources))

    def _make_same(self, value: Value, sources: list[Node]) -> Node:
        op = value.node.op
        if isinstance(op, Pick):
            node = Node(self._name(value.name, value), op, sources, value.shape)
            self.made.setdefault(value, []).append(node)
            return node
        if value.function is not None:
            return self._same_function(value, sources)
        assert isinstance(op, KerasCall)
        if value.kind == "normalization" and not self._is_unchanged(value):
            self._reset.add(id(op.operation))
        name = self._name(value.name, value)
        node = Node(name, KerasCall(op.operation, op.arguments), sources, value.shape)
        self.made.setdefault(value, []).append(node)
        return node

    def _same_function(self, value: Value, sources: list[Node]) -> Node:
        name = self._name(f"{value.name}_activation", value)
        new = activation_layer(value, name)
        self._loads[id(new)] = _nothing
        return self._node(value, name, new, sources, value.shape)

    def _layer(
        self, key: Any, value: Value, make: Callable[[str], Any], wanted: str | None = None
    ) -> Any:
        """A new layer, the same one for every call of a layer that the model shares."""
        if key not in self._layers:
            self._layers[key] = make(self._name(wanted or value.name, value))
        return self._layers[key]

    def _node(
        self,
        value: Value,
        wanted: str,
        layer: Any,
        sources: list[Node],
        shape: tuple[int | None, ...],
        listed: bool = False,
    ) -> Node:
        slots: Any = [Slot(index) for index in range(len(sources))]
        arguments: Any = ((slots,) if listed else tuple(slots), {})
        name = layer.name if layer.name not in self._taken else self._name(wanted, value)
        self._taken.add(name)
        node = Node(name, KerasCall(layer, arguments), sources, shape)
        self.made.setdefault(value, []).append(node)
        return node

    def _name(self, wanted: str, value: Value) -> str:
        """A name that no other layer has: its own for the layer of a value, never that of another one."""
        if wanted == value.name and wanted not in self._given:
            self._given.add(wanted)
            return wanted
        return self.graph.new_name(wanted)

    def _note(self, value: Value, text: str) -> None:
        notes = self.notes.setdefault(value, [])
        if text not in notes:
            notes.append(text)


def _is_activated(value: Value) -> bool:
    """Whether a value is that of an activation function, maybe pooled or moved."""
    while value.kind in ("max_pool", "move", "training") and len(value.inputs) == 1:
        value = value.input
    return value.kind == "activation"


def _behind_functions(value: Value) -> Value:
    """The sums, or whatever else, that a value is a function of."""
    while value.kind in _BEFORE_A_SIGN and len(value.inputs) == 1:
        value = value.input
    return value


def _nothing() -> None:
    """Gives a new layer no weights but those it starts with."""
