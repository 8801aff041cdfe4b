"""The values of a Keras model and what makes each: the only thing that the rewriting looks at.

A layer with an activation function makes two values, so that the two can go apart. What a layer is,
`KerasCall.kind` says: one that computes otherwise than its class is "other", whatever it derives from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import activations, ops

from keras_sbn.folding import graph as graphs
from keras_sbn.folding.computation import operation_class, plain_copy
from keras_sbn.folding.graph import Graph, Node, only_input
from keras_sbn.folding.ops import KerasCall, Placeholder
from keras_sbn.folding.rules.training_only_layers import RemoveTrainingOnlyLayers
from keras_sbn.folding.value_ranges import selects
from keras_sbn.layers import BinaryBatchNormalization, SelfBinarizingActivation

K = keras.layers

#: Layers with a kernel that this package has a binary counterpart of.
CANDIDATES = (
    K.Conv1D,
    K.Conv2D,
    K.Conv2DTranspose,
    K.Conv3D,
    K.Dense,
    K.DepthwiseConv2D,
    K.SeparableConv1D,
    K.SeparableConv2D,
)
DEPTHWISE = (K.DepthwiseConv1D, K.DepthwiseConv2D)
SEPARABLE = (K.SeparableConv1D, K.SeparableConv2D)
#: Layers whose `activation` is a function of their output, as that of `CANDIDATES` is.
_FLOAT_LINEAR = (K.Conv1DTranspose, K.Conv3DTranspose, K.DepthwiseConv1D, K.EinsumDense)
_MAX_POOLS = (
    K.GlobalMaxPooling1D,
    K.GlobalMaxPooling2D,
    K.GlobalMaxPooling3D,
    K.MaxPooling1D,
    K.MaxPooling2D,
    K.MaxPooling3D,
)
_GLOBAL_AVERAGES = (K.GlobalAveragePooling1D, K.GlobalAveragePooling2D, K.GlobalAveragePooling3D)
_AVERAGE_POOLS = (*_GLOBAL_AVERAGES, K.AveragePooling1D, K.AveragePooling2D, K.AveragePooling3D)
_PADS = (K.ZeroPadding1D, K.ZeroPadding2D, K.ZeroPadding3D)
_RESHAPES = (K.Flatten, K.Reshape)
#: What only rescales the input of a model, or repairs it.
_RESCALING = (K.Normalization, K.Rescaling)

_NAMES = (
    *("celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid"),
    *("mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "softsign", "tanh"),
)
#: Functions of single values, in place of which a sign can stand; softmax is none.
_FUNCTIONS = {getattr(activations, name) for name in _NAMES if hasattr(activations, name)}
_ACTIVATIONS = {K.ELU, K.LeakyReLU, K.PReLU, K.ReLU} | {
    operation_class(getattr(ops, name), keras.KerasTensor((1,))) for name in _NAMES if hasattr(ops, name)
}
_ADDITIONS = {K.Add, operation_class(ops.add, keras.KerasTensor((1,)), keras.KerasTensor((1,)))}
_PRODUCTS = {
    K.Multiply,
    operation_class(ops.multiply, keras.KerasTensor((1,)), keras.KerasTensor((1,))),
}


class Value:
    """What a layer, or a part of one, gives.

    Attributes:
        node: The node of the graph that was read.
        kind: `"input"`, `"linear"` (a product with a kernel), `"activation"`, `"normalization"`,
            `"max_pool"`, `"average_pool"`, `"pad"`, `"move"` (what only moves values), `"training"`
            (what does nothing at inference), `"add"`, `"sign"` or `"other"`.
        inputs: The values it is made of.
        function: The activation function, where the value is that of a layer's `activation` alone.
        readers: The values that are made of it.
        is_output: Whether the model returns it.
    """

    def __init__(self, node: Node, kind: str, inputs: list[Value], function: Any = None) -> None:
        self.node = node
        self.kind = kind
        self.inputs = inputs
        self.function = function
        self.readers: list[Value] = []
        self.is_output = False
        for source in inputs:
            source.readers.append(self)

    def __repr__(self) -> str:
        return f"Value({self.name!r}, {self.kind})"

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.node.name

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The shape, batch axis first."""
        return self.node.shape

    @property
    def input(self) -> Value:
        """The only value it is made of."""
        return only_input(self.name, self.inputs)

    @property
    def layer(self) -> Any:
        """The layer or operation of the model that was read; `None` of an input."""
        return self.node.op.operation if isinstance(self.node.op, KerasCall) else None

    @property
    def layer_kind(self) -> type | None:
        """The class whose computation the layer has."""
        return self.node.op.kind if isinstance(self.node.op, KerasCall) else None

    @property
    def is_candidate(self) -> bool:
        """Whether the value is the product of a kernel that can be binary."""
        return self.kind == "linear" and self.layer_kind in CANDIDATES

    @property
    def has_one_reader(self) -> bool:
        """Whether one other value is made of it, and the model does not return it."""
        return len(self.readers) == 1 and not self.is_output

    @property
    def is_global_average(self) -> bool:
        return self.layer_kind in _GLOBAL_AVERAGES

    @property
    def is_product(self) -> bool:
        return self.layer_kind in _PRODUCTS

    @property
    def rescales_the_input(self) -> bool:
        return self.layer_kind in _RESCALING

    @property
    def channels_first(self) -> bool:
        return getattr(self.layer, "data_format", None) == "channels_first"


def read(model: Any) -> tuple[Graph, list[Value], list[Value]]:
    """Reads a model.

    Returns:
        Its graph, all values, each after those that it is made of, and the values that it returns.

    Raises:
        ValueError: As `keras_sbn.folding.graph.read` does.
    """
    graph = graphs.read(model, to_train=True)
    given: dict[Node, Value] = {}
    values: list[Value] = []
    for node in graph.nodes():
        inputs = [given[source] for source in node.inputs]
        for value in _made_by(node, inputs):
            values.append(value)
            given[node] = value
    outputs = [given[node] for node in graph.outputs]
    for value in outputs:
        value.is_output = True
    return graph, values, outputs


def _made_by(node: Node, inputs: list[Value]) -> Iterator[Value]:
    if isinstance(node.op, KerasCall) and node.op.kind in (*CANDIDATES, *_FLOAT_LINEAR):
        function = node.op.operation.activation
        if function is None or function is activations.linear:
            yield Value(node, "linear", inputs)
        elif _is_elementwise(function):
            linear = Value(node, "linear", inputs)
            yield linear
            yield Value(node, "activation", [linear], function)
        elif function is activations.softmax:
            linear = Value(node, "linear", inputs)
            yield linear
            yield Value(node, "other", [linear], function)
        else:
            # A function of which nothing is known; it may look at more than one value.
            yield Value(node, "other", inputs)
        return
    yield Value(node, _kind(node), inputs)


def _is_elementwise(function: Any) -> bool:
    if isinstance(function, keras.layers.Layer):
        return KerasCall(function, ((), {})).kind in _ACTIVATIONS
    return function in _FUNCTIONS


def _kind(node: Node) -> str:
    op = node.op
    if isinstance(op, Placeholder):
        return "input"
    known = op.kind if isinstance(op, KerasCall) else None
    if known is None:
        return "other"
    layer = op.operation  # type: ignore[union-attr]
    if known is K.Activation:
        if layer.activation is activations.linear:
            return "training"
        return "activation" if _is_elementwise(layer.activation) else "other"
    for kinds, name in (
        (_ACTIVATIONS, "activation"),
        ((K.BatchNormalization, BinaryBatchNormalization), "normalization"),
        (_MAX_POOLS, "max_pool"),
        (_AVERAGE_POOLS, "average_pool"),
        (_PADS, "pad"),
        (_RESHAPES, "move"),
        (RemoveTrainingOnlyLayers.kinds, "training"),
        ((SelfBinarizingActivation,), "sign"),
    ):
        if known in kinds:
            return name
    if known in _ADDITIONS and len(node.inputs) > 1:
        return "add"
    if selects(node):
        return "move"
    return "other"


def is_convolution(layer: Any) -> bool:
    """Whether a transposed convolution is an ordinary one, of the kernel turned round.

    Without strides position i of the output is the sum of ``x[i + p - k] w[k]`` over k, for the window K
    and p = (K - 1) / 2, an integer for an odd K. With ``j = K - 1 - k`` it is that of
    ``x[i + j - p] w[K - 1 - j]``: a convolution of border p.
    """
    steps = (*layer.strides, *layer.dilation_rate)
    odd = all(window % 2 for window in layer.kernel_size)
    return layer.padding == "same" and odd and set(steps) == {1} and layer.output_padding is None


def is_same_padding(value: Value, pad: Value) -> bool:
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


def activation_layer(value: Value, name: str) -> Any:
    """A layer of the activation function that a fused layer computes beside its product."""
    function = value.function
    if isinstance(function, keras.layers.Layer):
        return plain_copy(function, name=name)
    return keras.layers.Activation(function, name=name, dtype=value.layer.dtype_policy)
