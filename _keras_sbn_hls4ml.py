"""Entry point that hls4ml calls when it is imported: the layers of keras_sbn have handlers from then on.

It lies outside the package and imports nothing of it, so that `import hls4ml` imports neither Keras nor
NumPy anew. What a handler needs loads when hls4ml meets the first such layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    from hls4ml.converters.keras_v3._base import registry

    for package, layers in LAYERS.items():
        for module, name in layers:
            registry[f"{package}.{module}.{name}"] = _handle


def _handle(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    from keras_sbn.hls4ml_model import handle

    return handle(layer, inputs, outputs)
