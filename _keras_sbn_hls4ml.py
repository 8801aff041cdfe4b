"""Entry point that hls4ml calls when it is imported: the layers of keras_sbn have handlers from then on.

It lies outside the package and imports nothing of it, so that `import hls4ml` imports neither Keras nor
NumPy anew. What a handler needs loads when hls4ml meets the first such layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_INPUT = "keras.src.layers.core.input_layer.InputLayer"
_Handler = Callable[[Any, Sequence[Any], Sequence[Any]], "tuple[dict[str, Any], ...] | None"]

#: The layers of a folded model, and of one that has to be folded first: module and class, by package.
LAYERS = {
    "keras_sbn.folding.layers": (
        ("affine", "Affine"),
        ("binary_conv2d", "BinaryConv2D"),
        ("binary_conv2d_transpose", "BinaryConv2DTranspose"),
        ("binary_conv3d", "BinaryConv3D"),
        ("binary_dense", "BinaryDense"),
        ("integer_conv2d", "IntegerConv2D"),
        ("sign", "Sign"),
        ("threshold", "Threshold"),
    ),
    "keras_sbn.layers": (
        ("activation", "SelfBinarizingActivation"),
        ("batch_normalization", "BinaryBatchNormalization"),
        ("conv1d", "SelfBinarizingConv1D"),
        ("conv2d", "SelfBinarizingConv2D"),
        ("conv2d_transpose", "SelfBinarizingConv2DTranspose"),
        ("conv3d", "SelfBinarizingConv3D"),
        ("dense", "SelfBinarizingDense"),
        ("depthwise_conv2d", "SelfBinarizingDepthwiseConv2D"),
        ("separable_conv2d", "SelfBinarizingSeparableConv2D"),
    ),
}


def register(register_backend: Any = None, register_writer: Any = None) -> None:
    """Registers the handlers; hls4ml's arguments are for plugins that bring a backend."""
    from hls4ml.converters.keras_v3 import layer_handlers as registry

    known = registry[_INPUT]
    if isinstance(known, _Inputs):
        return
    registry[_INPUT] = _Inputs(known, registry)
    for package, layers in LAYERS.items():
        for module, name in layers:
            registry[f"{package}.{module}.{name}"] = _handle


def _handle(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    from keras_sbn.hls4ml_model import handle

    return handle(layer, inputs, outputs)


class _Inputs:
    """hls4ml's handler of an input, which it meets first, and a look at what has no handler.

    Of a class without a handler hls4ml's own error has no name of a layer. So classes behind the input of
    a folded model, and of no other, get a handler that refuses them by name, or returns `None`: hls4ml
    then goes on as without it.
    """

    def __init__(self, known: _Handler, registry: dict[str, _Handler]) -> None:
        self.known, self.registry = known, registry

    def __call__(self, layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
        found = behind(layer)
        if any(type(one).__module__.startswith("keras_sbn.folding.layers.") for one in found):
            from keras_sbn.hls4ml_model import refuse_functions, refuse_if_rounded

            refuse_functions(found)
            for kind in {type(one) for one in found}:
                self.registry.setdefault(f"{kind.__module__}.{kind.__name__}", refuse_if_rounded)
        return self.known(layer, inputs, outputs)


def behind(layer: Any) -> list[Any]:
    """The operations that a value of a layer goes into, by whatever way."""
    found, waiting = {id(layer): layer}, [layer]
    while waiting:
        for node in waiting.pop()._outbound_nodes:
            if id(node.operation) not in found:
                found[id(node.operation)] = node.operation
                waiting.append(node.operation)
    return list(found.values())
