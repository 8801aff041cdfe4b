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

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_sbn import layers
from keras_sbn.folding.computation import plain_copy, weights_without_activation
from keras_sbn.folding.graph import Node
from keras_sbn.from_keras import binary_layers
from keras_sbn.from_keras.new_graph import NewGraph
from keras_sbn.from_keras.policy import Role
from keras_sbn.from_keras.shortcuts import Shortcuts, fit
from keras_sbn.from_keras.values import (
    SEPARABLE,
    Value,
    activation_layer,
    is_convolution,
    is_same_padding,
)

K = keras.layers

_POOLS = ("max_pool", "average_pool", "pad")
#: What may stand between a value and the sign that a binary layer takes of it.
_BEFORE_A_SIGN = (*_POOLS, "activation", "normalization", "training")


class Rewriter:
    """Decides which nodes the new graph has, value by value.

    Args:
        new: Where the nodes of the new network go.
        roles: What becomes of the layers with kernels, by identity of the layer.
        kept: Names of layers that stay as they are.
        shortcuts: What goes around which layer, or `None` for a network without new shortcuts.
        carry_weights: Whether binary layers start from the weights of the float ones.
    """

    def __init__(
        self,
        new: NewGraph,
        roles: dict[int, Role],
        kept: set[str],
        shortcuts: Shortcuts | None,
        carry_weights: bool,
    ) -> None:
        self._roles = roles
        self._kept = kept
        self._shortcuts = shortcuts
        self._carry = carry_weights
        self._new = new
        self._known: dict[Any, bool] = {}

    def finish(self, outputs: list[Value]) -> None:
        """Makes the outputs of the new graph, of the names that they had."""
        self._new.graph.outputs = [self.real(value) for value in outputs]
        self._join_activations()
        self._new.name_outputs([value.name for value in outputs])

    def _join_activations(self) -> None:
        """Float layers whose activation function still follows them alone compute it themselves again."""
        calls: dict[int, list[tuple[Value, Node, Node] | None]] = {}
        for value in list(self._new.made):
            if (
                value.function is None
                or self._is_binary(value.input)
                or ("real", value.input) not in self._new.memo
            ):
                continue
            product, function = self._new.memo["real", value.input], self._new.memo.get(("real", value))
            alone = (
                function is not None
                and function.inputs == [product]
                and product in self._new.graph.links
                and self._new.graph.has_one_use(product)
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
        return self._new.once(("real", value), lambda: self._real(value))

    def sign(self, value: Value) -> Node:
        """The value as -1 or +1, for binary layers."""
        return self._new.once(("sign", value), lambda: self._sign(value))

    def stream(self, value: Value) -> Node:
        """The real value without the activation functions, for shortcuts."""
        return self._new.once(("stream", value), lambda: self._stream(value))

    def _real(self, value: Value) -> Node:
        if value.kind == "input":
            return self._new.inputs[value.node]
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
        return self._new.once(("raw", value), lambda: self._make_raw(value))

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
                self._new.note(value, "not on shortcuts: a sign makes +1 of a value that it sets to 0")
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
                self._new.note(function, f"left out: binary layers read the sign of {source.name}")
            for pool in reversed(pools):
                node = self._same(pool, [node])
        else:
            node = self._binarized(source, pools, norms, functions, value)
        for training in reversed(trainings):
            self._new.note(training, "acts on -1 and +1, after the sign: before it, 0 would be +1")
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
                    self._new.note(pool, "before batch normalization and sign")
            if norms:
                node = self._normalization(norms[0], node, direct=source)
            else:
                node = self._inserted_normalization(source, node, pools=pools)
        for norm in norms[1:]:
            self._new.note(norm, f"left out: {norms[0].name} normalizes before the sign")
        owner = functions[0] if functions else value
        for function in functions[1:]:
            self._new.note(function, f"left out: the sign of {functions[0].name} takes its place")
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
            self._new.note(value, "acts on -1 and +1, after the sign: before it, 0 would be +1")
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
        if role.part or kind is K.SeparableConv1D:
            return self._separated(value, self.real(read))
        changes: dict[str, Any] = {}
        if read.kind == "pad" and read.has_one_reader and is_same_padding(value, read):
            self._new.note(read, f"done by {value.name}, with padding='same'")
            read, changes = read.input, {"padding": "same"}
        node = self.real(read) if role.first else self.sign(read)
        as_convolution = kind is K.Conv2DTranspose and is_convolution(layer)
        if as_convolution:
            self._new.note(value, "as a convolution, which it is without strides")
        if role.first and kind is not K.Dense and (kind is not K.Conv2DTranspose or as_convolution):
            changes["pad_value"] = 0.0

        def make(name: str) -> Any:
            new = binary_layers.binary_layer(layer, kind, name, **changes)
            flips = self._flips(value)
            self._new.loads[id(new)] = lambda: self._load_kernels(layer, new, flips)
            return new

        new = self._new.layer(("product", id(layer)), value, make)
        dropped = binary_layers.left_out(layer)
        if dropped:
            self._new.note(value, f"without {' and '.join(dropped)}, as batch normalization follows")
        return self._new.node(value, value.name, new, [node], value.shape)

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

    def _separated(self, value: Value, node: Node) -> Node:
        """A separable convolution: a float depthwise one, then a binary one of 1 x 1."""
        layer, kind = value.layer, value.layer_kind
        assert kind is not None
        # The name of the layer is that of its binary part.
        depthwise, pointwise = self._new.layer(
            ("separated", id(layer)),
            value,
            lambda name: binary_layers.separate(layer, kind, value.name, name),
            f"{value.name}_depthwise",
        )
        self._new.loads[id(depthwise[0])] = depthwise[1]
        shape = (*value.shape[:-1], (node.shape[-1] or 0) * layer.depth_multiplier)
        node = self._new.node(value, f"{value.name}_depthwise", depthwise[0], [node], shape)
        node = self._inserted_normalization(value, node, f"{value.name}_depthwise")
        node = self._new_sign(value, node, False, f"{value.name}_depthwise")

        def make(name: str) -> Any:
            new = binary_layers.binary_layer(pointwise[0], type(pointwise[0]), name)

            def load() -> None:
                if self._carry:
                    # Once for each call of a layer that the model shares.
                    if not pointwise[0].built:
                        pointwise[0].build(shape)
                    pointwise[1]()
                    binary_layers.load_kernels(pointwise[0], new)

            self._new.loads[id(new)] = load
            return new

        self._new.note(value, "its depthwise part stays float: it has few weights")
        new = self._new.layer(("product", id(layer)), value, make)
        return self._new.node(value, value.name, new, [node], value.shape)

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
            self._new.loads[id(new)] = lambda: new.set_weights(weights_without_activation(layer))
            return new

        new = self._new.layer(("linear", id(layer)), value, make)
        return self._new.node(value, value.name, new, sources, value.shape)

    def _float_separable(self, value: Value, sources: list[Node]) -> Node:
        layer, kind = value.layer, value.layer_kind
        assert kind is not None
        (depthwise, load), (pointwise, load_too) = self._new.layer(
            ("separated", id(layer)),
            value,
            lambda name: binary_layers.separate(
                layer, kind, name, self._new.name(f"{name}_depthwise", value)
            ),
        )
        self._new.loads[id(depthwise)], self._new.loads[id(pointwise)] = load, load_too
        shape = (*value.shape[:-1], (sources[0].shape[-1] or 0) * layer.depth_multiplier)
        node = self._new.node(value, f"{value.name}_depthwise", depthwise, sources, shape)
        self._new.note(value, "as the two layers that it consists of, which files have")
        return self._new.node(value, value.name, pointwise, [node], value.shape)

    def _normalized(self, value: Value) -> Node:
        """The value behind a batch normalization of its own, and behind its shortcut if there is one."""
        return self._new.once(("normalized", value), lambda: self._make_normalized(value))

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
            self._new.starts_afresh(new)
            return new

        # One for every call of a layer that the model shares.
        owner = id(value.layer) if value.kind == "linear" else value
        key = ("inserted", owner, name, *(id(pool.layer) for pool in pools))
        new = self._new.layer(key, value, make, wanted)
        return self._new.node(value, wanted, new, [node], node.shape)

    def _normalization(self, value: Value, node: Node, direct: Value | None = None) -> Node:
        """The batch normalization of the model, on sums of signs or on real values."""
        old = value.layer
        return self._new.once(
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
                self._new.loads[id(new)] = lambda: self._load_normalization(old, new)
                return new

            new = self._new.layer(("normalization", id(old)), value, make)
            made = self._new.node(value, value.name, new, [node], node.shape)
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
        made = self._new.name(name, owner)
        new = layers.SelfBinarizingActivation(name=made, dtype=policy)
        self._new.starts_afresh(new)
        return self._new.node(owner, made, new, [node], node.shape)

    def _addition(self, value: Value) -> Node:
        if self._is_unchanged(value):
            return self._same(value, [self.real(source) for source in value.inputs])
        if self._shortcuts is None:
            sums = any(self._is_binary(_behind_functions(source)) for source in value.inputs)
            sources = [self.sign(x) if sums and _is_activated(x) else self.real(x) for x in value.inputs]
            return self._same(value, sources)
        left = self._shortcuts.replaced.get(value)
        if left is not None:
            self._new.note(value, "each convolution has a shortcut of its own in its place")
            return self.real(left)
        return self._same(value, [self.stream(source) for source in value.inputs])

    def _around(self, value: Value | None, node: Node) -> Node:
        """Adds what goes around a binary layer to its normalized sums."""
        if self._shortcuts is None or value is None:
            return node
        return self._new.once(("around", value, node), lambda: self._make_around(value, node))

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
            self._new.note(value, f"no shortcut: {shortcut}")
            return node
        name = f"{value.name}_shortcut_sum"
        made = self._new.name(name, value)
        add = K.Add(name=made)
        self._new.starts_afresh(add)
        self._new.note(value, "a shortcut of real values goes around it")
        return self._new.node(value, made, add, [node, shortcut], node.shape, listed=True)

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
        layer.name = self._new.name(f"{value.name}_shortcut_{part}", value)
        self._new.starts_afresh(layer)
        return self._new.node(value, layer.name, layer, sources, shape, listed=several)

    def _same(self, value: Value, sources: list[Node]) -> Node:
        """The layer of the original model on other values."""
        return self._new.once(("same", value, *sources), lambda: self._make_same(value, sources))

    def _make_same(self, value: Value, sources: list[Node]) -> Node:
        if value.function is not None:
            return self._same_function(value, sources)
        if value.kind == "normalization" and not self._is_unchanged(value):
            self._new.reset.add(id(value.layer))
        return self._new.same_node(value, sources)

    def _same_function(self, value: Value, sources: list[Node]) -> Node:
        function, wanted = value.function, f"{value.name}_activation"
        if isinstance(function, keras.layers.Layer) and function.built:
            return self._new.part_node(value, wanted, function, sources)
        new = activation_layer(value, self._new.name(wanted, value))
        self._new.starts_afresh(new)
        return self._new.node(value, new.name, new, sources, value.shape)


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
