"""Training layers become signs, integer products, and the affine maps around them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn import layers
from keras_sbn.folding.graph import Graph, Node, reshaped
from keras_sbn.folding.ops import (
    Affine,
    BinaryConv,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    KerasCall,
    Sign,
    Slot,
    call_of,
)

#: The layer of Keras that each is where its kernel stays float.
_FLOAT_LAYERS = {
    layers.SelfBinarizingConv1D: keras.layers.Conv1D,
    layers.SelfBinarizingConv2D: keras.layers.Conv2D,
    layers.SelfBinarizingConv3D: keras.layers.Conv3D,
    layers.SelfBinarizingConv2DTranspose: keras.layers.Conv2DTranspose,
    layers.SelfBinarizingDense: keras.layers.Dense,
    layers.SelfBinarizingDepthwiseConv2D: keras.layers.DepthwiseConv2D,
    layers.SelfBinarizingSeparableConv2D: keras.layers.SeparableConv2D,
}


class LowerSelfBinarizingLayers:
    """SelfBinarizing layer => [sign =>] product [=> scale] [=> bias] [=> activation].

    A layer of infinite sharpness computes ``sign(x)`` and ``sign(w)`` and nothing else, so this is its
    definition written out. The scale is positive, and a bias b is ``1 * (a - (-b)) + 0``.
    """

    kinds = frozenset({layers.SelfBinarizingActivation, *_FLOAT_LAYERS})

    def apply(self, graph: Graph, node: Node) -> bool:
        if not isinstance(node.op, KerasCall):
            return False
        layer, kind = node.op.operation, node.op.kind
        if kind is layers.SelfBinarizingActivation:
            node.op = Sign()
            graph.add_sign(node.name, node)
            return True
        if kind not in _FLOAT_LAYERS:
            return False
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise ValueError(
                f"Expected layer {layer.name!r} to have channels last, the only order the inference "
                f"kernels know. Received: data_format={layer.data_format!r}"
            )
        result = node.input
        if layer.binarize_input:
            result = Node(graph.new_name(f"{node.name}_sign"), Sign(), [result], result.shape)
            graph.add_sign(result.name, result)
        if layer.binarize_kernel:
            result = _PRODUCTS[kind](graph, layer, node, result)
        else:
            result = _float_product(graph, layer, kind, node, result)
        if layer.kernel_scale is not None:
            scale = layer.kernel_scale_values().astype(np.float64)
            affine = Affine(np.zeros_like(scale), scale, np.zeros_like(scale))
            result = Node(graph.new_name(f"{node.name}_scale"), affine, [result], node.shape)
        if layer.bias is not None and layer.binarize_kernel:
            bias = ops.convert_to_numpy(layer.bias).astype(np.float64)
            affine = Affine(-bias, np.ones_like(bias), np.zeros_like(bias))
            result = Node(graph.new_name(f"{node.name}_bias"), affine, [result], node.shape)
        if layer.activation not in (None, keras.activations.linear):
            name = graph.new_name(f"{node.name}_activation")
            result = Node(name, call_of(_activation_layer(layer, name)), [result], node.shape)
        graph.replace(node, result)
        return True


def _activation_layer(layer: Any, name: str) -> Any:
    """The Keras layer that computes the activation of a self-binarizing layer."""
    activation = layer.activation
    if isinstance(activation, keras.layers.Layer):
        return activation
    if activation in _ACTIVATIONS:
        return keras.layers.Activation(activation, name=name, dtype=layer.dtype_policy)
    described = getattr(activation, "__name__", None) or repr(activation)
    raise ValueError(
        f"Expected the activation of layer {layer.name!r} to be one of keras.activations or a layer. "
        f"Received: activation={described} ({activation!r}). Leave it out of {layer.name!r}, and put a "
        "layer of its own after it: one of Keras, a self-binarizing one, or a registered one of yours."
    )


#: The functions of `keras.activations` themselves: one of the same name may compute anything.
_ACTIVATIONS = [
    value
    for name, value in vars(keras.activations).items()
    if inspect.isfunction(value) and name not in ("get", "serialize", "deserialize")
]


def _dense_product(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    return Node(node.name, BinaryDense(layer.binary_kernel()), [source], node.shape)


def _transposed_product(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    transpose = BinaryConv2DTranspose(
        layer.binary_kernel(),
        layer.strides,
        layer.padding,
        layer.output_padding,
        layer.dilation_rate,
    )
    return Node(node.name, transpose, [source], node.shape)


def _convolution(kind: type[BinaryConv], layer: Any, kernel: np.ndarray, groups: int) -> BinaryConv:
    pads = np.array([layer.pad_value], np.float64)
    return kind(kernel, layer.strides, layer.padding, pads, layer.dilation_rate, groups)


def _product_2d(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    conv = _convolution(BinaryConv2D, layer, layer.binary_kernel(), layer.groups)
    return Node(node.name, conv, [source], node.shape)


def _product_3d(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    conv = _convolution(BinaryConv3D, layer, layer.binary_kernel(), layer.groups)
    return Node(node.name, conv, [source], node.shape)


def _depthwise_product(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    """A depthwise kernel `(h, w, channels, m)` is one of `channels` groups, `(h, w, 1, channels * m)`."""
    height, width, channels, multiplier = layer.binary_kernel().shape
    kernel = layer.binary_kernel().reshape(height, width, 1, channels * multiplier)
    return Node(node.name, _convolution(BinaryConv2D, layer, kernel, channels), [source], node.shape)


def _separable_product(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    """Depthwise, then pointwise, is one convolution of the input, next to itself once a depthwise filter.

    With nothing between the two, ``sum_cm p_cmf sum_ij d_ijcm x = sum_m sum_ijc (d_ijcm p_cmf) x``, and
    the product of signs is a sign: a binary kernel, which inference engines have, where for depthwise
    they have none, and for a second product of integers neither.
    """
    if layer.depth_multiplier == 1:
        conv = _convolution(BinaryConv2D, layer, layer.binary_kernel(), 1)
        return Node(node.name, conv, [source], node.shape)
    depthwise, pointwise = layer.binary_depthwise_kernel(), layer.binary_pointwise_kernel()
    height, width, channels, multiplier = depthwise.shape
    filters = pointwise.shape[-1]
    # Output c * m + k of a depthwise convolution is filter k of channel c.
    products = depthwise[..., np.newaxis] * pointwise.reshape(channels, multiplier, filters)
    kernel = np.moveaxis(products, 3, 2).reshape(height, width, multiplier * channels, filters)
    name = graph.new_name(f"{node.name}_inputs")
    slots = [Slot(index) for index in range(multiplier)]
    concatenate = KerasCall(keras.layers.Concatenate(name=name, dtype="float32"), ((slots,), {}))
    shape = (*source.shape[:-1], multiplier * channels)
    repeated = Node(name, concatenate, [source] * multiplier, shape)
    return Node(node.name, _convolution(BinaryConv2D, layer, kernel, 1), [repeated], node.shape)


def _product_1d(graph: Graph, layer: Any, node: Node, source: Node) -> Node:
    """A convolution over steps is one over an image of height 1."""
    if source.shape[1] is None or node.shape[1] is None:
        raise ValueError(
            f"Expected a known number of steps before layer {layer.name!r}. Received: input shape "
            f"{source.shape}. Build the model with keras.Input((steps, channels))."
        )
    conv = BinaryConv2D(
        layer.binary_kernel()[np.newaxis],
        (1, *layer.strides),
        layer.padding,
        np.array([layer.pad_value], np.float64),
        (1, *layer.dilation_rate),
        layer.groups,
    )
    row = as_row(source, graph.new_name(f"{node.name}_row"))
    product = Node(node.name, conv, [row], (node.shape[0], 1, *node.shape[1:]))
    return reshaped(product, graph.new_name(f"{node.name}_steps"), node.shape)


def as_row(node: Node, name: str) -> Node:
    """Reshapes `(batch, steps, channels)` to an image of height 1."""
    return reshaped(node, name, (node.shape[0], 1, *node.shape[1:]))


_PRODUCTS: dict[type, Callable[[Graph, Any, Node, Node], Node]] = {
    layers.SelfBinarizingConv1D: _product_1d,
    layers.SelfBinarizingConv2D: _product_2d,
    layers.SelfBinarizingConv3D: _product_3d,
    layers.SelfBinarizingConv2DTranspose: _transposed_product,
    layers.SelfBinarizingDense: _dense_product,
    layers.SelfBinarizingDepthwiseConv2D: _depthwise_product,
    layers.SelfBinarizingSeparableConv2D: _separable_product,
}

_SHARED_ARGUMENTS = (
    "filters",
    "units",
    "kernel_size",
    "strides",
    "padding",
    "dilation_rate",
    "groups",
    "depth_multiplier",
    "output_padding",
)


def _float_product(graph: Graph, layer: Any, kind: type, node: Node, source: Node) -> Node:
    """A layer whose kernel stays float is Keras's own, with padding by p as an affine map before it.

    ``conv(x, w) = conv(x - p, w) + conv(p, w)``: zeros pad ``x - p``, and the last term is a constant a
    channel, the layer's own output on an input of p everywhere, which goes into the bias.
    """
    keras_class = _FLOAT_LAYERS[kind]
    config = {name: getattr(layer, name) for name in _SHARED_ARGUMENTS if hasattr(layer, name)}
    shift = getattr(layer, "pad_value", 0.0)
    if config.get("padding", "valid") == "valid":
        shift = 0.0
    kernels = [ops.convert_to_numpy(w) for w in layer.weights if w.name.endswith("kernel")]
    channels = node.shape[-1] or 0
    bias = np.zeros(channels, np.float32)
    if layer.bias is not None:
        bias = ops.convert_to_numpy(layer.bias).astype(np.float32)
    copy = keras_class(use_bias=True, name=node.name, dtype="float32", **config)
    copy.build(source.shape)
    if shift:
        everywhere = keras_class(use_bias=False, dtype="float32", **{**config, "padding": "valid"})
        everywhere.build(source.shape)
        everywhere.set_weights(kernels)
        geometry = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        covered = [dilation * (length - 1) + 1 for length, dilation in geometry]
        constant = everywhere(np.full((1, *covered, source.shape[-1] or 0), shift, np.float32))
        bias = bias + ops.convert_to_numpy(constant).reshape(-1)
        minus = np.full(source.shape[-1] or 0, shift)
        affine = Affine(minus, np.ones_like(minus), np.zeros_like(minus))
        source = Node(graph.new_name(f"{node.name}_padding"), affine, [source], source.shape)
    copy.set_weights([*kernels, bias])
    return Node(node.name, call_of(copy), [source], node.shape)
