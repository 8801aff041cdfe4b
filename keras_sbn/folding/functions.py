"""Functions of `keras.ops` that a layer of Keras computes as well.

A layer of one's own calls ``keras.ops.conv`` or ``matmul`` with its own weight, ``keras.ops.max_pool``,
or ``keras.ops.cast`` on an image of bytes. Keras's layers call the same functions, so in the graph such a
layer takes the place of the function, with the constants of the call as its weights. Rules and targets
then know one of the two.
"""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sbn.folding.computation import operation_class, takes
from keras_sbn.folding.ops import Slot

K = keras.layers
#: Makes the layer of a function from it, the tensor that it gets and the constants of the call, `None`
#: for one that is left out; or nothing, where no layer computes the same.
_Make = Callable[..., Any]
#: A size of an axis that the model leaves open.
_OPEN_AXIS = 32
#: The functions compute in the type of the tensor, whatever the policy for layers is.
_FLOAT = {"dtype": "float32"}

_MAP = keras.KerasTensor((1, 4, 4, 2))
_WINDOW = keras.KerasTensor((1, 1, 2, 2))
_ROW = keras.KerasTensor((2,))
_FLAT = keras.KerasTensor((2, 2))


def layer_of(operation: Any, arguments: Any, tensors: list[Any], to_train: bool = False) -> Any:
    """The layer that computes what a function computes of its only tensor, or `None`.

    Args:
        operation: An operation of `keras.ops`, or a layer, of which there is none.
        arguments: The nested `(args, kwargs)` of its call, with a `Slot` for every tensor.
        tensors: The `keras.KerasTensor` of every slot.
        to_train: Whether the layer is to be trained: then constants stay constants, and what stops
            gradients goes on to do so.

    Returns:
        The layer, built, with the constants as its weights.
    """
    _, make = _LAYERS.get(type(operation), (None, None))
    if make is None or len(tensors) != 1 or not _computes_in_float32(make, tensors[0]):
        return None
    args, kwargs = arguments
    first, *constants = _bound(operation, args, kwargs)
    if not isinstance(first, Slot) or (to_train and (constants or make is _identity)):
        return None
    arrays = [None if value is None else np.asarray(value) for value in constants]
    if any(array is not None and array.dtype.kind not in "fiu" for array in arrays):
        return None
    try:
        layer = make(operation, tensors[0], *arrays)
        if layer is not None and not layer.built:
            layer.build(tensors[0].shape)
    except ValueError:
        return None  # The layer takes less than the function: strides beside a dilation, say.
    if layer is None or not _give_the_same(layer, operation, arguments, tensors[0]):
        return None
    return layer


def _give_the_same(layer: Any, operation: Any, arguments: Any, tensor: Any) -> bool:
    """Whether a layer gives what the function gives of a sample of random numbers, but for rounding.

    Some versions of Keras compute a function otherwise (`einsum` with an ellipsis) or not at all.
    """
    rng = np.random.default_rng(0)
    sizes = [_OPEN_AXIS if size is None else size for size in tensor.shape[1:]]
    x = ops.convert_to_tensor(
        rng.normal(size=(1, *sizes)) * 8, keras.backend.standardize_dtype(tensor.dtype)
    )
    args, kwargs = keras.tree.map_structure(
        lambda value: x if isinstance(value, Slot) else value, arguments
    )
    try:
        expected = ops.convert_to_numpy(operation.call(*args, **kwargs))
    except Exception:
        return False  # Neither does the model run.
    found = ops.convert_to_numpy(layer(x, training=False) if takes(layer, "training") else layer(x))
    within = 1e-4 * max(1.0, float(np.abs(expected).max(initial=0)))
    return found.shape == expected.shape and np.allclose(found, expected, rtol=0, atol=within)


def _computes_in_float32(make: _Make, x: Any) -> bool:
    dtype = keras.backend.standardize_dtype(x.dtype)
    return dtype == "float32" or (make is _cast and "int" in dtype)


def _bound(operation: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments of a call in the order of its signature."""
    bound = inspect.signature(operation.call).bind(*args, **kwargs)
    if bound.kwargs:
        bound.apply_defaults()
    return [*bound.args, *bound.kwargs.values()]


def names() -> list[str]:
    """The names of the classes of the functions that have a layer."""
    return sorted(kind.__name__ for kind in _LAYERS)


def layer_class(kind: type) -> type | None:
    """The class of the layer that takes the place of a function of a map, by the function's class."""
    return _LAYERS[kind][0] if kind in _LAYERS else None


def _with_weights(layer: Any, shape: Any, *weights: np.ndarray) -> Any:
    layer.build(shape)
    layer.set_weights(weights)
    return layer


def _pool(name: str) -> _Make:
    def make(op: Any, x: Any) -> Any:
        cls = getattr(K, f"{name}{len(x.shape) - 2}D")
        options = {"strides": op.strides, "padding": op.padding, "data_format": op.data_format}
        return cls(op.pool_size, **options, **_FLOAT)

    return make


def _windows(op: Any) -> dict[str, Any]:
    """The arguments that convolutions share."""
    return {
        "strides": op.strides,
        "padding": op.padding,
        "data_format": op.data_format,
        "dilation_rate": op.dilation_rate,
        "use_bias": False,
        **_FLOAT,
    }


def _conv(op: Any, x: Any, kernel: np.ndarray) -> Any:
    *window, channels, filters = kernel.shape
    last = (op.data_format or keras.config.image_data_format()) == "channels_last"
    cls = (K.Conv1D, K.Conv2D, K.Conv3D)[len(window) - 1]
    groups = x.shape[-1 if last else 1] // channels
    return _with_weights(cls(filters, window, groups=groups, **_windows(op)), x.shape, kernel)


def _depthwise(op: Any, x: Any, kernel: np.ndarray) -> Any:
    *window, _, multiplier = kernel.shape
    cls = (K.DepthwiseConv1D, K.DepthwiseConv2D)[len(window) - 1]
    made = cls(window, depth_multiplier=multiplier, **_windows(op))
    return _with_weights(made, x.shape, kernel)


def _product(op: Any, x: Any, kernel: np.ndarray) -> Any:
    """``x @ kernel``."""
    if kernel.ndim != 2 or len(x.shape) < 2:
        return None
    return _with_weights(K.Dense(kernel.shape[-1], use_bias=False, **_FLOAT), x.shape, kernel)


def _einsum(op: Any, x: Any, *kernels: np.ndarray) -> Any:
    """An ``einsum`` that is the product along the last axis: ``"bhwc,cd->bhwd"``."""
    match = re.fullmatch(
        r"(?P<rest>[A-Za-z]*(\.\.\.)?[A-Za-z]*)(?P<c>[A-Za-z]),(?P=c)(?P<d>[A-Za-z])->(?P=rest)(?P=d)",
        op.subscripts.replace(" ", ""),
    )
    if match is None or len(kernels) != 1:
        return None
    return _product(op, x, *kernels)


def _normalization(op: Any, x: Any, *constants: np.ndarray | None) -> Any:
    mean, variance, offset, scale = (*constants, None, None)[:4]
    made = K.BatchNormalization(
        axis=op.axis, epsilon=op.epsilon, center=offset is not None, scale=scale is not None, **_FLOAT
    )
    given = [array.ravel() for array in (scale, offset, mean, variance) if array is not None]
    return _with_weights(made, x.shape, *given)


def _cast(op: Any, x: Any) -> Any:
    """A number as float32: ``cast(image, "float32")``."""
    if op.dtype != "float32":
        return None
    return _identity(op, x) if x.dtype == "float32" else K.Rescaling(1.0, **_FLOAT)


def _resized(op: Any, x: Any) -> Any:
    """To whole multiples of the size, as the layer calls the function."""
    unlike = ("antialias", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
    if len(x.shape) != 4 or any(getattr(op, name, False) for name in unlike):
        return None
    sizes = x.shape[1:3] if op.data_format == "channels_last" else x.shape[2:]
    if None in sizes or any(size % before for size, before in zip(op.size, sizes, strict=True)):
        return None
    factors = tuple(size // before for size, before in zip(op.size, sizes, strict=True))
    return K.UpSampling2D(factors, op.data_format, op.interpolation, **_FLOAT)


def _identity(op: Any, x: Any) -> Any:
    return K.Identity(**_FLOAT)


def _elu(op: Any, x: Any) -> Any:
    return K.ELU(op.alpha, **_FLOAT)


def _relu(op: Any, x: Any) -> Any:
    return K.ReLU(op.max_value, op.negative_slope, op.threshold, **_FLOAT)


#: By class of a function: the layer of a map that takes its place, and what makes it.
_LAYERS: dict[type, tuple[type, _Make]] = {
    operation_class(function, *arguments): (layer, make)
    for function, arguments, layer, make in (
        (ops.average_pool, (_MAP, 2), K.AveragePooling2D, _pool("AveragePooling")),
        (ops.batch_normalization, (_MAP, _ROW, _ROW, -1), K.BatchNormalization, _normalization),
        (ops.cast, (_MAP, "float16"), K.Rescaling, _cast),
        (ops.conv, (_MAP, _WINDOW), K.Conv2D, _conv),
        (ops.copy, (_MAP,), K.Identity, _identity),
        (ops.depthwise_conv, (_MAP, _WINDOW), K.DepthwiseConv2D, _depthwise),
        (ops.dot, (_FLAT, _FLAT), K.Dense, _product),
        (ops.einsum, ("ab,bc->ac", _FLAT, _FLAT), K.Dense, _einsum),
        (ops.elu, (_MAP,), K.ELU, _elu),
        (ops.image.resize, (_MAP, (8, 8)), K.UpSampling2D, _resized),
        (ops.matmul, (_FLAT, _FLAT), K.Dense, _product),
        (ops.max_pool, (_MAP, 2), K.MaxPooling2D, _pool("MaxPooling")),
        (keras.activations.relu, (_MAP,), K.ReLU, _relu),
    )
}
with contextlib.suppress(ValueError):  # Keras 3.4 computes it at once.
    _LAYERS[operation_class(ops.stop_gradient, _MAP)] = K.Identity, _identity
