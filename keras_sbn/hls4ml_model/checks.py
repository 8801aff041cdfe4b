"""Which layers of a folded model hls4ml computes as Keras does, in fixed-point numbers.

hls4ml writes many layers of Keras. Those that sum products of float weights round in fixed point
otherwise than in float32, and a sign near 0 falls the other way, so they are refused, and so are options
that hls4ml reads otherwise than Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from _keras_sbn_hls4ml import behind
from keras_sbn.folding.computation import base_class, change_of
from keras_sbn.folding.layers.base import FoldedLayer

K = keras.layers
_BACKENDS = ("Vivado", "Vitis")


def check(model: Any) -> bool:
    """Raises a ValueError for what cannot be exact in a folded model; a pass of hls4ml.

    Args:
        model: A `ModelGraph` of hls4ml. One that has no folded layer is left alone.
    """
    source = model.config.get_config_value("KerasModel")
    if not is_folded(source):
        return False
    name = model.config.backend.name
    if name not in _BACKENDS:
        raise ValueError(
            f"Expected a backend that folded models are written for: {' or '.join(_BACKENDS)}. Received: "
            f"backend={name!r}. Call convert_from_keras_model with backend='Vitis'."
        )
    streams = model.config.get_config_value("IOType") == "io_stream"
    for layer in source.layers:
        _refuse(layer, streams)
    # The types are chosen here, for every layer, and hls4ml's own choice knows no folded one.
    model.config.config["HLSConfig"]["Model"]["BitExact"] = False
    return False


def refuse_if_rounded(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Refuses a layer as `check` does; a handler for classes of which hls4ml has none.

    A layer of a model that was not folded, and one that is exact, are left to hls4ml.
    """
    if any(isinstance(one, FoldedLayer) for one in [*_before(inputs), *behind(layer)]):
        _refuse(layer, streams=False)


def refuse_functions(operations: Sequence[Any]) -> None:
    """Refuses what is no layer: hls4ml looks for layers, and says that the model has a circle.

    Those that compute the mask of a Masking layer are left to the error that names that layer.
    """
    if any(isinstance(operation, K.Masking) for operation in operations):
        return
    for operation in operations:
        if not isinstance(operation, K.Layer):
            raise ValueError(
                f"Expected layers, which alone hls4ml reads. Received: {type(operation).__name__} "
                f"{operation.name!r}, an index or a function of keras.ops. Write it as a layer, such as "
                "Reshape, Permute or Concatenate."
            )


def _before(tensors: Sequence[Any]) -> list[Any]:
    """The operations that tensors come from, by whatever way."""
    found: dict[int, Any] = {}
    waiting = [tensor._keras_history for tensor in tensors]
    while waiting:
        operation, index, _ = waiting.pop()
        if id(operation) not in found:
            found[id(operation)] = operation
            waiting += [x._keras_history for x in operation._inbound_nodes[index].input_tensors]
    return list(found.values())


def _refuse(layer: Any, streams: bool) -> None:
    why = None if isinstance(layer, FoldedLayer) else _why_not(layer, streams)
    if why is not None:
        raise ValueError(
            f"Expected layers that fixed-point numbers compute exactly. Received: "
            f"{base_class(layer).__name__} {layer.name!r}, {why}."
        )


def is_folded(source: Any) -> bool:
    """Whether a Keras model has a layer that the fold made."""
    layers = getattr(source, "layers", ())
    return any(isinstance(layer, FoldedLayer) for layer in layers)


def _why_not(layer: Any, streams: bool) -> str | None:
    change = change_of(layer)
    if change is not None:
        return f"which computes otherwise than its class: {change}. {_elsewhere(layer)}"
    condition = _CONDITIONS.get(base_class(layer))
    if condition is None:
        return f"which is none of those that are known to be so. {_elsewhere(layer)}"
    return condition(layer, streams)


def _elsewhere(layer: Any) -> str:
    found = f"folded.get_layer({layer.name!r})"
    return (
        "Leave it to the processor: end the model before it, with keras.Model(folded.input, "
        f"{found}.input), or begin behind it, with keras.Model({found}.output, folded.output)"
    )


def _never(layer: Any, streams: bool) -> str | None:
    return None


def _channels_last(layer: Any, streams: bool) -> str | None:
    if layer.data_format == "channels_last":
        return None
    return "with data_format='channels_first', which hls4ml reads in another order. Use 'channels_last'"


def _global_pool(layer: Any, streams: bool) -> str | None:
    if layer.keepdims:
        return "with keepdims=True, whose sizes of 1 hls4ml drops. Use keepdims=False"
    return _channels_last(layer, streams)


def _pool(layer: Any, streams: bool) -> str | None:
    if layer.padding != "valid" and streams:
        return (
            "with padding='same', which hls4ml has not in streams. Use padding='valid', or "
            "io_type='io_parallel'"
        )
    if layer.strides != layer.pool_size and streams:
        return (
            f"with windows of {layer.pool_size} and strides of {layer.strides}, which hls4ml has not in "
            "streams. Use strides of the size of the window, or io_type='io_parallel'"
        )
    return _channels_last(layer, streams)


def _flatten(layer: Any, streams: bool) -> str | None:
    return None if len(layer.input.shape) == 2 else _channels_last(layer, streams)


def _nearest(layer: Any, streams: bool) -> str | None:
    if layer.interpolation != "nearest":
        return f"with interpolation={layer.interpolation!r}, which rounds. Use 'nearest'"
    return _channels_last(layer, streams)


def _relu(layer: Any, streams: bool) -> str | None:
    if layer.max_value is None and layer.threshold == 0 and layer.negative_slope == 0:
        return None
    return f"with a limit, a threshold or a slope. {_elsewhere(layer)}"


def _activation(layer: Any, streams: bool) -> str | None:
    if layer.activation in (keras.activations.linear, keras.activations.relu):
        return None
    return f"whose values are rounded. {_elsewhere(layer)}"


def _same_shapes(layer: Any, streams: bool) -> str | None:
    shapes = [tuple(one.shape) for one in layer.input]
    if len(set(shapes)) == 1:
        return None
    return f"of inputs of the shapes {shapes}. Repeat the values of the smaller, with UpSampling2D"


#: What has to be so that a layer is computed as in Keras: why it is not, and the remedy, or `None`.
_CONDITIONS: dict[type, Callable[[Any, bool], str | None]] = {
    K.InputLayer: _never,
    K.Activation: _activation,
    K.Add: _same_shapes,
    K.AveragePooling2D: _pool,
    K.Concatenate: _never,
    K.Dropout: _never,
    K.Flatten: _flatten,
    K.GlobalAveragePooling2D: _global_pool,
    K.GlobalMaxPooling2D: _global_pool,
    K.MaxPooling2D: _pool,
    K.Maximum: _same_shapes,
    K.Minimum: _same_shapes,
    K.Permute: _never,
    K.ReLU: _relu,
    K.Reshape: _never,
    K.Subtract: _same_shapes,
    K.UpSampling2D: _nearest,
    K.ZeroPadding2D: _channels_last,
}
