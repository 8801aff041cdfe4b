"""From a description to a Larq model; runs beside Keras 2 and imports no Keras 3."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sbn.larq.arguments import QUANTIZED_ARGUMENTS
from keras_sbn.larq.description import Description, Layer


def build_larq(description: Description) -> Any:
    """Builds the Larq model that a description describes.

    Raises:
        ValueError: If a layer cannot be built. The message names it.
    """
    import tensorflow as tf

    inputs = [
        tf.keras.Input(batch_shape=entry.shape, dtype=entry.dtype, name=entry.name)
        for entry in description.inputs
    ]
    made: list[Any] = [None] * len(description.layers)
    results: list[Any] = []
    for call in description.calls:
        layer = description.layers[call.layer]
        sources = [inputs[index] if number < 0 else results[number] for number, index in call.inputs]
        first = made[call.layer] is None
        try:
            if first:
                made[call.layer] = _make(layer)
            results.append(made[call.layer](sources[0] if len(sources) == 1 else sources))
            if first:
                _set_weights(layer, made[call.layer])
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Expected a layer that Keras 2 builds. Received: {layer.kind} {layer.name!r}: {error}"
            ) from error
    outputs = [inputs[index] if number < 0 else results[number] for number, index in description.outputs]
    return tf.keras.Model(
        inputs[0] if len(inputs) == 1 else inputs,
        outputs[0] if len(outputs) == 1 else outputs,
        name=description.name,
    )


def write_larq(description: Description, path: str) -> str:
    """Builds the Larq model and saves it: `.h5`, `.keras`, or, without a suffix, a SavedModel folder."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Keras would rather have another format.
        build_larq(description).save(path)
    return path


def _make(layer: Layer) -> Any:
    import larq as lq
    import tensorflow as tf

    if layer.kind == "Quantizer":
        return lq.quantizers.SteSign(name=layer.name)
    if layer.kind not in QUANTIZED_ARGUMENTS:
        return getattr(tf.keras.layers, layer.kind)(**layer.arguments, name=layer.name)
    arguments = dict(layer.arguments)
    for name, kernel in layer.kernels.items():
        prefix = name.removesuffix("_kernel")
        if kernel.quantizer is not None:
            arguments[f"{prefix}_quantizer"] = kernel.quantizer
            arguments[f"{prefix}_constraint"] = "weight_clip"
    arguments["input_quantizer"] = layer.input_quantizer
    return getattr(lq.layers, layer.kind)(**arguments, name=layer.name)


def _set_weights(layer: Layer, made: Any) -> None:
    values = {**layer.weights, **{name: kernel.latent for name, kernel in layer.kernels.items()}}
    names = [weight.name.split("/")[-1].split(":")[0] for weight in made.weights]
    if names:
        made.set_weights([np.asarray(values[name]) for name in names])
