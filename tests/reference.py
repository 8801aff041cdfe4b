"""A hard network in float64 NumPy, layer by layer, written from the layers' definitions."""

from __future__ import annotations

import itertools

import keras
import numpy as np

from keras_sbn import layers
from keras_sbn.folding.graph import read
from keras_sbn.folding.ops import KerasCall, Pick, Placeholder, Slot

#: What float32 can make of a sum of numbers around 1 that is 0.
_ROUNDING = 1e-6


class Values(dict):
    """The value of every layer, by name.

    Attributes:
        open: By the name of a sign, where it is one of a real number that is 0 but for rounding, so that
            it is decided by the order in which float32 adds up. A real number is what a float layer or
            a function other than an affine one makes; a sum of ±1 is a whole one, scaled or not, and
            decided.
    """

    def __init__(self):
        super().__init__()
        self.open = {}

    def add_sign(self, name, x, real):
        self[name] = _sign(x)
        self.open[name] = (np.abs(x) <= _ROUNDING * np.abs(x).max(initial=1)) & real


def evaluate(model, inputs):
    """Returns the `Values` of the layers of `model`, and the list of its outputs.

    Signs of its input that a layer takes are under "<name>_sign", those that it calls as its activation
    under "<name>_activation".
    """
    graph = read(model)
    named, values, real = Values(), {}, set()
    given = iter(inputs)
    for node in graph.nodes():
        if isinstance(node.op, Placeholder):
            value = np.asarray(next(given), np.float64)
        elif isinstance(node.op, Pick):
            value = values[id(node.input)][node.op.index]
        else:
            assert isinstance(node.op, KerasCall)
            layer, sources = node.op.operation, [values[id(source)] for source in node.inputs]
            is_real = any(id(source) in real for source in node.inputs)
            if getattr(layer, "binarize_input", False):
                named.add_sign(f"{node.name}_sign", sources[0], is_real)
                sources, is_real = [named[f"{node.name}_sign"]], False
            compute = None if _has_constants(node.op) else _LAYERS.get(type(layer))
            is_sign = type(layer) is layers.SelfBinarizingActivation
            if is_sign or (type(layer) is _K.Activation and _calls_sign(layer)):
                named.add_sign(node.name, sources[0], is_real)
                values[id(node)] = named[node.name]
                continue
            real_output = is_real or compute in (None, *_REAL) or not _is_linear(layer)
            if real_output and not _calls_sign(layer):
                real.add(id(node))
            if compute is None or (len(sources) > 1 and compute not in _MERGING):
                value = _by_keras(node.op, sources)
            else:
                value = compute(layer, sources if compute in _MERGING else sources[0])
            if _calls_sign(layer):
                named.add_sign(f"{node.name}_activation", value, is_real)
                value = named[f"{node.name}_activation"]
        values[id(node)] = named[node.name] = value
    return named, [values[id(output)] for output in graph.outputs]


def _is_linear(layer):
    activation = getattr(layer, "activation", keras.activations.linear)
    return activation is keras.activations.linear or _calls_sign(layer)


def _calls_sign(layer):
    return type(getattr(layer, "activation", None)) is layers.SelfBinarizingActivation


def _sign(x):
    return np.where(x >= 0, 1.0, -1.0)


def _array(weight):
    return keras.ops.convert_to_numpy(weight).astype(np.float64)


def _has_constants(call):
    """Whether one of several inputs is no tensor of the model."""
    return not all(isinstance(x, Slot) for x in keras.tree.flatten(call.arguments[0]))


def _by_keras(call, sources):
    """What the layer itself gives, in float32: a class of one's own, or one that needs no reference."""
    given = [x if x.dtype == bool else x.astype("float32") for x in sources]
    args, kwargs = keras.tree.map_structure(
        lambda x: given[x.index] if isinstance(x, Slot) else x, call.arguments
    )
    if "training" in kwargs:
        kwargs["training"] = False

    def converted(output):
        value = keras.ops.convert_to_numpy(output)
        return value if value.dtype == bool else value.astype(np.float64)

    return keras.tree.map_structure(converted, call.operation(*args, **kwargs))


def _windows(x, window, strides, dilation, padding, pad, causal_axis=None):
    """Yields `(offset, view)`: the input under each place of the window, at every position."""
    widths, sizes = [], []
    for axis, (length, stride, rate) in enumerate(zip(window, strides, dilation, strict=True)):
        size, reach = x.shape[axis + 1], rate * (length - 1) + 1
        if padding == "valid":
            before = after = 0
        elif padding == "causal":
            before, after = (reach - 1, 0) if axis == len(window) - 1 else (0, 0)
        else:
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            before, after = total // 2, total - total // 2
        widths.append((before, after))
        sizes.append((size + before + after - reach) // stride + 1)
    padded = np.pad(x, [(0, 0), *widths, (0, 0)], constant_values=pad)
    for offset in itertools.product(*(range(length) for length in window)):
        view = padded
        for axis, (place, rate, stride, size) in enumerate(
            zip(offset, dilation, strides, sizes, strict=True)
        ):
            index = place * rate + stride * np.arange(size)
            view = view.take(index, axis=axis + 1)
        yield offset, view


def _conv(layer, x, kernel, groups):
    total = 0.0
    depth, filters = kernel.shape[-2:]
    pad = getattr(layer, "pad_value", 0.0)
    arguments = (layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding, pad)
    for offset, view in _windows(x, *arguments):
        parts = [
            view[..., g * depth : (g + 1) * depth]
            @ kernel[offset][:, g * filters // groups : (g + 1) * filters // groups]
            for g in range(groups)
        ]
        total = total + np.concatenate(parts, axis=-1)
    return total


def _finish(layer, y):
    y = y * layer.kernel_scale_values().astype(np.float64)
    y = y if layer.bias is None else y + _array(layer.bias)
    if _calls_sign(layer):
        return y  # `evaluate` takes the sign
    if layer.activation in _EXACT:
        return _EXACT[layer.activation](y)
    return keras.ops.convert_to_numpy(layer.activation(y.astype("float32"))).astype(np.float64)


def _self_binarizing_conv(layer, x):
    return _finish(layer, _conv(layer, x, layer.binary_kernel().astype(np.float64), layer.groups))


def _depthwise(layer, x, kernel):
    height, width, channels, multiplier = kernel.shape
    return _conv(layer, x, kernel.reshape(height, width, 1, channels * multiplier), channels)


def _self_binarizing_depthwise(layer, x):
    return _finish(layer, _depthwise(layer, x, layer.binary_kernel().astype(np.float64)))


def _self_binarizing_separable(layer, x):
    between = _depthwise(layer, x, layer.binary_depthwise_kernel().astype(np.float64))
    return _finish(layer, between @ layer.binary_pointwise_kernel()[0, 0].astype(np.float64))


def _self_binarizing_dense(layer, x):
    return _finish(layer, x @ layer.binary_kernel().astype(np.float64))


def _keras_conv(layer, x):
    assert layer.activation is keras.activations.linear
    y = _conv(layer, x, _array(layer.kernel), layer.groups)
    return y + _array(layer.bias) if layer.use_bias else y


def _keras_dense(layer, x):
    assert layer.activation is keras.activations.linear
    y = x @ _array(layer.kernel)
    return y + _array(layer.bias) if layer.use_bias else y


def _keras_normalization(layer, x):
    gamma = _array(layer.gamma) if layer.scale else 1.0
    beta = _array(layer.beta) if layer.center else 0.0
    deviation = np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    return gamma * (x - _array(layer.moving_mean)) / deviation + beta


def _binary_normalization(layer, x):
    gamma = np.exp(_array(layer.log_gamma)) if layer.scale else 1.0
    beta = _array(layer.beta) if layer.center else 0.0
    deviation = np.sqrt(_array(layer.moving_variance) + layer.epsilon)
    return gamma * (x - _array(layer.moving_mean)) / deviation + beta


def _pool(layer, x):
    size = np.atleast_1d(layer.pool_size)
    strides = np.atleast_1d(layer.strides)
    maximum = "Max" in type(layer).__name__
    pad = -np.inf if maximum else np.nan
    arguments = (tuple(size), tuple(strides), (1,) * len(size), layer.padding, pad)
    stack = np.stack([view for _, view in _windows(x, *arguments)])
    return stack.max(axis=0) if maximum else np.nanmean(stack, axis=0)


def _global_pool(layer, x):
    last = layer.data_format == "channels_last"
    options = {
        "axis": tuple(range(1, x.ndim - 1) if last else range(2, x.ndim)),
        "keepdims": layer.keepdims,
    }
    return x.max(**options) if "Max" in type(layer).__name__ else x.mean(**options)


def _flatten(layer, x):
    if layer.data_format == "channels_first" and x.ndim > 2:
        x = np.moveaxis(x, 1, -1)
    return x.reshape(len(x), -1)


def _normalization(layer, x):
    mean, variance = _array(layer.mean), _array(layer.variance)
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return x * deviation + mean if layer.invert else (x - mean) / deviation


def _concatenate(layer, sources):
    return np.concatenate(sources, axis=layer.axis)


def _add(layer, sources):
    return sum(sources)


def _same(layer, x):
    return x


def _relu(layer, x):
    return np.maximum(x, 0)


def _rescaling(layer, x):
    return x * np.asarray(layer.scale) + np.asarray(layer.offset)


_K = keras.layers
_MERGING = (_add, _concatenate)
#: Activations without a rounding.
_EXACT = {
    keras.activations.linear: lambda y: y,
    keras.activations.relu: lambda y: np.maximum(y, 0),
    keras.activations.relu6: lambda y: np.clip(y, 0, 6),
}
#: By the class itself: what derives from it may compute otherwise.
_LAYERS = {
    layers.SelfBinarizingConv1D: _self_binarizing_conv,
    layers.SelfBinarizingConv2D: _self_binarizing_conv,
    layers.SelfBinarizingConv3D: _self_binarizing_conv,
    layers.SelfBinarizingDepthwiseConv2D: _self_binarizing_depthwise,
    layers.SelfBinarizingSeparableConv2D: _self_binarizing_separable,
    layers.SelfBinarizingDense: _self_binarizing_dense,
    layers.BinaryBatchNormalization: _binary_normalization,
    _K.BatchNormalization: _keras_normalization,
    _K.Conv2D: _keras_conv,
    _K.Dense: _keras_dense,
    _K.ReLU: _relu,
    _K.MaxPooling1D: _pool,
    _K.MaxPooling2D: _pool,
    _K.AveragePooling1D: _pool,
    _K.AveragePooling2D: _pool,
    _K.GlobalMaxPooling1D: _global_pool,
    _K.GlobalMaxPooling2D: _global_pool,
    _K.GlobalAveragePooling1D: _global_pool,
    _K.GlobalAveragePooling2D: _global_pool,
    _K.Flatten: _flatten,
    _K.Reshape: lambda layer, x: x.reshape(len(x), *layer.output.shape[1:]),
    _K.Permute: lambda layer, x: x.transpose(0, *layer.dims),
    _K.Dropout: _same,
    _K.GaussianNoise: _same,
    _K.Identity: _same,
    _K.Rescaling: _rescaling,
    _K.Normalization: _normalization,
    _K.Add: _add,
    _K.Concatenate: _concatenate,
}
#: What makes real numbers of whole ones.
_REAL = (_keras_conv, _keras_dense, _relu)
